"""A plan: what is trained on what, and how it is judged. A YAML file, or a built-in one by name."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from t2h.data.longtail import check_imbalance
from t2h.device import Precision
from t2h.errors import UserError, unknown_name
from t2h.evaluation.options import KINDS, FigureOptions
from t2h.methods import describe
from t2h.samples.draw import Sampling
from t2h.training.config import TrainConfig

Tree = dict[str, Any]

_ENTRIES = ("about", "base", "data", "imbalance", "methods", "seeds", "baseline", "evaluation", "published")
# What a method may change; the rest is common to all, so that all see the same images in the same number.
_OF_METHODS = ("objective", "methods", "learning")
_SHARED_LEARNING = ("steps", "batch_size", "seed", "flip")


@dataclass(frozen=True)
class Judging:
    """How every cell is judged."""

    features: str = "inception"
    """inception, classifier (trained on the balanced set), module:callable, or hf:NAME."""
    w: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    """Guidance weights of the curve."""
    per_class: int | None = None
    """Samples of each class at each w. Default: 50,000 in all."""
    scheduler: str = "ddim"
    steps: int = 100
    clip_sample: bool = False
    mixed_precision: Precision = "no"
    """How samples are drawn: see `t2h.samples.draw.Sampling`."""
    figures: tuple[str, ...] = KINDS
    resamples: int = 0
    """Bootstrap resamples over images in each result; the table's intervals are over seeds."""
    held_out_split: str | None = None
    """A split that no model was trained on, for memorisation."""

    def __post_init__(self) -> None:
        if not self.w or len(set(self.w)) < len(self.w):
            raise UserError(f"evaluation.w is {list(self.w)}; give at least one weight, each once.")
        if self.per_class is not None and self.per_class < 1:
            raise UserError(f"evaluation.per_class is {self.per_class}; it must be at least 1.")
        if "fid" not in self.figures:
            raise UserError("evaluation.figures lacks fid, by which the best w and the ranks are found.")
        _ = self.options, self.sampling(0)  # check themselves

    def sampling(self, seed: int) -> Sampling:
        """How the cells of a seed are drawn, whatever the guidance."""
        return Sampling(1.0, self.scheduler, self.steps, seed, self.clip_sample, self.mixed_precision)

    @property
    def options(self) -> FigureOptions:
        """As the judge takes them."""
        return FigureOptions(figures=self.figures, resamples=self.resamples)


@dataclass(frozen=True)
class Published:
    """Numbers that a paper printed: they stand beside ours, and are never mixed with them."""

    source: str
    data: str
    values: dict[str, float]
    """By method, under the plan's names where it has them."""
    figure: str = "fid"
    protocol: str = ""


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

    Attributes:
        name: of the file, or of the built-in plan.
        data: configuration overrides of each data set.
        methods: configuration overrides of each method: its objective, options, and how it learns.
        baseline: the method that differences are taken to.
    """

    name: str
    data: dict[str, Tree]
    methods: dict[str, Tree]
    base: Tree = field(default_factory=dict)
    imbalance: tuple[float, ...] = (0.01,)
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline: str = "ddpm"
    evaluation: Judging = field(default_factory=Judging)
    published: tuple[Published, ...] = ()
    about: str = ""

    def cells(self, root: Path | None = None, device: str = "auto") -> list[Cell]:
        """All runs, seed by seed, so that what is finished early is paired.

        Args:
            root: directory of the data, where the plan gives none.
            device: where to train; no part of the plan.

        Raises:
            UserError: where a part of the plan is no configuration.
        """
        sets = itertools.product(self.data, self.imbalance)
        named = {f"{name}-{imbalance:g}": (self.data[name], imbalance) for name, imbalance in sets}
        return [
            Cell(name, method, self._config(data, imbalance, method, seed, root, device))
            for seed, (name, (data, imbalance)), method in itertools.product(self.seeds, named.items(), self.methods)
        ]

    def _config(
        self, data: Tree, imbalance: float, method: str, seed: int, root: Path | None, device: str
    ) -> TrainConfig:
        place = {} if root is None else {"root": str(root)}
        parts = (
            {"data": place},
            self.base,
            {"data": {**data, "imbalance": imbalance}},
            self.methods[method],
            {"learning": {"seed": seed}, "machine": {"device": device}},
        )
        tree: Tree = {}
        for part in parts:
            tree = _merged(tree, part)
        try:
            return TrainConfig.from_yaml(yaml.safe_dump(tree))
        except UserError as error:
            raise UserError(f"plan {self.name}, method {method}: {error}") from error


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
    for entry in tree:
        if entry not in _ENTRIES:
            raise unknown_name(f"entry of plan {name}", entry, _ENTRIES)
    for entry in ("data", "methods"):
        if not tree.get(entry):
            raise UserError(f"plan {name} has no {entry}; give at least one, as `{entry}: {{NAME: {{...}}}}`.")
    try:
        plan = Plan(
            name=name,
            data=_entries(tree, "data"),
            methods=_entries(tree, "methods"),
            base=tree.get("base") or {},
            imbalance=tuple(float(value) for value in tree.get("imbalance", (0.01,))),
            seeds=tuple(int(seed) for seed in tree.get("seeds", (0, 1, 2))),
            baseline=str(tree.get("baseline", "ddpm")),
            evaluation=_judging(tree.get("evaluation") or {}, name),
            published=tuple(Published(**entry) for entry in tree.get("published") or ()),
            about=" ".join(str(tree.get("about", "")).split()),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise error if isinstance(error, UserError) else UserError(f"plan {name}: {error}") from error
    _check(plan)
    return plan


def _entries(tree: Tree, entry: str) -> dict[str, Tree]:
    return {str(name): dict(value or {}) for name, value in tree[entry].items()}


def _judging(tree: Tree, name: str) -> Judging:
    for entry in tree:
        if entry not in Judging.__dataclass_fields__:
            raise unknown_name(f"evaluation entry of plan {name}", entry, Judging.__dataclass_fields__)
    known: Tree = {key: tuple(value) if isinstance(value, list) else value for key, value in tree.items()}
    if "w" in known:
        known["w"] = tuple(float(w) for w in known["w"])
    return Judging(**known)


def _check(plan: Plan) -> None:
    """Everything that can be known before data are read.

    Raises:
        UserError: for the first thing that is wrong.
    """
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
    for published in plan.published:
        if published.data not in {cell.data for cell in cells}:
            raise unknown_name(
                f"data of published numbers in plan {plan.name}", published.data, {c.data for c in cells}
            )
    for cell in cells:
        if cell.seed == plan.seeds[0]:
            describe(cell.config.objective, cell.config.methods)


def _merged(tree: Tree, over: Tree) -> Tree:
    """``over`` laid over ``tree``, entry by entry."""
    both = {
        key: _merged(tree[key], value) for key, value in over.items() if _is_tree(value) and _is_tree(tree.get(key))
    }
    return tree | over | both


def _is_tree(value: Any) -> bool:
    return isinstance(value, dict)
