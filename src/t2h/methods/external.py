"""Methods from outside the package: `module:Class` or `file.py:Class`.

The class is a `Method`, a frozen dataclass of its options, as those of the package. Its options are set by
`--method-option name=value`, read as the types of its fields.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import sys
import types
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from t2h.errors import UserError, unknown_name
from t2h.methods.base import Method


def load_method(name: str) -> type[Any]:
    """The class of a method, by `module:Class` or `path/to/file.py:Class`.

    Raises:
        UserError: if there is no such class, or it is no method.
    """
    module_name, _, class_name = name.rpartition(":")
    try:
        module = _file(Path(module_name)) if module_name.endswith(".py") else importlib.import_module(module_name)
        found = getattr(module, class_name)
    except (Exception, SystemExit) as error:  # the module is the user's, and its name may be anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"objective {name!r}: {reason}. Give module:Class of an importable module, or file.py:Class."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Method) and dataclasses.is_dataclass(found)):
        raise UserError(
            f"objective {name!r} is no method: it must be a dataclass that extends t2h.methods.base.Method."
        )
    return found


def _file(path: Path) -> types.ModuleType:
    name = f"t2h_method_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass looks its module up while it is made
    spec.loader.exec_module(module)
    return module


def make_methods(names: Sequence[str], options: Sequence[str]) -> dict[str, Method]:
    """The methods of these names, with options "name=value", each given to every method that has it.

    Raises:
        UserError: for an option that no method has, or that cannot be read.
    """
    classes = {name: load_method(name) for name in names}
    allowed = [field.name for found in classes.values() for field in dataclasses.fields(found)]
    given = {}
    for option in options:
        key, equals, text = (part.strip() for part in option.partition("="))
        if not equals:
            raise UserError(f"--method-option {option!r} has no value; write name=value.")
        if not names:
            raise UserError(f"--method-option {key}=... is for methods from outside; the objective names none.")
        if key not in allowed:
            raise unknown_name("--method-option", key, allowed)
        given[key] = text
    return {
        name: found(**{key: _value(hints[key], text, key) for key, text in given.items() if key in hints})
        for name, found in classes.items()
        for hints in [get_type_hints(found)]
    }


def _value(hint: Any, text: str, key: str) -> Any:
    """A text as a value of the hinted type."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    words: dict[str, Any] = {str(choice): choice for kind in kinds for choice in get_args(kind)}  # of a Literal
    if type(None) in kinds:
        words |= {"none": None, "None": None}
    if bool in kinds:
        words |= {"true": True, "True": True, "false": False, "False": False}
    if text in words:
        return words[text]
    for kind in (int, float, str):
        if kind in kinds:
            with suppress(ValueError):
                return kind(text)
    allowed = [" or ".join(map(str, get_args(kind))) or kind.__name__.replace("NoneType", "none") for kind in kinds]
    raise UserError(f"--method-option {key}={text}: the value must be {' or '.join(allowed)}.")
