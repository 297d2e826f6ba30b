"""From plain values, as YAML has them, to dataclasses."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from t2h.errors import UserError


def typed(hint: Any, value: Any) -> Any:
    """Plain YAML values as the hinted type: dataclasses, tuples and numbers of them, and None where it is allowed."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    if get_origin(hint) in (Union, types.UnionType):
        return None if value is None else typed(kinds[0], value)
    if get_origin(hint) is tuple:
        return tuple(typed(kinds[0], item) for item in value)
    if hint in (Path, float):
        return hint(value)
    if not (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        return value
    if not isinstance(value, dict):
        raise TypeError("it is empty" if value is None else f"{value!r} where entries are needed")
    hints = get_type_hints(hint)
    if unknown := sorted(set(value) - set(hints)):
        raise UserError(f"the configuration has unknown entries: {', '.join(unknown)}")
    return hint(**{key: typed(hints[key], item) for key, item in value.items()})
