"""Diversity within a set: the mean distance of its images to each other.

Ours, in place of intra-class LPIPS: the same idea with the features that are there anyway. It means something only
beside that of the real images of the same class: much less says that the class has collapsed.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances

from t2h.metrics._checks import BUDGET, Features, rows
from t2h.metrics.neighbours import exact_distances


def mean_pairwise_distance(features: Features, budget: int = BUDGET) -> float:
    """Mean Euclidean distance over all n (n - 1) / 2 pairs of rows (n, D); copies count as distance 0.

    Raises:
        UserError: if there are fewer than two images or a feature is not finite.
    """
    x = rows(features, "given", needed=2).astype(np.float64)
    x -= x.mean(axis=0)
    cancelled = 1e-9 * np.square(x).sum(axis=1).max()
    step = max(1, int(budget // (24 * len(x))))
    total = 0.0
    for start in range(0, len(x), step):
        # Each pair once: a block against itself and all that comes after.
        squared = euclidean_distances(x[start : start + step], x[start:], squared=True)
        distance = np.triu(np.sqrt(squared), 1)
        i, j = np.nonzero(np.triu(squared <= cancelled, 1))
        distance[i, j] = exact_distances(x, x, start + i, start + j)
        total += float(distance.sum())
    return total / (len(x) * (len(x) - 1) / 2)
