"""The registry of metrics: how each is called, which way is better, and how it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """What is known about a metric.

    Args:
        key: its name in result files; ``precision``, ``recall``, ``density`` and ``coverage`` have their k behind it.
        label: its name in tables.
        about: one line of explanation.
        direction: which way is better; None where neither is.
        computed_by: the entry of ``--metrics`` that computes it.
        target: the value that an honest model has, where neither less nor more is better.
        decimals: of a number in a table.
        percent: whether it is a share, which a page shows in per cent.
        main: whether it is shown where there is no room for all.
    """

    key: str
    label: str
    about: str = ""
    direction: Literal["lower", "higher"] | None = None
    computed_by: str = ""
    target: float | None = None
    decimals: int = 3
    percent: bool = False
    main: bool = False

    @property
    def hint(self) -> str:
        """ "↓" or "↑", which way is better, or "→ 5.0 %", the target; "" for none."""
        if self.target is not None:
            return f"→ {self.text(self.target)}"
        return {"lower": "↓", "higher": "↑", None: ""}[self.direction]

    def number(self, value: float | None, signed: bool = False) -> str:
        """The value with the metric's decimals; "" for none."""
        return "" if value is None else f"{value:{'+' if signed else ''}.{self.decimals}f}"

    def text(self, value: float | None) -> str:
        """As `number`, but shares in per cent and "—" for none."""
        if value is None:
            return "—"
        return f"{100 * value:.1f} %" if self.percent else self.number(value)

    def is_better(self, a: float, b: float) -> bool:
        """Whether a is better than b. A metric without a direction ranks nothing, not even by the way to its target:
        a share of 0.04 is no better than one of 0.06 where honest models scatter around 0.05."""
        return {"lower": a < b, "higher": a > b, None: False}[self.direction]


_METRICS = (
    Metric("fid", "FID", "distance between the features of samples and real images", "lower", decimals=2, main=True),
    Metric("kid", "KID", "as FID, without its bias for few images", "lower", decimals=4, main=True),
    Metric("is", "IS", "Inception Score: clear and varied classes", "higher", decimals=2, main=True),
    Metric("precision", "Precision", "share of samples that lie among real images", "higher", "manifold", main=True),
    Metric("recall", "Recall", "share of real images that lie among the samples", "higher", "manifold", main=True),
    Metric("density", "Density", "how densely real images surround the samples", "higher", "manifold"),
    Metric("coverage", "Coverage", "share of real images with a sample near them", "higher", "manifold", main=True),
    Metric("prd_f8", "F8", "recall side of the precision-recall distribution", "higher", "prd"),
    Metric("prd_f1_8", "F1/8", "precision side of the precision-recall distribution", "higher", "prd"),
    Metric("diversity", "Diversity", "mean distance between samples of one class; compare with the real one"),
    Metric("diversity_real", "Diversity, real", "mean distance between real images of one class", None, "diversity"),
    Metric(
        "accuracy",
        "Accuracy",
        "share of samples that a classifier of real images takes for their class",
        "higher",
        percent=True,
        main=True,
    ),
    Metric(
        "memorisation",
        "Memorised",
        "share of samples nearer to a training image than 95 % of unseen real images are: 5 % without copying, "
        "100 % for copies, 0 % for what is far from all data",
        target=0.05,
        percent=True,
        main=True,
    ),
)
METRICS: dict[str, Metric] = {m.key: replace(m, computed_by=m.computed_by or m.key) for m in _METRICS}
"""Every metric by its key, in the order of tables."""

COMPUTED: tuple[str, ...] = tuple(dict.fromkeys(metric.computed_by for metric in METRICS.values()))
"""What ``--metrics`` of `t2h evaluate` may name."""

GROUPS = ("head", "medium", "tail")
"""Groups of classes that every table shows."""


def split_key(key: str) -> tuple[str, int | None]:
    """ "precision_k5" -> ("precision", 5); "fid" -> ("fid", None)."""
    match = re.fullmatch(r"(.+)_k(\d+)", key)
    return (match[1], int(match[2])) if match else (key, None)


def metric_of(key: str) -> Metric:
    """The metric of this key, "fid" or "precision_k5"; one that the registry lacks has a label and no direction."""
    stem, k = split_key(key)
    known = METRICS.get(stem, Metric(stem, stem.replace("_", " ")))
    return replace(known, key=key, label=known.label if k is None else f"{known.label} (k={k})")


def in_order(keys: Iterable[str]) -> list[str]:
    """The keys in the order of the registry, others last; each metric of neighbours at its largest k alone."""
    largest: dict[str, str] = {}
    for key in keys:
        stem, k = split_key(key)
        if stem not in largest or (k or 0) > (split_key(largest[stem])[1] or 0):
            largest[stem] = key
    rank = {stem: i for i, stem in enumerate(METRICS)}
    return [largest[stem] for stem in sorted(largest, key=lambda stem: rank.get(stem, len(rank)))]


def main_keys(keys: Iterable[str]) -> list[str]:
    """The main metrics among the keys, in the order of the registry; all of them where none is a main one."""
    ordered = in_order(keys)
    return [key for key in ordered if metric_of(key).main] or ordered
