"""KID against the double loop over its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from t2h.errors import UserError
from t2h.metrics import KID, kernel_inception_distance, unbiased_mmd2


def slow_mmd2(x: np.ndarray, y: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    xy = sum(k(x[i], y[j]) for i in range(n) for j in range(m)) / (n * m)
    return xx + yy - 2 * xy


@pytest.mark.parametrize(("n", "m"), [(20, 20), (2, 2), (15, 7)])
def test_equals_the_slow_loop(n: int, m: int) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 5)), rng.normal(size=(m, 5)) + 0.3
    assert unbiased_mmd2(x, y) == pytest.approx(slow_mmd2(x, y), abs=1e-12)


def test_both_sets_whole_are_one_subset() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 5)), rng.normal(size=(30, 5)) + 0.3
    assert kernel_inception_distance(x, y) == KID(unbiased_mmd2(x, y), None, 1, 30)


def test_subsets_average_to_the_whole() -> None:
    """A U-statistic over random subsets has the mean of the U-statistic over everything."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(80, 4)), rng.normal(size=(60, 4)) + 0.5
    kid = kernel_inception_distance(x, y, subsets=2000, subset_size=20)
    assert (kid.subsets, kid.subset_size) == (2000, 20)
    assert kid.std is not None
    assert kid.mean == pytest.approx(unbiased_mmd2(x, y), abs=4 * kid.std / np.sqrt(2000))


def test_unbiased() -> None:
    """Sets from one distribution have KID 0 on average, however small."""
    rng = np.random.default_rng(0)
    values = [unbiased_mmd2(rng.normal(size=(5, 3)), rng.normal(size=(8, 3))) for _ in range(4000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(4000)


def test_size_is_clipped_and_seeded() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.normal(size=(40, 3))
    kid = kernel_inception_distance(x, y, subsets=5, seed=1)
    assert (kid.subsets, kid.subset_size) == (5, 40)
    assert kid == kernel_inception_distance(torch.from_numpy(x), torch.from_numpy(y), subsets=5, seed=1)
    assert kid != kernel_inception_distance(x, y, subsets=5, seed=2)


def test_standard_deviation_is_over_subsets() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.normal(size=(40, 3))
    draw = np.random.default_rng(7)
    values = []
    for _ in range(6):
        i, j = draw.choice(50, 10, replace=False), draw.choice(40, 10, replace=False)
        values.append(slow_mmd2(x[i], y[j]))
    kid = kernel_inception_distance(x, y, subsets=6, subset_size=10, seed=7)
    assert kid.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert kid.std == pytest.approx(np.std(values), abs=1e-12)


def test_errors() -> None:
    x = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.raises(UserError, match="1 generated image; at least 2 are needed"):
        kernel_inception_distance(x, x[:1])
    with pytest.raises(UserError, match="same feature network"):
        kernel_inception_distance(x, x[:, :2])
    with pytest.raises(UserError, match="10 of 10 real images have features that are NaN"):
        kernel_inception_distance(x * np.nan, x)
    with pytest.raises(UserError, match="subset_size=1"):
        kernel_inception_distance(x, x, subset_size=1)
    with pytest.raises(UserError, match="subsets=0"):
        kernel_inception_distance(x, x, subsets=0)
