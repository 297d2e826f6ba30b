"""The syntax of absl's flags, which the official scripts are called with.

`--flag value`, `--flag=value`, `--flag`, `--noflag`, one dash or two, several values by repetition, `--flagfile=PATH`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from t2h.errors import UserError

Kind = Literal["bool", "integer", "float", "string", "integers"]
DEAD = "no effect, neither there nor here"

# absl puts its own flags into every flagfile that it writes.
_VALUED_OF_ABSL = {
    *(
        "log_dir",
        "logger_levels",
        "profile_file",
        "stderrthreshold",
        "test_random_seed",
        "test_randomize_ordering_seed",
    ),
    *("test_srcdir", "test_tmpdir", "undefok", "v", "verbosity", "xml_output_file"),
}
_OF_ABSL = {
    *_VALUED_OF_ABSL,
    *("alsologtostderr", "help", "helpfull", "helpshort", "helpxml", "logtostderr", "only_check_args", "pdb"),
    *("pdb_post_mortem", "run_with_pdb", "run_with_profiling", "showprefixforinfo", "use_cprofile_for_profiling"),
}
_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")


@dataclass(frozen=True)
class Flag:
    """One flag of a script.

    Attributes:
        name: without dashes.
        kind: of its value.
        default: as in the official script.
        here: what it does here, in a few words; `DEAD` for what never had an effect.
        choices: the allowed values, for an enumeration.
        note: what is said when it is given, where it does not do here what it did there.
    """

    name: str
    kind: Kind
    default: Any
    here: str
    choices: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class Flags:
    """The flags of one call: a value for each, and which were given."""

    values: dict[str, Any]
    given: frozenset[str]
    surplus: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def get(self, name: str) -> Any:
        """The value if the flag was given, else None."""
        return self.values[name] if name in self.given else None


def parse_flags(argv: Sequence[str], flags: Iterable[Flag]) -> Flags:
    """Read a command line as absl does.

    Raises:
        UserError: for an unknown flag (with the nearest name), a missing value, or one of the wrong kind.
    """
    table = {flag.name: flag for flag in flags}
    values: dict[str, Any] = {flag.name: flag.default for flag in table.values()}
    given: dict[str, list[Any]] = {}
    surplus: list[str] = []
    words = iter(_expand(argv))
    for word in words:
        if word == "--":
            surplus.extend(words)
            break
        if not word.startswith("-") or word == "-":
            surplus.append(word)
            continue
        name, equals, text = word.lstrip("-").partition("=")
        flag, value = _match(name, text if equals else None, table)
        if flag is None:
            if value is None and name in _VALUED_OF_ABSL:
                next(words, None)
            continue
        if value is None:
            following = next(words, None)
            if following is None:
                raise UserError(f"--{name} needs a value ({flag.kind}), such as --{name}={_shown(flag.default)}.")
            value = following
        given.setdefault(flag.name, []).append(_convert(flag, value))
    for name, converted in given.items():
        values[name] = converted if table[name].kind == "integers" else converted[-1]
    return Flags(values, frozenset(given), tuple(surplus))


def _match(name: str, text: str | None, table: dict[str, Flag]) -> tuple[Flag | None, str | None]:
    """The flag that is meant and the text of its value; (None, ...) for one of absl's own."""
    flag = table.get(name)
    if flag is not None:
        return flag, "true" if flag.kind == "bool" and text is None else text
    negated = table.get(name.removeprefix("no"))
    if name.startswith("no") and negated is not None and negated.kind == "bool" and text is None:
        return negated, "false"
    if name in _OF_ABSL or name.removeprefix("no") in _OF_ABSL:
        return None, text
    near = difflib.get_close_matches(name, table, n=1, cutoff=0.5)
    hint = f"did you mean --{near[0]}? " if near else ""
    raise UserError(f"unknown flag --{name}; {hint}--help lists all flags.")


def _convert(flag: Flag, text: str) -> Any:
    try:
        if flag.kind == "bool":
            if text.lower() not in _TRUE + _FALSE:
                raise ValueError
            return text.lower() in _TRUE
        if flag.kind in ("integer", "integers"):
            return int(text)
        if flag.kind == "float":
            return float(text)
    except ValueError as error:
        kind = "integer" if flag.kind == "integers" else {"bool": "true or false"}.get(flag.kind, flag.kind)
        raise UserError(
            f"--{flag.name}={text}: {kind} is needed, such as --{flag.name}={_shown(flag.default)}."
        ) from error
    if flag.choices and text not in flag.choices:
        raise UserError(f"--{flag.name}={text}: it must be one of {', '.join(flag.choices)}.")
    return text


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return str(value[0])
    return str(value).lower() if isinstance(value, bool) else str(value)


def _expand(argv: Iterable[str], within: tuple[Path, ...] = ()) -> Iterator[str]:
    """The words, with those of flag files in their place."""
    words = iter(argv)
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or name != "flagfile":
            yield word
            if word == "--":
                yield from words
            continue
        path = Path(value if equals else next(words, "")).expanduser()
        if path in within:
            raise UserError(f"the flag file {path} includes itself.")
        if not path.is_file():
            raise UserError(f"there is no flag file {path}.")
        lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
        yield from _expand((line for line in lines if line and not line.startswith(("#", "//"))), (*within, path))


def notices(flags: Flags, table: Iterable[Flag]) -> list[str]:
    """One line for all given flags that never had an effect, and one for each that does something else here."""
    dead = [flag.name for flag in table if flag.name in flags.given and flag.here == DEAD]
    lines = [f"without effect, in the official code as here: {', '.join(f'--{name}' for name in dead)}"] if dead else []
    lines += [f"--{flag.name}: {flag.note}" for flag in table if flag.name in flags.given and flag.note]
    if flags.surplus:
        lines.append(f"ignored, as by absl: {' '.join(flags.surplus)}")
    return lines


def help_text(script: str, what: str, table: Iterable[Flag]) -> str:
    """What `--help` prints: every flag, its default, and what it does here."""
    rows = [(f"--{flag.name}", str(flag.default), flag.here) for flag in table]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    lines = "\n".join(f"  {name:<{first}}  {default:<{second}}  {here}" for name, default, here in rows)
    return f"usage: python {script} [FLAGS]\n\n{what}\n\n  {'flag':<{first}}  {'default':<{second}}  here\n{lines}\n"


def table_rows(table: Iterable[Flag]) -> list[str]:
    """The rows of docs/from-oc-lt.md."""
    return [
        f"| `--{flag.name}` | `{flag.default if flag.default != '' else ' '}` | {flag.here}"
        f"{f': {flag.note}' if flag.note else ''} |"
        for flag in table
    ]
