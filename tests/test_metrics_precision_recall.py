"""Precision, recall, density and coverage against a loop over the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from t2h.errors import UserError
from t2h.metrics import manifold_metrics, neighbour_distances


def slow(real: np.ndarray, fake: np.ndarray, k: int) -> dict[str, float]:
    """Kynkäänniemi 2019 eq. 1-2 (border inside), Naeem 2020 eq. 3-4 (border outside, as its code)."""

    def radius(x: np.ndarray) -> np.ndarray:
        return np.array([sorted(d for j, d in enumerate(row) if j != i)[k - 1] for i, row in enumerate(cdist(x, x))])

    d, r, f = cdist(real, fake), radius(real), radius(fake)
    n, m = d.shape
    return {
        f"precision_k{k}": sum(any(d[i, j] <= r[i] for i in range(n)) for j in range(m)) / m,
        f"recall_k{k}": sum(any(d[i, j] <= f[j] for j in range(m)) for i in range(n)) / n,
        f"density_k{k}": sum(d[i, j] < r[i] for i in range(n) for j in range(m)) / (k * m),
        f"coverage_k{k}": sum(min(d[i]) < r[i] for i in range(n)) / n,
    }


def sets(n: int = 70, m: int = 50, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)), 0.8 * rng.normal(size=(m, d)) + 0.4


CASES = {
    "plain": lambda x, y: (x, y),
    "far from the origin": lambda x, y: (x + 1e3, y + 1e3),
    "some copies": lambda x, y: (x, np.concatenate([y, x[:15], x[:5]])),
    "all copies": lambda x, y: (x, x.copy()),
    "on a grid": lambda x, y: (np.round(x), np.round(y)),
    "collapsed": lambda x, y: (x, np.concatenate([y[:10], np.repeat(x[:1], 30, axis=0)])),
    "apart": lambda x, y: (x, y + 50),
    "an outlier": lambda x, y: (np.concatenate([x, x[:1] + 1e4]), y),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("budget", [1, 2**29])
def test_equals_the_definition(case: str, budget: int) -> None:
    x, y = CASES[case](*sets())
    expected = slow(x, y, 3) | slow(x, y, 5)
    assert manifold_metrics(x, y, budget=budget) == pytest.approx(expected, abs=1e-12)


def test_keys_are_in_order() -> None:
    names = ["precision", "recall", "density", "coverage"]
    assert list(manifold_metrics(*sets())) == [f"{name}_k{k}" for k in (3, 5) for name in names]


@pytest.mark.parametrize("k", [1, 2, 7])
def test_one_k_at_a_time(k: int) -> None:
    x, y = sets()
    assert manifold_metrics(x, y, ks=(k,)) == pytest.approx(slow(x, y, k), abs=1e-12)


def test_a_set_with_itself() -> None:
    """Every ball holds its own centre and the k - 1 nearer neighbours: density is exactly 1."""
    x, _ = sets()
    assert set(manifold_metrics(x, x).values()) == {1.0}


def test_sets_apart() -> None:
    x, y = sets()
    assert set(manifold_metrics(x, y + 50).values()) == {0.0}


def test_row_order_and_kind_of_array() -> None:
    x, y = (points.astype(np.float32) for points in sets())
    found = manifold_metrics(x, y)
    order = np.random.default_rng(1)
    assert manifold_metrics(order.permutation(x), order.permutation(y)) == found
    assert manifold_metrics(torch.from_numpy(x), torch.from_numpy(y)) == found


def test_many_dimensions() -> None:
    """At 2,048 dimensions the rounding bounds are widest."""
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(10, 2048))
    x, y = rng.normal(size=(60, 10)) @ mix + 5, rng.normal(size=(60, 10)) @ mix + 5
    assert manifold_metrics(x, y) == pytest.approx(slow(x, y, 3) | slow(x, y, 5), abs=1e-12)


def test_errors() -> None:
    x, y = sets()
    with pytest.raises(UserError, match="5 generated images; the neighbour k = 5 needs at least 6"):
        manifold_metrics(x, y[:5])
    with pytest.raises(UserError, match="3 real images; the neighbour k = 3 needs at least 4"):
        manifold_metrics(x[:3], y, ks=(3,))
    with pytest.raises(UserError, match=r"ks is \[0, 3\]"):
        manifold_metrics(x, y, ks=(0, 3))
    with pytest.raises(UserError, match=r"ks is \[\]"):
        manifold_metrics(x, y, ks=())
    with pytest.raises(UserError, match="same feature network"):
        manifold_metrics(x, y[:, :2])
    with pytest.raises(UserError, match="no real images"):
        manifold_metrics(x[:0], y)
    with pytest.raises(UserError, match="50 of 50 generated images have features that are NaN"):
        manifold_metrics(x, y * np.nan)


def test_distances_of_the_real_set_can_be_shared() -> None:
    generator = np.random.default_rng(0)
    real, fake = generator.normal(size=(60, 4)), generator.normal(size=(40, 4))
    shared = neighbour_distances(real, 5)
    assert manifold_metrics(real, fake, (3, 5), real_distances=shared) == manifold_metrics(real, fake, (3, 5))
