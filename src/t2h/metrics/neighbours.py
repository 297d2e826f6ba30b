"""Nearest neighbours among features.

scikit-learn proposes neighbours by ‖x‖² + ‖y‖² - 2 x·y in float64, some more than are asked for; their distances are
then computed as ‖x - y‖ and sorted. So distances are exact, equal ones are equal to the bit (a copy is at distance 0),
and the order of the rows changes nothing. Only among more than `SPARE` neighbours whose squared distances differ by
less than about 1e-13 ‖x‖², x being centred, may another one be taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from sklearn.neighbors import NearestNeighbors

from t2h.errors import UserError
from t2h.metrics._checks import Features, pair, rows

SPARE = 8


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest row of another set: ``distance`` float64 (n,), and ``index`` int64 (n,), any one of equals."""

    distance: Float[np.ndarray, " n"]
    index: Int[np.ndarray, " n"]


def neighbour_distances(x: Features, k: int) -> Float[np.ndarray, "n k"]:
    """Distances of each row (n, D) to its 1st ... k-th nearest rows of the same set, float64 (n, k).

    A row is not its own neighbour, but a copy of it is.

    Raises:
        UserError: if x has too few rows for k, or a feature is not finite.
    """
    points = rows(x, "given")
    allowed = len(points) - 1
    if not 1 <= k <= allowed:
        raise UserError(
            f"k is {k} with {len(points)} images; k must lie in 1 ... {allowed}."
            if allowed
            else f"one image has no neighbours; {k + 1} images are needed for k = {k}."
        )
    return _search(points, None, k, allowed)[0]


def nearest(x: Features, y: Features, names: tuple[str, str] = ("query", "reference")) -> Neighbours:
    """For each row of x (n, D) the nearest row of y (m, D); ``names`` are what errors call the two sets.

    Raises:
        UserError: if a set is empty, a feature is not finite, or the dimensions differ.
    """
    query, reference = pair(x, y, names=names)
    distance, index = _search(reference, query, 1, len(reference))
    return Neighbours(distance[:, 0], index[:, 0])


def _search(y: np.ndarray, x: np.ndarray | None, k: int, allowed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices (n, k) of the rows of y nearest to those of x, or to its own other rows for None."""
    centre = y.mean(axis=0, dtype=np.float64)
    search = NearestNeighbors(algorithm="brute").fit(y - centre)
    proposed = search.kneighbors(None if x is None else x - centre, min(k + SPARE, allowed), return_distance=False)
    query = np.repeat(np.arange(len(proposed)), proposed.shape[1])
    distance = exact_distances(y if x is None else x, y, query, proposed.ravel()).reshape(proposed.shape)
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distance, order, axis=1), np.take_along_axis(proposed, order, axis=1)


def exact_distances(
    x: np.ndarray, y: np.ndarray, i: Int[np.ndarray, " p"], j: Int[np.ndarray, " p"]
) -> Float[np.ndarray, " p"]:
    """Distances of rows i of x and j of y, float64; the same two rows give the same bits wherever they stand."""
    distance = np.empty(len(i))
    at_once = 1 + (1 << 22) // x.shape[1]
    for start in range(0, len(i), at_once):
        part = slice(start, start + at_once)
        difference = x[i[part]].astype(np.float64)
        difference -= y[j[part]]
        distance[part] = np.sqrt(np.square(difference, out=difference).sum(axis=1))
    return distance
