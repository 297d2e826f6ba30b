"""Precision, recall, density and coverage, from the k-nearest-neighbour balls around the images of both sets.

Sources: Kynkäänniemi et al. 2019, "Improved precision and recall metric for assessing generative models" (precision,
recall; a ball holds its border, as in the paper), and Naeem et al. 2020, "Reliable fidelity and diversity metrics for
generative models" (density, coverage; the border is outside, as in its published code `prdc`). The difference shows
only where images are copies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from sklearn.metrics.pairwise import euclidean_distances

from t2h.errors import UserError
from t2h.metrics._checks import BUDGET, Features, pair
from t2h.metrics.neighbours import exact_distances, neighbour_distances


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

    The distances are computed once for all metrics and all k, in blocks of ``budget`` bytes. ``real_distances`` are
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
        real_distances = neighbour_distances(x, largest)
    real_radii, fake_radii = real_distances[:, columns], neighbour_distances(y, largest)[:, columns]

    precise = np.zeros(fake_radii.shape, dtype=bool)
    recalled, covered = np.zeros(real_radii.shape, dtype=bool), np.zeros(real_radii.shape, dtype=bool)
    inside = np.zeros(len(columns), dtype=np.int64)
    for part, distance in _blocks(x, y, real_radii, fake_radii, budget):
        for c in range(len(columns)):
            radius = real_radii[part, c, None]
            within = distance < radius
            inside[c] += within.sum()
            covered[part, c] = within.any(axis=1)
            precise[:, c] |= (distance <= radius).any(axis=0)
            recalled[part, c] = (distance <= fake_radii[:, c]).any(axis=1)
    found = {}
    for c, k in enumerate(ks):
        found[f"precision_k{k}"] = float(precise[:, c].mean())
        found[f"recall_k{k}"] = float(recalled[:, c].mean())
        found[f"density_k{k}"] = float(inside[c] / (k * len(y)))
        found[f"coverage_k{k}"] = float(covered[:, c].mean())
    return found


def _blocks(
    x: np.ndarray, y: np.ndarray, real_radii: np.ndarray, fake_radii: np.ndarray, budget: int
) -> Iterator[tuple[slice, Float[np.ndarray, "b m"]]]:
    """Rows of x and their distances to all of y, in float64; those near a radius are exact, so that ties are ties."""
    centre = x.mean(axis=0, dtype=np.float64)
    centred_x, centred_y = x - centre, y - centre
    largest = np.square(centred_x).sum(axis=1).max() + np.square(centred_y).sum(axis=1).max()
    # |fl(x·y) - x·y| <= D u ‖x‖‖y‖, in any order of summation; the rest is for rounding x, y, norms and sums.
    slack = (x.shape[1] + 16) * 2.0**-52 * largest
    step = max(1, int(budget // (24 * len(y))))
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        squared = euclidean_distances(centred_x[part], centred_y, squared=True)
        near = np.zeros(squared.shape, dtype=bool)
        for radii in (*real_radii[part].T[:, :, None], *fake_radii.T):
            near |= np.abs(squared - np.square(radii)) <= slack
        i, j = np.nonzero(near)
        distance = np.sqrt(squared, out=squared)
        distance[i, j] = exact_distances(x, y, start + i, j)
        yield part, distance
