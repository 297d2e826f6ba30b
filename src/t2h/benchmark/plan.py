"""A plan: what is trained on what, and how it is evaluated; from a YAML file, or a built-in one by name."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from t2h.data.longtail import check_imbalance
from t2h.errors import UserError, check_known, check_numbers, check_unique, unknown_name
from t2h.files import finite, reading
from t2h.methods import describe
from t2h.results.metrics import COMPUTED
from t2h.results.options import MetricOptions
from t2h.samples.draw import make_scheduler
from t2h.sampling import NAMES, CurveFlags, Sampling, set_steps
from t2h.training.config import TrainConfig

Tree = dict[str, Any]
_PLAN = ("plan of a benchmark", "see docs/benchmark.md for what it holds")

# What a method may change; the rest is common to all, so that all see the same images in the same number.
_OF_METHODS = ("objective", "methods", "learning")
_SHARED_LEARNING = ("steps", "batch_size", "seed", "flip")


@dataclass(frozen=True)
class EvaluationPlan:
    """How every cell is evaluated."""

    features: str = "inception"
    """inception, dinov2, classifier (trained on the balanced set), module:callable, or hf:NAME."""
    w: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    """Guidance weights of the curve."""
    per_class: int | None = None
    """Samples of each class at each w. Default: 50,000 in all."""
    sampling: CurveFlags = field(default_factory=CurveFlags)
    """What replaces the runs' own sampling; a plan gives it beside the other entries, as `scheduler: ddim`. The seed is
    that of the cell."""
    metrics: tuple[str, ...] = COMPUTED
    resamples: int = 0
    """Bootstrap resamples over images in each result; the table's intervals are over seeds."""
    held_out_split: str | None = None
    """A split that no model was trained on, for memorisation."""
    w_per: Literal["class", "group"] | None = None
    """Choose a w for each class, or for head, medium and tail, on one half of the images too, judged on the other."""

    def __post_init__(self) -> None:
        check_unique("evaluation.w", self.w)
        check_numbers(self, per_class=1, w=-math.inf)
        if self.w_per not in (None, "class", "group"):
            raise UserError(f"evaluation.w_per is {self.w_per!r}; use class or group.")
        if "fid" not in self.metrics:
            raise UserError("evaluation.metrics lacks fid, by which the best w and the ranks are found.")
        _ = self.options, Sampling().overridden(self.sampling)  # check themselves

    @property
    def options(self) -> MetricOptions:
        """As the judge takes them."""
        return MetricOptions(metrics=self.metrics, resamples=self.resamples, w_per=self.w_per)


@dataclass(frozen=True)
class Published:
    """Numbers that a paper printed: they stand beside ours, and are never mixed with them."""

    source: str
    data: str
    values: dict[str, float]
    """By method, under the plan's names where it has them."""
    metric: str = "fid"
    protocol: str = ""

    def __post_init__(self) -> None:
        if wrong := [method for method, value in self.values.items() if finite(value) is None]:
            raise UserError(f"published: the value of {wrong[0]} is no number.")


