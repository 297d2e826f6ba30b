"""Precision, recall, density and coverage, from the k-nearest-neighbour balls around the images of both sets.

Sources: Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative models" (precision,
recall; a ball holds its border, as in the paper), and Naeem et al. 2020, "Reliable fidelity and diversity metrics for
generative models" (density, coverage; the border is outside, as in its published code `prdc`). The difference shows
only where images are copies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from t2h.errors import UserError
from t2h.metrics._checks import Features, pair
from t2h.metrics.neighbours import BUDGET, Estimates, neighbour_distances


def manifold_metrics(
    real: Features,
    fake: Features,
    ks: Sequence[int] = (3, 5),
    budget: int = BUDGET,
    real_distances: Float[np.ndarray, "n k"] | None = None,
) -> dict[str, float]:
    """``precision_k3``, ``recall_k3``, ``density_k3``, ``coverage_k3``, ``precision_k5``, ... of sets (n, D), (m, D).

    * precision: share of generated images inside the ball of some real image (radius: its k-th real neighbour);
    * recall: share of real images inside the ball of some generated image (radius: its k-th generated neighbour);
    * density: real balls that a generated image lies in, on average, divided by k; it may exceed 1;
    * coverage: share of real images with a generated image inside their ball.

    The distances are computed once for all four metrics and all k. ``real_distances`` are those of
    `neighbour_distances(real, max(ks))`, for callers that hold several generated sets against one real set.

    Raises:
        UserError: if a set has no more than max(ks) images, a feature is not finite, or the dimensions differ.
    """
    x, y = pair(real, fake)
    largest = max(ks, default=0)
    if min(ks, default=0) < 1:
        raise UserError(f"ks is {list(ks)}; give at least one k, from 1.")
    for name, points in (("real", x), ("generated", y)):
        if len(points) <= largest:
            raise UserError(f"{len(points)} {name} images; the neighbour k = {largest} needs at least {largest + 1}.")
    columns = np.asarray(ks) - 1
    if real_distances is None:
        real_distances = neighbour_distances(x, largest, budget=budget)
    balls = _Balls(
        Estimates(x, y, budget),
        real_distances[:, columns],
        neighbour_distances(y, largest, budget=budget)[:, columns],
    )
    for start, low in balls.estimates.blocks():
        balls.look(start, low)
    found = {}
    for c, k in enumerate(ks):
        found[f"precision_k{k}"] = float(balls.precise[:, c].mean())
        found[f"recall_k{k}"] = float(balls.recalled[:, c].mean())
        found[f"density_k{k}"] = float(balls.inside[c] / (k * len(y)))
        found[f"coverage_k{k}"] = float(balls.covered[:, c].mean())
    return found


class _Balls:
    """Who lies in whose ball, counted block by block; a column for each k."""

    def __init__(
        self, estimates: Estimates, real_radii: Float[np.ndarray, "n k"], fake_radii: Float[np.ndarray, "m k"]
    ) -> None:
        self.estimates, self.real_radii, self.fake_radii = estimates, real_radii, fake_radii
        self.precise: Bool[np.ndarray, "m k"] = np.zeros(fake_radii.shape, dtype=bool)
        self.recalled: Bool[np.ndarray, "n k"] = np.zeros(real_radii.shape, dtype=bool)
        self.covered: Bool[np.ndarray, "n k"] = np.zeros(real_radii.shape, dtype=bool)
        self.inside: Int[np.ndarray, " k"] = np.zeros(real_radii.shape[1], dtype=np.int64)

    def look(self, start: int, low: Float[np.ndarray, "b m"]) -> None:
        bound = self.estimates.bound
        part = slice(start, start + len(low))
        i, j = np.nonzero(low <= bound(self.real_radii[part].max(axis=1))[:, None])
        distance = self._distance(low[i, j], start + i, j, self.real_radii[start + i].min(axis=1))
        for c in range(len(self.inside)):
            radius = self.real_radii[start + i, c]
            within = distance < radius
            self.precise[j[distance <= radius], c] = True
            self.covered[start + i[within], c] = True
            self.inside[c] += int(within.sum())
        i, j = np.nonzero(low <= bound(self.fake_radii.max(axis=1)))
        distance = self._distance(low[i, j], start + i, j, self.fake_radii[j].min(axis=1))
        for c in range(len(self.inside)):
            self.recalled[start + i[distance <= self.fake_radii[j, c]], c] = True

    def _distance(self, low: np.ndarray, i: np.ndarray, j: np.ndarray, smallest: np.ndarray) -> Float[np.ndarray, " p"]:
        """The exact distances, but 0 where the bounds already say that a pair is nearer than its smallest radius."""
        high = low + self.estimates.width(i, j)
        open_ = np.flatnonzero(high >= np.square(smallest) / self.estimates.unit * (1 - 1e-6))
        distance = np.zeros(len(i))
        distance[open_] = self.estimates.exact(i[open_], j[open_])
        return distance
