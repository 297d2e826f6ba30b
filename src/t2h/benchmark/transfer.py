"""Where a method took its targets from: the share from other images, which explains what T2H does or fails to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from typing import Any

from t2h.benchmark.plan import Cell
from t2h.benchmark.run import BenchmarkFolder
from t2h.training.run import RunFolder


@dataclass(frozen=True)
class Transfer:
    """The targets of a method in all its finished trainings together.

    Attributes:
        t_edges: edges of the bins of t, (bins + 1).
        total: how many targets there were in each bin.
        within: how many of them came from another image of the same class.
        across: and of another class.
    """

    data: str
    method: str
    t_edges: tuple[float, ...]
    total: tuple[float, ...]
    within: tuple[float, ...]
    across: tuple[float, ...]

    @property
    def middles(self) -> tuple[float, ...]:
        """The middle of each bin."""
        return tuple((low + high) / 2 for low, high in pairwise(self.t_edges))

    @property
    def across_by_t(self) -> tuple[float | None, ...]:
        """The share from another class in each bin; None where there was no target."""
        return tuple(n / all_ if all_ else None for n, all_ in zip(self.across, self.total, strict=True))

    def share(self, of: Sequence[float], low: float = 0.0, high: float = math.inf) -> float:
        """The share of ``of`` (within or across) among the targets with low <= t < high, by the bins' middles."""
        there = [low <= middle < high for middle in self.middles]
        total = sum(compress(self.total, there))
        return sum(compress(of, there)) / total if total else math.nan


def transfers(cells: Sequence[Cell], place: BenchmarkFolder) -> list[Transfer]:
    """The transfers of every method that counts them, over the seeds of ``cells``."""
    counted: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        if (counts := RunFolder(place.folder(cell)).transfer()) is not None:
            counted.setdefault((cell.data, cell.method), []).append(counts)

    def total(seeds: list[dict[str, Any]], name: str) -> tuple[float, ...]:
        return tuple(float(sum(bins)) for bins in zip(*(counts[name] for counts in seeds), strict=True))

    return [
        Transfer(
            *key,
            tuple(map(float, seeds[0]["t_edges"])),
            *(total(seeds, name) for name in ("total", "within_class", "across_class")),
        )
        for key, seeds in counted.items()
    ]
