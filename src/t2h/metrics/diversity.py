"""Diversity within a set: the mean distance of its images to each other.

Ours, in place of intra-class LPIPS: the same idea with the features that are there anyway. It means something only
beside that of the real images of the same class: much less says that the class has collapsed.
"""

from __future__ import annotations

import numpy as np

from t2h.metrics._checks import Features, rows
from t2h.metrics.neighbours import BUDGET


def mean_pairwise_distance(features: Features, budget: int = BUDGET) -> float:
    """Mean Euclidean distance over all n (n - 1) / 2 pairs of rows (n, D); copies count as distance 0.

    Raises:
        UserError: if there are fewer than two images or a feature is not finite.
    """
    x = rows(features, "given", needed=2).astype(np.float64)
    x -= x.mean(axis=0)
    norm = np.square(x).sum(axis=1)
    block = max(1, int(budget // (24 * len(x))))
    total = 0.0
    for start in range(0, len(x), block):
        # Each pair once: a block against itself and all that comes after.
        part, rest = slice(start, start + block), slice(start, None)
        squared = x[part] @ x[rest].T
        squared *= -2
        squared += norm[part, None]
        squared += norm[rest]
        # Below this the sum has cancelled: such pairs, near copies, are computed from their difference.
        i, j = np.nonzero(squared <= 1e-9 * norm.max())
        for first in range(0, len(i), 4096):
            a, b = i[first : first + 4096], j[first : first + 4096]
            squared[a, b] = np.square(x[start + a] - x[start + b]).sum(axis=1)
        total += float(np.triu(np.sqrt(squared), 1).sum())
    return total / (len(x) * (len(x) - 1) / 2)
