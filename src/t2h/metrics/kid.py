"""Kernel inception distance (KID): the squared maximum mean discrepancy with a cubic kernel, unbiased.

Source: Bińkowski et al. 2018, "Demystifying MMD GANs", with k(x, y) = (x·y/D + 1)³, as the mean over 100 random subsets
of 1,000 images of each set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from t2h.errors import UserError
from t2h.metrics._checks import Features, pair


@dataclass(frozen=True)
class KID:
    """Mean over the subsets, which may be slightly negative for sets that look alike, as it is unbiased; and standard
    deviation over them (n in the denominator, as usually reported): how much a subset varies, not how sure the mean is.

    If a subset would be both sets whole, there is one subset and no standard deviation.
    """

    mean: float
    std: float | None
    subsets: int
    subset_size: int


def kernel_inception_distance(
    real: Features, fake: Features, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KID:
    """KID of two sets of features, (n, D) and (m, D).

    Each subset draws ``subset_size`` rows of each set without replacement; the size is clipped to the smaller set.

    Raises:
        UserError: if a set has fewer than two images, a feature is not finite, the dimensions differ, or there are no
            subsets or subsets of fewer than two images.
    """
    x, y = pair(real, fake, needed=2)
    if subsets < 1 or subset_size < 2:
        raise UserError(
            f"subsets={subsets}, subset_size={subset_size}: at least 1 subset of at least 2 images is needed."
        )
    size = min(subset_size, len(x), len(y))
    if size == len(x) == len(y):
        return KID(unbiased_mmd2(x, y), None, 1, size)
    rng = np.random.default_rng(seed)
    values = [
        unbiased_mmd2(x[rng.choice(len(x), size, replace=False)], y[rng.choice(len(y), size, replace=False)])
        for _ in range(subsets)
    ]
    return KID(float(np.mean(values)), float(np.std(values)) if subsets > 1 else None, subsets, size)


def unbiased_mmd2(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """The unbiased estimate of MMD² with the cubic kernel, from all pairs but those of an image with itself."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    return _off_diagonal_mean(_kernel(x, x)) + _off_diagonal_mean(_kernel(y, y)) - 2 * float(_kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    base = x @ y.T
    base /= x.shape[1]
    base += 1
    return base * base * base


def _off_diagonal_mean(kernel: np.ndarray) -> float:
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))
