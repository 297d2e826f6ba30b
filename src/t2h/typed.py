"""From plain values, as YAML and JSON have them, to dataclasses."""

from __future__ import annotations

import dataclasses
import os
import types
from collections import Counter
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from t2h.errors import UserError, check_known, unknown_name

_WORDS = {int: "a whole number", str: "a text", bool: "true or false", Path: "a path"}
_YAML_WORDS = {True: ("on", "yes"), False: ("off", "no")}
"""What YAML reads as true and false where it was not quoted."""


def from_yaml(text: str) -> Any:
    """The plain values of a YAML text; a `yaml.YAMLError` where it is none, or gives an entry twice."""
    import yaml

    class Once(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> Any:
            node = super().compose_mapping_node(anchor)
            for name, times in Counter(str(key.value) for key, _ in node.value).items():
                if times > 1:
                    raise yaml.YAMLError(f"{name} is given twice")
            return node

    return yaml.load(text, Once)


def typed(hint: Any, value: Any, entry: str = "") -> Any:
    """A plain value as the hinted type: dataclasses, tuples, mappings, numbers, texts, and None where it is allowed.

    Args:
        hint: the type.
        value: as `from_yaml` returns it; what it writes as text, such as 1e-3, is a number where one is needed.
        entry: where the value stands, for messages.

    Raises:
        UserError: for a value of another type, an unknown entry, or a missing one.
    """
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, types.UnionType):
        return None if value is None else typed(parts[0], value, entry)
    if kind is Any:
        return value
    if kind is Literal:
        if isinstance(value, bool):
            value = next((word for word in _YAML_WORDS[value] if word in parts), value)
        if value not in parts:
            raise unknown_name(entry, value, map(str, parts))
        return value
    if kind is tuple:
        return _tuple(parts, value, entry)
    if kind is dict:
        items = _entries({} if value is None else value, entry).items()
        return {name: typed(parts[1], item, f"{entry}.{name}") for name, item in items}
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, _entries(value, entry), entry)
    if kind is float:
        return _float(value, entry)
    if not isinstance(value, str if kind is Path else kind) or (kind is int and isinstance(value, bool)):
        raise _error(entry, value, _WORDS[kind])
    return Path(os.path.expanduser(value)) if kind is Path else value


def _error(entry: str, value: Any, needed: str) -> UserError:
    return UserError(f"{entry} is {repr(value)[:80]}; {needed} is needed.")


def _float(value: Any, entry: str) -> float:
    try:
        if not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise _error(entry, value, "a number")


def _tuple(parts: tuple[Any, ...], value: Any, entry: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple) or (parts[-1] is not ... and len(value) != len(parts)):
        raise _error(entry, value, "a list" if parts[-1] is ... else f"a list of {len(parts)}")
    return tuple(typed(parts[0], item, entry) for item in value)


def _entries(value: Any, entry: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{entry + ' ' if entry else ''}{'is empty' if value is None else 'holds no named entries'}.")
    return {str(name): item for name, item in value.items()}


def _dataclass(kind: Any, entries: dict[str, Any], entry: str) -> Any:
    hints = get_type_hints(kind)
    check_known(f"entry of {entry}" if entry else "entry", entries, hints)
    needed = [field.name for field in dataclasses.fields(kind) if field.default is field.default_factory]
    if missing := [name for name in needed if name not in entries]:
        raise UserError(f"{entry} lacks {', '.join(missing)}.")
    return kind(**{name: typed(hints[name], item, f"{entry}.{name}".lstrip(".")) for name, item in entries.items()})
