"""Plans from YAML files, or built-in ones by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from t2h.benchmark.plan import EvaluationPlan, Plan, Published, Tree
from t2h.data.longtail import check_imbalance
from t2h.errors import UserError, unknown_name
from t2h.methods import describe
from t2h.sampling import NAMES, CurveFlags

# What a method may change; the rest is common to all, so that all see the same images in the same number.
_OF_METHODS = ("objective", "methods", "learning")
_SHARED_LEARNING = ("steps", "batch_size", "seed", "flip")


def read_plan(given: str) -> Plan:
    """The plan of a YAML file, or a built-in one.

    Raises:
        UserError: for a name that is neither, or where the file is no plan.
    """
    folder = files("t2h.benchmark") / "plans"
    built_in = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if given in built_in:
        return parse_plan((folder / f"{given}.yaml").read_text(encoding="utf-8"), given)
    path = Path(given)
    if not path.is_file():
        if path.suffix in (".yaml", ".yml"):
            raise UserError(f"there is no plan {path}; give a YAML file, or one of {', '.join(built_in)}.")
        raise unknown_name("plan", given, built_in)
    return parse_plan(path.read_text(encoding="utf-8"), path.stem)


def parse_plan(text: str, name: str) -> Plan:
    """The plan of a YAML text.

    Raises:
        UserError: where it is none; the line says which entry.
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"plan {name} is not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(tree, dict):
        raise UserError(f"plan {name} holds no entries; it needs data and methods.")
    tree["evaluation"] = evaluation = _with_new_names(tree.get("evaluation") or {})
    for what, entries, known in (("entry", tree, _READERS), ("evaluation entry", evaluation, _EVALUATION)):
        for entry in entries:
            if entry not in known:
                raise unknown_name(f"{what} of plan {name}", entry, known)
    for entry in ("data", "methods"):
        if not tree.get(entry):
            raise UserError(f"plan {name} has no {entry}; give at least one, as `{entry}: {{NAME: {{...}}}}`.")
    try:
        values = {entry: _READERS[entry](value) for entry, value in tree.items() if value is not None}
        plan = Plan(name, **values)
    except (TypeError, ValueError, AttributeError) as error:
        raise error if isinstance(error, UserError) else UserError(f"plan {name}: {error}") from error
    _check(plan)
    return plan


def _with_new_names(tree: Tree) -> Tree:
    """Version 0.1 called metrics figures."""
    return {{"figures": "metrics", "figure": "metric"}.get(key, key): value for key, value in tree.items()}


def _named(trees: Any) -> dict[str, Tree]:
    return {str(name): dict(tree or {}) for name, tree in trees.items()}


def _evaluation(tree: Any) -> EvaluationPlan:
    values: Tree = {key: tuple(value) if isinstance(value, list) else value for key, value in tree.items()}
    values |= {"w": tuple(float(w) for w in tree["w"])} if "w" in tree else {}
    flags = CurveFlags(**{key: values.pop(key) for key in _DRAWING if key in values})
    return EvaluationPlan(**values, sampling=flags)


_DRAWING = tuple(name for name in NAMES if name not in ("w", "seed"))
_EVALUATION = (*(name for name in EvaluationPlan.__dataclass_fields__ if name != "sampling"), *_DRAWING)
_READERS: dict[str, Callable[[Any], Any]] = {
    "about": lambda text: " ".join(str(text).split()),
    "base": dict,
    "data": _named,
    "imbalance": lambda values: tuple(float(value) for value in values),
    "methods": _named,
    "seeds": lambda values: tuple(int(value) for value in values),
    "baseline": str,
    "evaluation": _evaluation,
    "published": lambda entries: tuple(Published(**_with_new_names(entry)) for entry in entries),
}


def _check(plan: Plan) -> None:
    """Raise a `UserError` for the first thing that is wrong, as far as it is known before data are read."""
    for name in (*plan.data, *plan.methods):
        if not re.fullmatch(r"[\w.+-]+", name):
            raise UserError(f"plan {plan.name}: {name!r} names a folder; use letters, digits and . + - _ only.")
    if plan.baseline not in plan.methods:
        raise unknown_name(f"baseline of plan {plan.name}", plan.baseline, plan.methods)
    for what, values in (("imbalance", plan.imbalance), ("seeds", plan.seeds)):
        if not values or len(set(values)) < len(values):
            raise UserError(f"plan {plan.name}: {what} is {list(values)}; give at least one, each once.")
    for imbalance in plan.imbalance:
        check_imbalance(imbalance)
    for name, tree in plan.data.items():
        if "data" not in tree:
            raise UserError(f"plan {plan.name}, data {name}: `data` is missing, such as `{name}: {{data: cifar10}}`.")
    for method, tree in plan.methods.items():
        for entry in tree:
            if entry not in _OF_METHODS:
                raise unknown_name(f"entry of method {method} in plan {plan.name}", entry, _OF_METHODS)
        shared = [key for key in tree.get("learning") or {} if key in _SHARED_LEARNING]
        if shared:
            raise UserError(
                f"plan {plan.name}, method {method} changes learning.{shared[0]}, which all methods share so that they "
                "compare; set it under base."
            )
    cells = plan.cells()
    names = {cell.data for cell in cells}
    for published in plan.published:
        if published.data not in names:
            raise unknown_name(f"data of published numbers in plan {plan.name}", published.data, names)
    for cell in cells[: len(plan.methods)]:
        describe(cell.config.objective, cell.config.methods, cell.config.process.make())
