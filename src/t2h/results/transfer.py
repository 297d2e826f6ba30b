"""Where a method took its targets from: the share from other images, which explains what T2H does or fails to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from typing import Any

from t2h.files import finite

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Transfer:
    """The targets of a training, or of several of one method together.

    Attributes:
        data, method: of a benchmark.
        t_edges: edges of the bins of t, (bins + 1).
        total: how many targets there were in each bin.
        within: how many of them came from another image of the same class.
        across: and of another class.
    """

    data: str
    method: str
    t_edges: Numbers
    total: Numbers
    within: Numbers
    across: Numbers

    @classmethod
    def of(cls, counts: Sequence[Any], data: str = "", method: str = "") -> Transfer | None:
        """The sum of what trainings count as "transfer" in metrics.jsonl; None without any, or where one is damaged."""
        try:
            (edges,) = {_numbers(each["t_edges"]) for each in counts}
            bins = [[_numbers(each[key]) for each in counts] for key in ("total", "within_class", "across_class")]
            total, within, across = (tuple(float(sum(n)) for n in zip(*each, strict=True)) for each in bins)
        except (KeyError, TypeError, ValueError):
            return None
        whole = len(edges) - 1 == len(total) == len(within) == len(across) > 0
        return cls(data, method, edges, total, within, across) if whole else None

    @property
    def middles(self) -> Numbers:
        """The middle of each bin."""
        return tuple((low + high) / 2 for low, high in pairwise(self.t_edges))

    def by_t(self, of: Numbers) -> tuple[float | None, ...]:
        """The share of ``of`` (within or across) in each bin; None where there was no target."""
        return tuple(n / all_ if all_ else None for n, all_ in zip(of, self.total, strict=True))

    def share(self, of: Numbers, low: float = 0.0, high: float = math.inf) -> float:
        """The share of ``of`` (within or across) among the targets with low <= t < high, by the bins' middles."""
        there = [low <= middle < high for middle in self.middles]
        total = sum(compress(self.total, there))
        return sum(compress(of, there)) / total if total else math.nan


def _numbers(part: Any) -> Numbers:
    return tuple(number for number in map(finite, part) if number is not None)
