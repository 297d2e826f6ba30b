"""Uncertainty: bootstrap intervals over images, paired differences over seeds, mean and standard deviation.

Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapters 13 (percentile interval) and 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped

from t2h.errors import UserError


@dataclass(frozen=True)
class Interval:
    """``low`` and ``high`` of a confidence interval."""

    low: float
    high: float

    @staticmethod
    def check(resamples: int, level: float) -> None:
        """Raise a `UserError` unless there are resamples to take and the level is a share."""
        if resamples < 1:
            raise UserError(f"resamples is {resamples}; it must be at least 1.")
        if not 0 < level < 1:
            raise UserError(f"level is {level}; it must lie between 0 and 1, for instance 0.95.")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of ``n`` values; ``std`` is None for a single value."""

    n: int
    mean: float
    std: float | None


@dataclass(frozen=True)
class PairedDifference:
    """The differences b - a of ``n`` pairs: their `Spread`, and the bootstrap interval of their mean."""

    n: int
    mean: float
    std: float | None
    interval: Interval


def bootstrap(
    data: Shaped[np.ndarray, "n ..."],
    statistic: Callable[[np.ndarray], float],
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The percentile interval of ``statistic(data)`` when the rows of ``data`` are drawn again with replacement.

    Beware of statistics that repeated rows bias (FID, nearest neighbours): see `fid_bootstrap`.

    Raises:
        UserError: if there are no rows, or `resamples` or `level` is out of range.
    """
    Interval.check(resamples, level)
    if not len(data):
        raise UserError("no rows to resample; at least 1 is needed.")
    rng = np.random.default_rng(seed)
    draws = [statistic(data[rng.integers(len(data), size=len(data))]) for _ in range(resamples)]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def paired_bootstrap(
    a: Sequence[float | int] | np.ndarray,
    b: Sequence[float | int] | np.ndarray,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """How much larger ``b`` is than ``a``, where value i of both comes from the same seed (or the same class).

    With few pairs the interval is narrower than it should be: of 3 pairs there are only 10 different resamples, and the
    95 % interval is then about the range of the differences.

    Raises:
        UserError: if the lengths differ, there is no pair, a value is not finite, or an option is out of range.
    """
    x, y = _values(a), _values(b)
    if len(x) != len(y):
        raise UserError(f"{len(x)} and {len(y)} values; a paired difference needs one of each for every seed.")
    difference = y - x
    spread = mean_std(difference)
    interval = bootstrap(difference, lambda d: float(d.mean()), resamples, level, seed)
    return PairedDifference(spread.n, spread.mean, spread.std, interval)


def mean_std(values: Sequence[float | int] | np.ndarray) -> Spread:
    """Mean ± sample standard deviation.

    Raises:
        UserError: if there are no values or one is not finite.
    """
    array = _values(values)
    return Spread(len(array), float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None)


def _values(values: Sequence[float | int] | np.ndarray) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise UserError(f"values of shape {array.shape}; give a list with at least one number.")
    if not np.isfinite(array).all():
        raise UserError(f"{int((~np.isfinite(array)).sum())} of {len(array)} values are NaN or infinite.")
    return array
