"""Nearest neighbours against scikit-learn and the direct distance of every pair."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from t2h.errors import UserError
from t2h.metrics import nearest, neighbour_distances

CASES = {
    "plain": lambda x: x,
    "far from the origin": lambda x: x + 1e3,
    "tiny": lambda x: x * 1e-25,
    "huge": lambda x: x * 1e25,
    "one outlier": lambda x: np.concatenate([x, 1e4 + x[:1]]),
    "copies": lambda x: np.concatenate([x, x[:40], x[:40], x[:3]]),
    "near copies": lambda x: np.concatenate([x, x[:40] * (1 + 1e-6)]),
    "on a grid": np.round,
}


def points(seed: int, n: int, d: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kth_distance_equals_every_pair(case: str, dtype: type) -> None:
    x = CASES[case](points(0, 150)).astype(dtype)
    wide = x.astype(np.float64)
    expected = np.sort(cdist(wide, wide), axis=1)[:, 1:6]
    np.testing.assert_allclose(neighbour_distances(x, 5), expected, rtol=1e-12, atol=0)
    np.testing.assert_array_equal(neighbour_distances(x, 3), neighbour_distances(x, 5)[:, :3])


@pytest.mark.parametrize("case", CASES)
def test_nearest_equals_every_pair(case: str) -> None:
    x, y = CASES[case](points(0, 90)), CASES[case](points(1, 110))
    found = nearest(x, y)
    pairs = cdist(x, y)
    np.testing.assert_allclose(found.distance, pairs.min(axis=1), rtol=1e-12)
    np.testing.assert_allclose(pairs[np.arange(len(x)), found.index], pairs.min(axis=1), rtol=1e-12)


def test_equals_scikit_learn() -> None:
    x, y = points(0, 300), points(1, 200)
    oracle = NearestNeighbors(n_neighbors=4, algorithm="kd_tree").fit(y)
    distance, index = oracle.kneighbors(x)
    found = nearest(x, y)
    np.testing.assert_allclose(found.distance, distance[:, 0], rtol=1e-12)
    np.testing.assert_array_equal(found.index, index[:, 0])
    np.testing.assert_allclose(neighbour_distances(y, 4), oracle.kneighbors()[0], rtol=1e-12)


def test_copies_are_at_distance_zero() -> None:
    y = points(1, 50, 300).astype(np.float32) + 5
    y[30] = y[10]
    found = nearest(y[[10, 30, 7]], y)
    np.testing.assert_array_equal(found.distance, 0)
    np.testing.assert_array_equal(y[found.index], y[[10, 30, 7]])
    assert (neighbour_distances(y, 1) == 0).sum() == 2


def test_all_the_same_image() -> None:
    x = np.full((3000, 512), 0.1, np.float32)  # 9 million pairs, 37 GB were each looked at on its own
    start = time.perf_counter()
    np.testing.assert_array_equal(neighbour_distances(x, 3), 0)
    np.testing.assert_array_equal(nearest(x, x).distance, 0)
    assert time.perf_counter() - start < 10


def test_row_order_and_kind_of_array_change_no_bit() -> None:
    x = np.concatenate([points(0, 100), points(0, 20)]).astype(np.float32)
    order = np.random.default_rng(1).permutation(len(x))
    plain = neighbour_distances(x, 4)
    np.testing.assert_array_equal(neighbour_distances(x[order], 4), plain[order])
    np.testing.assert_array_equal(neighbour_distances(torch.from_numpy(x), 4), plain)
    y = points(2, 70).astype(np.float32)
    np.testing.assert_array_equal(nearest(x[order], y).distance, nearest(x, y).distance[order])


@pytest.mark.parametrize("d", [30, 2048])
def test_near_copies_far_from_the_origin(d: int) -> None:
    """‖x‖² + ‖y‖² - 2 x·y cannot tell near copies apart: their distances are those of their differences."""
    x = points(0, 40, d) + 3
    y = np.concatenate([x + 1e-7 * points(i, 40, d) for i in (1, 2, 3)])
    pairs = cdist(x, y)
    np.testing.assert_allclose(nearest(x, y).distance, pairs.min(axis=1), rtol=1e-12)
    wide = np.concatenate([x, y])
    np.testing.assert_allclose(neighbour_distances(wide, 3), np.sort(cdist(wide, wide), axis=1)[:, 1:4], rtol=1e-12)


def test_memory_is_bounded() -> None:
    x = points(0, 3000, 64).astype(np.float32)  # all pairs at once: 72 MB of distances, 72 MB of indices
    neighbour_distances(x[:100], 5)  # what is imported then does not count
    tracemalloc.start()
    neighbour_distances(x, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48 * 2**20


def test_errors() -> None:
    x = points(0, 5)
    with pytest.raises(UserError, match=r"k is 5 with 5 images; k must lie in 1 \.\.\. 4"):
        neighbour_distances(x, 5)
    with pytest.raises(UserError, match="k is 0"):
        neighbour_distances(x, 0)
    with pytest.raises(UserError, match="one image has no neighbours; 4 images are needed for k = 3"):
        neighbour_distances(x[:1], 3)
    with pytest.raises(UserError, match="no reference images"):
        nearest(x, x[:0])
    with pytest.raises(UserError, match="query features have 12 dimensions and the reference ones 3"):
        nearest(x, x[:, :3])
    with pytest.raises(UserError, match="1 of 5 given images"):
        neighbour_distances(np.where(np.arange(5)[:, None] == 1, np.inf, x), 2)
