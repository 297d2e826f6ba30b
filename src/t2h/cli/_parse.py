"""How every verb reads its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

Args = TypeVar("Args")


def parse(args_class: type[Args], verb: str, argv: Sequence[str], default: Any = None) -> Args:
    """The options of `t2h VERB` as a dataclass, whose docstring is the help. `--help` and mistakes leave from here."""
    return tyro.cli(args_class, prog=f"t2h {verb}", args=list(argv), default=default)
