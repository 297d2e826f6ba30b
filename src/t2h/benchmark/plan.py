"""A plan: what is trained on what, and how it is evaluated."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from t2h.errors import UserError
from t2h.evaluation.options import MetricOptions
from t2h.results.metrics import COMPUTED
from t2h.sampling import CurveFlags, Sampling
from t2h.training.config import TrainConfig

Tree = dict[str, Any]


@dataclass(frozen=True)
class EvaluationPlan:
    """How every cell is evaluated."""

    features: str = "inception"
    """inception, classifier (trained on the balanced set), module:callable, or hf:NAME."""
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

    def __post_init__(self) -> None:
        if not self.w or len(set(self.w)) < len(self.w):
            raise UserError(f"evaluation.w is {list(self.w)}; give at least one weight, each once.")
        if self.per_class is not None and self.per_class < 1:
            raise UserError(f"evaluation.per_class is {self.per_class}; it must be at least 1.")
        if "fid" not in self.metrics:
            raise UserError("evaluation.metrics lacks fid, by which the best w and the ranks are found.")
        _ = self.options, Sampling().overridden(self.sampling)  # check themselves

    @property
    def options(self) -> MetricOptions:
        """As the judge takes them."""
        return MetricOptions(metrics=self.metrics, resamples=self.resamples)


@dataclass(frozen=True)
class Published:
    """Numbers that a paper printed: they stand beside ours, and are never mixed with them."""

    source: str
    data: str
    values: dict[str, float]
    """By method, under the plan's names where it has them."""
    metric: str = "fid"
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
    evaluation: EvaluationPlan = field(default_factory=EvaluationPlan)
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
        parts = (
            {"data": {} if root is None else {"root": str(root)}},
            self.base,
            {"data": {**data, "imbalance": imbalance}},
            self.methods[method],
            {"learning": {"seed": seed}, "machine": {"device": device}},
        )
        try:
            return TrainConfig.from_yaml(yaml.safe_dump(reduce(_merged, parts)))
        except UserError as error:
            raise UserError(f"plan {self.name}, method {method}: {error}") from error


def _merged(tree: Tree, over: Tree) -> Tree:
    """``over`` laid over ``tree``, entry by entry."""
    both = [key for key in over if isinstance(tree.get(key), dict) and isinstance(over[key], dict)]
    return tree | over | {key: _merged(tree[key], over[key]) for key in both}
