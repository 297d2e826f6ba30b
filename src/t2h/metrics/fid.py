"""The Fréchet distance between two sets of features (FID).

Source: Heusel et al. 2017, "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", eq. 6:

    ‖μ_A - μ_B‖² + tr(Σ_A) + tr(Σ_B) - 2 tr((Σ_A Σ_B)^½)

With factors F_Aᵀ F_A = Σ_A and F_Bᵀ F_B = Σ_B the last trace is the nuclear norm (the sum of the singular values) of
F_A F_Bᵀ. No matrix square root is needed, singular covariances need no special case, and for a set with fewer images
than dimensions its own centred rows are the factor. Covariances are unbiased (n - 1), as in every published FID.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from scipy import linalg

from t2h.errors import UserError
from t2h.metrics._checks import Features, pair, rows

# Up to this size singular values are quick. Above it they are taken from the eigenvalues of M Mᵀ: a third of the time,
# and equal to 1e-13 on the statistics of CIFAR-10; only singular values below 1e-8 of the largest lose digits.
_SMALL = 1024


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """All that FID needs to know of a set.

    Args:
        n: number of images.
        mean: float64 (D,).
        covariance: float64 (D, D), unbiased.

    Raises:
        UserError: if the shapes disagree, a value is not finite, or the covariance is not symmetric.
    """

    n: int
    mean: Float[np.ndarray, " _"]
    covariance: Float[np.ndarray, "_ _"]

    def __post_init__(self) -> None:
        if self.covariance.shape != (len(self.mean), len(self.mean)):
            raise UserError(
                f"the mean has {len(self.mean)} dimensions and the covariance the shape {self.covariance.shape}; "
                "(D,) and (D, D) are needed."
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise UserError("the feature statistics hold NaN or infinite values; make them again.")
        scale = np.abs(self.covariance).max(initial=0.0)
        if not np.allclose(self.covariance, self.covariance.T, rtol=0, atol=1e-6 * scale):
            raise UserError("the covariance is not symmetric; make the feature statistics again.")

    @property
    def dim(self) -> int:
        """D, the number of features of an image."""
        return len(self.mean)


def feature_statistics(features: Features) -> FeatureStatistics:
    """Mean and unbiased covariance of a whole set (n, D), in float64.

    Raises:
        UserError: if there are fewer than two images or a feature is not finite.
    """
    x = rows(features, "given", needed=2)
    mean = x.mean(axis=0, dtype=np.float64)
    scatter = np.zeros((len(mean), len(mean)))
    for part in np.array_split(x, len(x) // 8192 + 1):  # not all in float64 at once
        centred = part - mean
        scatter += centred.T @ centred
    return FeatureStatistics(len(x), mean, scatter / (len(x) - 1))


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """FID from two sets' statistics; never negative.

    Raises:
        UserError: if the dimensions differ.
    """
    if a.dim != b.dim:
        raise UserError(
            f"the statistics have {a.dim} and {b.dim} dimensions; both must come from the same feature network."
        )
    return _distance(_factored(a), _factored(b))


def fid_from_features(a: Features, b: Features) -> float:
    """FID from the features themselves, (n, D) and (m, D).

    A set with fewer images than dimensions is used as it is, without its covariance: quick, and exact although that
    covariance is singular. FID is biased upwards for few images, so compare only FIDs of equal n.

    Raises:
        UserError: if a set has fewer than two images, a feature is not finite, or the dimensions differ.
    """
    x, y = pair(a, b, needed=2)
    return _distance(_moments(x), _moments(y))


def fid_bootstrap(
    real: Features, fake: Features, resamples: int = 200, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """(low, high) of an interval for FID: how far it would move had the same model been sampled with another seed.

    The generated images are resampled with replacement; the reference is fixed by the protocol and stays. Resampling
    repeats images, which alone raises FID, so the percentiles are shifted until their median is the FID itself. Each
    resample costs one FID, which is cheap for features of up to a few hundred dimensions.

    Raises:
        UserError: as `fid_from_features`, or if `resamples` or `level` is out of range.
    """
    x, y = pair(real, fake, needed=2)
    if resamples < 1:
        raise UserError(f"resamples is {resamples}; it must be at least 1.")
    if not 0 < level < 1:
        raise UserError(f"level is {level}; it must lie between 0 and 1, for instance 0.95.")
    fixed, value = _moments(x), fid_from_features(x, y)
    rng = np.random.default_rng(seed)
    draws = [_distance(fixed, _moments(y[rng.integers(len(y), size=len(y))])) for _ in range(resamples)]
    low, middle, high = np.quantile(draws, [(1 - level) / 2, 0.5, (1 + level) / 2])
    return max(0.0, float(value + low - middle)), float(value + high - middle)


# Mean, trace of the covariance, and a factor F (r, D) of the covariance, FᵀF = Σ, with r <= D.
_Moments: TypeAlias = tuple[np.ndarray, float, np.ndarray]


def _moments(x: np.ndarray) -> _Moments:
    if len(x) > x.shape[1]:
        return _factored(feature_statistics(x))
    mean = x.mean(axis=0, dtype=np.float64)
    factor = (x - mean) / math.sqrt(len(x) - 1)
    return mean, float(np.square(factor).sum()), factor


def _factored(statistics: FeatureStatistics) -> _Moments:
    """By Cholesky with pivoting, which takes singular matrices too; r is the rank."""
    lower, pivot, rank, _ = linalg.lapack.dpstrf(statistics.covariance, lower=1)
    factor = np.empty((statistics.dim, rank))
    factor[pivot - 1] = np.tril(lower)[:, :rank]
    return statistics.mean, float(np.trace(statistics.covariance)), factor.T


def _distance(a: _Moments, b: _Moments) -> float:
    means = np.square(a[0] - b[0]).sum()
    return max(0.0, float(means + a[1] + b[1] - 2 * _nuclear_norm(a[2] @ b[2].T)))


def _nuclear_norm(matrix: np.ndarray) -> float:
    if 0 in matrix.shape:
        return 0.0
    if min(matrix.shape) <= _SMALL:
        return float(linalg.svdvals(matrix).sum())
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    return float(np.sqrt(np.maximum(linalg.eigvalsh(wide @ wide.T), 0)).sum())