@dataclass(frozen=True)
class Cell:
    """One run of a plan: a method, on a data set, with a seed."""

    data: str
    method: str
    config: TrainConfig

    @property
    def seed(self) -> int:
        """Of weights, data order, noise and samples; methods share it."""
        return self.config.learning.seed

    @property
    def name(self) -> str:
        """The cell's folder, relative to the benchmark's."""
        return f"{self.data}/{self.method}/seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """Methods x data sets x imbalances x seeds.

    ``base`` overrides the configuration of all, ``data`` that of a data set, and ``methods`` that of a method: its
    objective, options, and how it learns. ``baseline`` is the method that differences are taken to.
    """

    name: str
    data: dict[str, Tree]
    methods: dict[str, Tree]
    base: Tree = field(default_factory=dict)
    imbalance: tuple[float, ...] = (0.01,)
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline: str = "ddpm"
    evaluation: EvaluationPlan = field(default_factory=EvaluationPlan)
    published: tuple[Published, ...] = ()
    about: str = ""

    def cells(self, root: Path | None = None, device: str = "auto") -> list[Cell]:
        """All runs, seed by seed, so that what is finished early is paired; ``root`` is that of data without their own.
        A `UserError` says which part of the plan is no configuration.
        """
        sets = {f"{name}-{r:g}": {**data, "imbalance": r} for name, data in self.data.items() for r in self.imbalance}
        return [
            Cell(name, method, self._config(method, {"data": data}, seed, {"root": str(root)} if root else {}, device))
            for seed, (name, data), method in itertools.product(self.seeds, sets.items(), self.methods)
        ]

    def _config(self, method: str, data: Tree, seed: int, base_data: Tree, device: str) -> TrainConfig:
        last = {"learning": {"seed": seed}, "machine": {"device": device}}
        tree = reduce(_merged, ({"data": base_data}, self.base, data, self.methods[method], last))
        with reading(f"plan {self.name}, method {method}", *_PLAN):
            return TrainConfig.from_yaml(yaml.safe_dump(tree))


def _merged(tree: Tree, over: Tree) -> Tree:
    """``over`` laid over ``tree``, entry by entry."""
    both = [key for key in over if isinstance(tree.get(key), dict) and isinstance(over[key], dict)]
    return tree | over | {key: _merged(tree[key], over[key]) for key in both}


def read_plan(given: str) -> Plan:
    """The plan of a YAML file, or a built-in one; a `UserError` for a name of neither, or a file that is no plan."""
    folder = files("t2h.benchmark") / "plans"
    built_in = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    if given in built_in:
        return parse_plan((folder / f"{given}.yaml").read_text(encoding="utf-8"), given)
    path = Path(given)
    if path.is_file():
        with reading(path, *_PLAN):
            return parse_plan(path.read_text(encoding="utf-8"), path.stem)
    if path.suffix in (".yaml", ".yml"):
        raise UserError(f"there is no plan {path}; give a YAML file, or one of {', '.join(built_in)}.")
    raise unknown_name("plan", given, built_in)


def parse_plan(text: str, name: str) -> Plan:
    """The plan of a YAML text; a `UserError` says which entry is wrong."""
    with reading(f"plan {name}", *_PLAN):
        tree = yaml.safe_load(text)
        if not isinstance(tree, dict):
            raise UserError("it holds no entries; it needs data and methods.")
        tree["evaluation"] = evaluation = _with_new_names(tree.get("evaluation") or {})
        check_known("entry", tree, _READERS)
        check_known("evaluation entry", evaluation, _EVALUATION)
        for entry in ("data", "methods"):
            if not tree.get(entry):
                raise UserError(f"it has no {entry}; give at least one, as `{entry}: {{NAME: {{...}}}}`.")
        plan = Plan(name, **{entry: _READERS[entry](value) for entry, value in tree.items() if value is not None})
        _check(plan)
        return plan


def _with_new_names(tree: Tree) -> Tree:
    """Version 0.1 called metrics figures."""
    return {{"figures": "metrics", "figure": "metric"}.get(key, key): value for key, value in tree.items()}


def _evaluation(tree: Tree) -> EvaluationPlan:
    values: Tree = {key: tuple(value) if isinstance(value, list) else value for key, value in tree.items()}
    if "w" in tree:
        values["w"] = tuple(map(float, tree["w"]))
    flags = CurveFlags(**{key: values.pop(key) for key in _DRAWING if key in values})
    return EvaluationPlan(**values, sampling=flags)


_DRAWING = tuple(name for name in NAMES if name not in ("w", "seed"))
_EVALUATION = (*(name for name in EvaluationPlan.__dataclass_fields__ if name != "sampling"), *_DRAWING)
_READERS: dict[str, Callable[[Any], Any]] = {
    "about": lambda text: " ".join(str(text).split()),
    "base": dict,
    "data": lambda trees: {str(name): dict(tree or {}) for name, tree in trees.items()},
    "imbalance": lambda values: tuple(map(float, values)),
    "methods": lambda trees: {str(name): dict(tree or {}) for name, tree in trees.items()},
    "seeds": lambda values: tuple(map(int, values)),
    "baseline": str,
    "evaluation": _evaluation,
    "published": lambda entries: tuple(Published(**_with_new_names(entry)) for entry in entries),
}


def _check(plan: Plan) -> None:
    for name in (*plan.data, *plan.methods):
        if not re.fullmatch(r"[\w.+-]+", name):
            raise UserError(f"{name!r} names a folder; use letters, digits and . + - _ only.")
    check_known("baseline", [plan.baseline], plan.methods)
    check_unique("imbalance", plan.imbalance)
    check_unique("seeds", plan.seeds)
    for imbalance in plan.imbalance:
        check_imbalance(imbalance)
    for name, tree in plan.data.items():
        if "data" not in tree:
            raise UserError(f"data {name}: `data` is missing, such as `{name}: {{data: cifar10}}`.")
    for method, tree in plan.methods.items():
        check_known(f"entry of method {method}", tree, _OF_METHODS)
        if shared := [key for key in tree.get("learning") or {} if key in _SHARED_LEARNING]:
            raise UserError(f"method {method} changes learning.{shared[0]}, which all share; set it under base.")
    cells = plan.cells()
    check_known("data of published numbers", [entry.data for entry in plan.published], {c.data for c in cells})
    for cell in cells[: len(plan.methods)]:
        process = cell.config.process.make()
        describe(cell.config.objective, cell.config.methods, process)
        drawn = cell.config.own_sampling.overridden(plan.evaluation.sampling)
        set_steps(make_scheduler(drawn.scheduler, process), drawn.steps)
