"""A plan: what is trained on what, and how it is evaluated; from a YAML file, or a built-in one by name."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml

from t2h.data.longtail import check_imbalance
from t2h.errors import UserError, check_finite, check_known, check_numbers, check_unique, unknown_name
from t2h.files import reading
from t2h.methods import describe
from t2h.results.metrics import COMPUTED, METRICS, split_key
from t2h.results.options import MetricOptions
from t2h.sampling import NAMES, CurveFlags, Sampling, set_steps
from t2h.training.config import TrainConfig
from t2h.typed import from_yaml, typed

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
        check_finite(self, "published ")


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
    for key in over:
        if key in tree and isinstance(tree[key], dict) != isinstance(over[key], dict):
            raise UserError(f"{key} holds named entries in one place, and none in another.")
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
        tree = from_yaml(text)
        if not isinstance(tree, dict):
            raise UserError("it holds no entries; it needs data and methods.")
        tree = {entry: value for entry, value in tree.items() if value is not None}
        check_known("entry", tree, [entry for entry in Plan.__dataclass_fields__ if entry != "name"])
        for entry in ("data", "methods"):
            if not tree.get(entry):
                raise UserError(f"it has no {entry}; give at least one, as `{entry}: {{NAME: {{...}}}}`.")
        if isinstance(tree.get("evaluation"), dict):
            tree["evaluation"] = _evaluation(_with_new_names(tree["evaluation"]))
        if isinstance(tree.get("published"), list):
            tree["published"] = list(map(_with_new_names, tree["published"]))
        plan = typed(Plan, tree | {"name": name})
        _check(plan)
        return plan


def _with_new_names(tree: Any) -> Any:
    """Version 0.1 called metrics figures."""
    new = {"figures": "metrics", "figure": "metric"}
    return {new.get(key, key): value for key, value in tree.items()} if isinstance(tree, dict) else tree


def _evaluation(tree: Tree) -> Tree:
    """With what a plan says of drawing beside the rest in its place."""
    own = [key for key in EvaluationPlan.__dataclass_fields__ if key != "sampling"]
    check_known("evaluation entry", tree, [*own, *_DRAWING])
    drawing = {key: value for key, value in tree.items() if key in _DRAWING}
    return {key: value for key, value in tree.items() if key not in _DRAWING} | {"sampling": drawing}


_DRAWING = tuple(name for name in NAMES if name not in ("w", "seed"))


def _check(plan: Plan) -> None:
    for name in (*plan.data, *plan.methods):
        if not re.fullmatch(r"\w[\w.+-]{0,99}", name):
            raise UserError(f"{name!r} names a folder; use letters, digits and . + - _ only, a letter or digit first.")
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
    check_known("metric of published numbers", [split_key(entry.metric)[0] for entry in plan.published], METRICS)
    check_known("data of published numbers", [entry.data for entry in plan.published], {c.data for c in cells})
    for cell in cells[: len(plan.methods)]:
        process = cell.config.process.make()
        describe(cell.config.objective, cell.config.methods, process)
        drawn = cell.config.own_sampling.overridden(plan.evaluation.sampling)
        set_steps(process.scheduler(drawn.scheduler), drawn.steps)
