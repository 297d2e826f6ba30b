"""Exact nearest neighbours among features, within a budget of memory.

Squared distances are first estimated as ‖x‖² + ‖y‖² - 2 x·y, in float32, a block of rows at a time, with a bound on the
rounding error. Whatever the bound leaves open is then computed as Σ (x - y)² in float64. The result is exact, equal
distances are equal (a copy is at distance 0), and neither the order of the rows nor the block size changes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from t2h.errors import UserError
from t2h.metrics._checks import Features, pair, rows

# Bytes for one block of estimates and the work on it; the features (twice, in float32) come on top.
BUDGET = 512 * 2**20
_BYTES_PER_PAIR = 24  # the estimates, a mask or a comparison, and the int64 indices of argpartition


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest row of another set: ``distance`` float64 (n,), and ``index`` int64 (n,), any one of equals."""

    distance: Float[np.ndarray, " n"]
    index: Int[np.ndarray, " n"]


def kth_neighbour_distance(
    x: Features, k: int, exclude_self: bool = True, budget: int = BUDGET
) -> Float[np.ndarray, " n"]:
    """Distance of each row to its k-th nearest row of the same set, float64 (n,).

    Args:
        x: features (n, D).
        k: from 1; a row is not its own neighbour, but a copy of it is.
        exclude_self: False counts the row itself as the first neighbour.
        budget: bytes for one block.

    Raises:
        UserError: if x has too few rows for k, or a feature is not finite.
    """
    return neighbour_distances(x, k, exclude_self, budget)[:, k - 1]


def neighbour_distances(
    x: Features, k: int, exclude_self: bool = True, budget: int = BUDGET
) -> Float[np.ndarray, "n k"]:
    """Distances of each row to its 1st ... k-th nearest rows of the same set, float64 (n, k). Arguments as above."""
    points = rows(x, "given")
    allowed = len(points) - 1 if exclude_self else len(points)
    if not 1 <= k <= allowed:
        raise UserError(
            f"k is {k} with {len(points)} images; k must lie in 1 ... {allowed}."
            if allowed
            else f"one image has no neighbours; {k + 1} images are needed for k = {k}."
        )
    return _search(Estimates(points, points, budget), k, exclude_self)[0]


def nearest(
    x: Features, y: Features, budget: int = BUDGET, names: tuple[str, str] = ("query", "reference")
) -> Neighbours:
    """For each row of x (n, D) the nearest row of y (m, D); ``names`` are what errors call the two sets.

    Raises:
        UserError: if a set is empty, a feature is not finite, or the dimensions differ.
    """
    query, reference = pair(x, y, names=names)
    distance, index = _search(Estimates(query, reference, budget), 1, exclude_self=False)
    return Neighbours(distance[:, 0], index[:, 0])


class Estimates:
    """Lower bounds of all squared distances between two sets, block by block, and the exact distances of chosen pairs.

    Bounds are in units of ``unit`` (the largest squared norm after centring), so no scale of features over- or
    underflows.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, budget: int = BUDGET) -> None:
        self.x, self.y = x, y
        centre = y.mean(axis=0, dtype=np.float64)
        norm_x, norm_y = _norms(x, centre), _norms(y, centre)
        self.unit = float(max(norm_x.max(), norm_y.max())) or 1.0
        self._x = _scaled(x, centre, self.unit)
        self._y = self._x if y is x else _scaled(y, centre, self.unit)
        # |fl(x·y) - x·y| <= D u ‖x‖‖y‖, in any order of summation; the rest is for rounding x, y, norms and sums.
        self._error = (x.shape[1] + 16) * 2.0**-24
        self._norm_x, self._norm_y = norm_x / self.unit, norm_y / self.unit
        self.block = max(1, int(budget // (_BYTES_PER_PAIR * len(y))))
        self.pairs_at_once = max(1, int(budget // (32 * x.shape[1])))

    def blocks(self) -> Iterator[tuple[int, Float[np.ndarray, "b m"]]]:
        """(first row of x, lower bounds of the block's squared distances to all of y, float32)."""
        kept_y = ((1 - self._error) * self._norm_y).astype(np.float32)
        kept_x = ((1 - self._error) * self._norm_x).astype(np.float32)
        for start in range(0, len(self.x), self.block):
            part = slice(start, start + self.block)
            low = self._x[part] @ self._y.T
            low *= -2
            low += kept_x[part, None]
            low += kept_y
            yield start, low

    def width(self, i: Int[np.ndarray, " p"], j: Int[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
        """Upper minus lower bound of the squared distances of rows i of x and j of y."""
        return 2 * self._error * (self._norm_x[i] + self._norm_y[j])

    def bound(self, distance: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """A distance as the lower bounds count it: pairs whose lower bound exceeds this are farther."""
        return (np.square(distance) / self.unit * (1 + 1e-6)).astype(np.float32)

    def exact(self, i: Int[np.ndarray, " p"], j: Int[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
        """Distances of rows i of x and j of y, float64; the same two rows give the same bits wherever they stand."""
        out = np.empty(len(i))
        for start in range(0, len(i), self.pairs_at_once):
            part = slice(start, start + self.pairs_at_once)
            difference = self.x[i[part]].astype(np.float64)
            difference -= self.y[j[part]]
            out[part] = np.sqrt(np.square(difference, out=difference).sum(axis=1))
        return out


def _parts(x: np.ndarray) -> list[np.ndarray]:
    return np.array_split(x, len(x) // 4096 + 1)


def _norms(x: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return np.concatenate([np.square(part - centre).sum(axis=1) for part in _parts(x)])


def _scaled(x: np.ndarray, centre: np.ndarray, unit: float) -> np.ndarray:
    return np.concatenate([((part - centre) / np.sqrt(unit)).astype(np.float32) for part in _parts(x)])


def _search(estimates: Estimates, k: int, exclude_self: bool) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices (n, k) of the k nearest rows of y, nearest first."""
    found = [_search_block(estimates, start, low, k, exclude_self) for start, low in estimates.blocks()]
    return np.concatenate([distance for distance, _ in found]), np.concatenate([index for _, index in found])


def _search_block(
    estimates: Estimates, start: int, low: np.ndarray, k: int, exclude_self: bool
) -> tuple[np.ndarray, np.ndarray]:
    n = len(low)
    if exclude_self:
        low[np.arange(n), start + np.arange(n)] = np.inf
    # Any k rows bound the k-th distance from above; only rows that may be nearer than that are looked at.
    some = np.argpartition(low, k - 1, axis=1)[:, :k]
    reach = estimates.exact(np.repeat(start + np.arange(n), k), some.ravel()).reshape(n, k).max(axis=1)
    near = low <= estimates.bound(reach)[:, None]
    # Nothing is nearer than k copies; without this a collapsed set, all copies, would take all pairs one by one.
    settled = reach == 0
    near[settled] = False
    near[np.flatnonzero(settled)[:, None], some[settled]] = True
    i, j = np.nonzero(near)
    distance = estimates.exact(start + i, j)
    order = np.lexsort((j, distance, i))
    rank = np.arange(len(i)) - np.searchsorted(i, i)  # i is sorted, and stays so
    chosen = order[rank < k]
    return distance[chosen].reshape(n, k), j[chosen].reshape(n, k)
