"""Statistics over seeds and over images: the only place that makes an interval, apart from FID's own bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import binomtest, ttest_rel

from t2h.errors import UserError

ENOUGH = 3
"""Pairs that an interval needs: of two, Student's t makes one 12.7 times as wide as they are apart."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of ``n`` values; ``std`` is None for a single value."""

    n: int
    mean: float
    std: float | None

    def text(self, decimals: int = 3, scale: int = 1) -> str:
        """ "16.10 ± 0.32"."""
        std = "" if self.std is None else f" ± {scale * self.std:.{decimals}f}"
        return f"{scale * self.mean:.{decimals}f}{std}"


@dataclass(frozen=True)
class Difference:
    """The differences b - a of ``n`` pairs: their mean, standard deviation, and the 95 % interval of the mean.

    The interval is Student's t. It is None with fewer than `ENOUGH` pairs, and where all differences are equal: they
    then do not tell how much differences vary (of shares of few images, which are coarse, that happens by chance).
    """

    n: int
    mean: float
    std: float | None
    interval: tuple[float, float] | None

    def text(self, decimals: int = 3, scale: int = 1) -> str:
        """ "-1.20 [-2.10, -0.30]", or "-1.20 (too few seeds)"."""
        mean = f"{scale * self.mean:+.{decimals}f}"
        if self.interval is None:
            return f"{mean} ({'too few seeds' if self.n < ENOUGH else 'the same with each seed'})"
        low, high = (f"{scale * end:+.{decimals}f}" for end in self.interval)
        return f"{mean} [{low}, {high}]"


def mean_std(values: Sequence[float | int] | np.ndarray) -> Spread:
    """Mean ± sample standard deviation.

    Raises:
        UserError: if there are no values or one is not finite.
    """
    array = _values(values)
    return Spread(len(array), float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None)


def paired_difference(a: Sequence[float | int] | np.ndarray, b: Sequence[float | int] | np.ndarray) -> Difference:
    """How much larger ``b`` is than ``a``, where value i of both comes from the same seed.

    Raises:
        UserError: if the lengths differ, there is no pair, or a value is not finite.
    """
    x, y = _values(a), _values(b)
    if len(x) != len(y):
        raise UserError(f"{len(x)} and {len(y)} values; a paired difference needs one of each for every seed.")
    found = mean_std(y - x)
    equal = np.ptp(y - x) <= 1e-12 * max(np.abs(x).max(), np.abs(y).max())  # but for rounding
    interval = None
    if len(x) >= ENOUGH and not equal:
        low, high = ttest_rel(y, x).confidence_interval(0.95)
        interval = float(low), float(high)
    return Difference(found.n, found.mean, found.std, interval)


def difference_by_seed(base: Mapping[int, float], own: Mapping[int, float]) -> Difference | None:
    """The paired difference over the seeds that both have; None where there is none."""
    both = [seed for seed in own if seed in base]
    return paired_difference([base[s] for s in both], [own[s] for s in both]) if both else None


def proportion_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share, of ``hits`` among ``n`` images.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    found = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def _values(values: Sequence[float | int] | np.ndarray) -> Float[np.ndarray, " n"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise UserError(f"values of shape {array.shape}; give a list with at least one number.")
    if not np.isfinite(array).all():
        raise UserError(f"{int((~np.isfinite(array)).sum())} of {len(array)} values are NaN or infinite.")
    return array
