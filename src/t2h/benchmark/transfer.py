"""Where a method took its targets from: the share from other images, which explains what T2H does or fails to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from t2h.benchmark.cells import BenchmarkFolder
from t2h.benchmark.plan import Cell
from t2h.training.run import RunFolder


@dataclass(frozen=True)
class Transfer:
    """The targets of a method in all its finished trainings together.

    Attributes:
        data, method: which.
        t_edges: edges of the bins of t, (bins + 1).
        total: how many targets there were in each bin.
        within, across: how many of them came from another image of the same class, and of another class.
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

    def share(self, of: Sequence[float], low: float = 0.0, high: float = np.inf) -> float:
        """The share of ``of`` (within or across) among the targets with low <= t < high, by the bins' middles."""
        counted: Float[np.ndarray, " bins"] = np.array(self.middles)
        there = (counted >= low) & (counted < high)
        total = np.array(self.total)[there].sum()
        return float(np.array(of)[there].sum() / total) if total else float("nan")


def transfers(cells: Sequence[Cell], place: BenchmarkFolder) -> list[Transfer]:
    """The transfers of every method that counts them, over the seeds of ``cells``."""
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells:
        counted = RunFolder(place.folder(cell)).transfer()
        if counted is None:
            continue
        mine = sums.setdefault((cell.data, cell.method), {"t_edges": counted["t_edges"]})
        for name in ("total", "within_class", "across_class"):
            mine[name] = np.array(counted[name]) + mine.get(name, 0.0)
    return [
        Transfer(
            *key,
            *(tuple(map(float, found[name])) for name in ("t_edges", "total", "within_class", "across_class")),
        )
        for key, found in sums.items()
    ]
