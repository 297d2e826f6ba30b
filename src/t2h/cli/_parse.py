"""How every verb reads its options."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, zip_longest
from typing import Annotated, Any, Literal, TypeVar

import tyro

from t2h.errors import UserError

Args = TypeVar("Args")
Format = Annotated[
    Literal["text", "markdown", "latex", "csv", "html", "json"],
    tyro.conf.arg(help="How tables are printed; --json is --format json."),
]
Device = Annotated[str, tyro.conf.arg(help="cpu, cuda, mps, or auto.")]

RENAMED: dict[str, tuple[str, Callable[[str], str]]] = {
    "--figures": ("--metrics", str),
    "--figure-seed": ("--metric-seed", str),
    "train --grid-w": ("--sampling.w", str),
    "--guidance-scale": ("--w", lambda value: f"{float(value) - 1:.12g}"),
    "classify --sampling-steps": ("--sampling.steps", str),
    "classify --sampling-seed": ("--sampling.seed", str),
    "classify --scheduler": ("--sampling.scheduler", str),
    "classify --mixed-precision": ("--sampling.mixed-precision", str),
}
"""Options of version 0.1 that have another name now, of every verb or of one: {"[VERB] --old": ("--new", how the value
changes)}."""

_SWITCHES = ("clip-sample",)
"""Options that are on, off, or the run's own; `--clip-sample` alone is on, `--no-clip-sample` off."""


def parse(
    args_class: type[Args], verb: str, argv: Sequence[str], default: Any = None, common: Sequence[str] = ()
) -> Args:
    """The options of `t2h VERB` as a dataclass, whose docstring is the help. `--help` and mistakes leave from here.

    With ``common`` the help shows these options alone, and `--help-all` all.
    """
    for before, word in zip(("", *argv), argv, strict=False):
        if (not word and before != "--guide") or (word.startswith("--") and word.endswith("=")):
            raise UserError(f"t2h {verb}: no value in {f'{before} {word!r}'.strip()}; is a variable empty?")
    if common and {"-h", "--help"} & set(argv):
        print(_short(help_of(args_class, verb, default), verb, common))
        raise SystemExit(0)
    words = list(_with_values(list(_with_new_names(verb, list(map(_at_home, argv))))))
    if "format" in args_class.__dataclass_fields__:  # type: ignore[attr-defined]
        words = [part for word in words for part in (("--format", "json") if word == "--json" else (word,))]
    words = ["--help" if word == "--help-all" else word for word in words]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(args_class, prog=f"t2h {verb}", args=words, default=default)
    except SystemExit as end:
        if not end.code:  # --help
            raise
        raise _mistake_behind(end) or _without_frame(said.getvalue(), verb) from None


def _without_frame(text: str, verb: str) -> UserError:
    """What the parser says in a frame, in one line: its first part, and the options that it takes for likely."""
    title, *lines = [line.strip(" ╭╮│╰╯─") for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()]
    sections = [" ".join(part) for is_text, part in groupby(lines, lambda line: line.strip("-") != "") if is_text]
    mistake, *others = sections or [title]
    likely = [re.findall(r"(?<!\S)--[\w.-]+", part) for part in others if part.startswith("Perhaps you meant")]
    guess = f"; did you mean {' or '.join(likely[0])}?" if likely and likely[0] else "."
    return UserError(f"{mistake.rstrip('.')}{guess} `t2h {verb} --help-all` shows all options.")


def below(line: object, form: str) -> None:
    """Say which file was written beside the printed tables; they are alone on stdout where a program reads them."""
    print(f"\n{line}", file=sys.stdout if form == "text" else sys.stderr)


def _mistake_behind(error: BaseException | None) -> UserError | None:
    """What the options say of themselves, which the parser would put into a frame."""
    while error is not None and not isinstance(error, UserError):
        error = error.__context__
    return error


def help_of(args_class: type[Any], verb: str, default: Any = None) -> str:
    """The whole help of a verb, without frames and colours."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(args_class, prog=f"t2h {verb}", args=["--help"], default=default)
    return text.getvalue()


def options_in(text: str) -> dict[str, str]:
    """The options of a help without frames, by their first names: their lines there."""
    blocks = re.findall(r"^  -[^\n]*(?:\n {9,}\S[^\n]*)*", text, re.MULTILINE)
    return {re.split(r"[ ,]", block.strip(), maxsplit=1)[0]: block for block in blocks}


def _short(text: str, verb: str, common: Sequence[str]) -> str:
    """What stands above the options in a help, and some of them."""
    options = options_in(text)
    given = re.search(r"positional arguments *\n *-+ *\n(.*?)\n *\n", text, re.DOTALL)
    above = re.split(r"\n *[\w ]+ *\n *-{9}", text, maxsplit=1)[0].rstrip()
    blocks = [re.sub(r"\s*\(default:\s+None\)", "", options[name]) for name in common]
    blocks = [given[1], *blocks] if given else blocks
    lines = [line.rstrip() for block in blocks for line in block.splitlines()]
    return "\n".join([above, "", *lines, "", f"`t2h {verb} --help-all` shows all {len(options)} options."])


def _at_home(word: str) -> str:
    """With the home folder for ~, which shells leave in --out=~/x."""
    name, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return name + equals + (os.path.expanduser(value) if re.match(r"~(/|$)", value) else value)


def _with_new_names(verb: str, argv: Sequence[str]) -> Iterator[str]:
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        old = name.replace("_", "-")
        renamed = RENAMED.get(f"{verb} {old}") or RENAMED.get(old)
        if renamed is None:
            yield word
            continue
        new, change = renamed
        print(f"t2h: {old} is {new} now; the old name goes with the next version.", file=sys.stderr)
        yield new
        if equals or (value := next(words, "")):
            with contextlib.suppress(ValueError):  # no value of its kind: the parser says so
                value = change(value)
            yield value


def _with_values(words: Sequence[str]) -> Iterator[str]:
    """The words, with True or False after a switch that stands alone."""
    for word, after in zip_longest(words, words[1:], fillvalue=""):
        prefix, dot, name = word.removeprefix("--").replace("_", "-").rpartition(".")
        if word.startswith("--") and name.removeprefix("no-") in _SWITCHES and after not in ("True", "False", "None"):
            yield from (f"--{prefix}{dot}{name.removeprefix('no-')}", str(not name.startswith("no-")))
        else:
            yield word
