"""How every verb reads its options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import tyro

Args = TypeVar("Args")

RENAMED: dict[str, tuple[str, Callable[[str], str]]] = {}
"""Options of version 0.1 that have another name now: {"--old": ("--new", how the value changes)}."""


def parse(args_class: type[Args], verb: str, argv: Sequence[str], default: Any = None) -> Args:
    """The options of `t2h VERB` as a dataclass, whose docstring is the help. `--help` and mistakes leave from here."""
    return tyro.cli(args_class, prog=f"t2h {verb}", args=list(_with_new_names(argv)), default=default)


def _with_new_names(argv: Sequence[str]) -> Iterator[str]:
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if (old := name.replace("_", "-")) not in RENAMED:
            yield word
            continue
        new, change = RENAMED[old]
        print(f"t2h: {old} is {new} now; the old name goes with the next version.", file=sys.stderr)
        yield new
        if equals or (value := next(words, "")):
            yield change(value)
