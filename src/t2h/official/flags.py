"""The flags of the official scripts, read by absl as they read them, and what to say of those that differ here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from t2h.errors import UserError

DEAD = "no effect, neither there nor here"


@dataclass(frozen=True)
class Flag:
    """One flag of a script.

    Attributes:
        name: without dashes.
        default: as in the official script; its type is the flag's.
        here: what it does here, in a few words; `DEAD` for what never had an effect.
        choices: the allowed values, for an enumeration.
        note: what is said when it is given, where it does not do here what it did there.
    """

    name: str
    default: bool | int | float | str | list[int]
    here: str
    choices: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class Flags:
    """The flags of one call: a value for each, and which were given."""

    values: dict[str, Any]
    given: frozenset[str]
    surplus: tuple[str, ...]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str) -> Any:
        """The value if the flag was given, else None."""
        return self.values[name] if name in self.given else None


def parse_flags(argv: Sequence[str], table: Sequence[Flag]) -> Flags:
    """Read a command line with absl, which knows flags of its own as well: it writes them into every flag file.

    Raises:
        UserError: for an unknown flag, a missing value, or one of the wrong kind; or without absl.
    """
    try:
        from absl import app, flags  # which defines those of absl.logging
    except ImportError as error:
        raise UserError("the official flags are read by absl: pip install absl-py (the extra `official`).") from error
    app.define_help_flags()
    values = flags.FlagValues()
    values.append_flag_values(flags.FLAGS)
    define: dict[type, Callable[..., Any]] = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
        list: flags.DEFINE_multi_integer,
    }
    for flag in table:
        if flag.choices:
            flags.DEFINE_enum(flag.name, str(flag.default), flag.choices, flag.here, flag_values=values)
        else:
            define[type(flag.default)](flag.name, flag.default, flag.here, flag_values=values)
    values.set_gnu_getopt()
    try:
        _, *surplus = values(["", *argv])
    except flags.Error as error:
        raise UserError(f"{error} (--help lists all flags)") from error
    given = frozenset(flag.name for flag in table if values[flag.name].present)
    for flag in table:
        if values[flag.name].value == "" != flag.default:
            raise UserError(f"no value in --{flag.name} ''; is a variable empty? (--help lists all flags)")
    return Flags({flag.name: values[flag.name].value for flag in table}, given, tuple(surplus))


def notices(flags: Flags, table: Iterable[Flag]) -> list[str]:
    """One line for all given flags that never had an effect, and one for each that does something else here."""
    given = [flag for flag in table if flag.name in flags.given]
    dead = [f"--{flag.name}" for flag in given if flag.here == DEAD]
    lines = [f"without effect, in the official code as here: {', '.join(dead)}"] if dead else []
    lines += [f"--{flag.name}: {flag.note}" for flag in given if flag.note]
    return lines + ([f"ignored, as by absl: {' '.join(flags.surplus)}"] if flags.surplus else [])


def help_text(script: str, about: str, table: Iterable[Flag]) -> str:
    """What `--help` prints: every flag, its default, and what it does here."""
    rows = [("flag", "default", "here"), *((f"--{flag.name}", str(flag.default), flag.here) for flag in table)]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = "\n".join(f"  {name:<{first}}  {default:<{second}}  {here}" for name, default, here in rows)
    return f"usage: python {script} [FLAGS]\n\n{about}\n\n{lines}\n"
