"""PRD against closed forms of histograms."""

from __future__ import annotations

import numpy as np
import pytest

from t2h.errors import UserError
from t2h.metrics import f_beta, prd_curve, precision_recall_distributions


def best(precision: np.ndarray, recall: np.ndarray) -> tuple[float, float]:
    return f_beta(precision, recall, 8), f_beta(precision, recall, 1 / 8)


def test_equal_histograms() -> None:
    h = np.array([0.1, 0.2, 0.7])
    precision, recall = prd_curve(h, h)
    assert precision.shape == recall.shape == (1001,)
    slope = np.tan(np.linspace(0, np.pi / 2, 1001)[1:-1])
    np.testing.assert_allclose(precision[1:-1], np.minimum(slope, 1), rtol=1e-6)
    np.testing.assert_allclose(recall[1:-1], np.minimum(1 / slope, 1), rtol=1e-6)
    assert best(precision, recall) == pytest.approx((1, 1), abs=1e-12)


def test_disjoint_histograms() -> None:
    precision, recall = prd_curve(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert not precision.any()
    assert not recall.any()
    assert best(precision, recall) == (0, 0)


@pytest.mark.parametrize("kept", [1, 3, 9])
def test_dropped_modes_cost_recall(kept: int) -> None:
    """Of 10 equal modes `kept` are generated: precision min(λ kept/10, 1), recall min(kept/10, 1/λ)."""
    real, fake = np.full(10, 0.1), np.zeros(10)
    fake[:kept] = 1 / kept
    precision, recall = prd_curve(real, fake)
    share = kept / 10
    assert precision.max() == pytest.approx(1)
    assert recall.max() == pytest.approx(share)
    # The corner of the curve, (1, share), is the best point for every β.
    f8, f1_8 = best(precision, recall)
    assert f8 == pytest.approx(65 * share / (64 + share), rel=5e-3)
    assert f1_8 == pytest.approx((1 + 1 / 64) * share / (1 / 64 + share), rel=5e-3)
    assert f8 < f1_8
    # The other way round, the two change places.
    back = best(*prd_curve(fake, real))
    assert back == pytest.approx((f1_8, f8), rel=1e-9)


def test_curve_equals_the_slow_loop() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(6))
    precision, recall = prd_curve(real, fake, angles=21)
    for index, theta in enumerate(np.linspace(0, np.pi / 2, 21)[1:-1], start=1):
        alpha = sum(min(np.tan(theta) * p, q) for p, q in zip(real, fake, strict=True))
        beta = sum(min(p, q / np.tan(theta)) for p, q in zip(real, fake, strict=True))
        assert (precision[index], recall[index]) == pytest.approx((alpha, beta), rel=1e-7)


def blobs(classes: int, each: int, seed: int) -> np.ndarray:
    """Tight blobs far apart: more than 20 clusters a class cannot blur which class an image is of."""
    centres = 100 * np.eye(4)[:classes]
    return (centres[:, None] + np.random.default_rng(seed).normal(size=(classes, each, 4))).reshape(-1, 4)


def test_sets_of_blobs() -> None:
    real, same, half = blobs(4, 100, 0), blobs(4, 100, 1), blobs(2, 200, 2)
    good = precision_recall_distributions(real, same, num_classes=1, runs=3)
    assert (good.clusters, good.runs, good.n) == (20, 3, 400)
    assert good.f8 > 0.9
    assert good.f1_8 > 0.9
    dropped = precision_recall_distributions(real, half, num_classes=1, runs=3)
    assert dropped.f1_8 > 0.8
    assert dropped.f8 < 0.65
    assert precision_recall_distributions(half, real, num_classes=1, runs=3).f1_8 < 0.65


def test_images_of_the_larger_set_are_drawn_once_each() -> None:
    """22 of 23 points far apart are all but all of them; drawn with replacement they would be two thirds."""
    points = 100 * np.eye(23)
    result = precision_recall_distributions(points[:22], points, num_classes=1, runs=5)
    assert result.n == 22
    assert min(result.f8, result.f1_8) > 0.9


def test_runs_are_averaged_as_curves() -> None:
    real, fake = blobs(4, 20, 0), blobs(3, 30, 1)
    prd = precision_recall_distributions(real, fake, num_classes=1, runs=4)
    assert (prd.f8, prd.f1_8) == best(prd.precision, prd.recall)
    assert len(prd.precision) == len(prd.recall) == 1001
    assert prd.f8 <= 1


def test_seed_and_unequal_sizes() -> None:
    real, fake = blobs(4, 50, 0), blobs(3, 30, 1)
    prd = precision_recall_distributions(real, fake, num_classes=1, runs=2, seed=5)
    again = precision_recall_distributions(real, fake, num_classes=1, runs=2, seed=5)
    other = precision_recall_distributions(real, fake, num_classes=1, runs=2, seed=6)
    assert prd.n == 90
    np.testing.assert_array_equal(prd.precision, again.precision)
    assert not np.array_equal(prd.precision, other.precision)


def test_collapse_is_no_warning() -> None:
    real = blobs(4, 20, 0)
    assert precision_recall_distributions(real, np.repeat(real[:1], 80, axis=0), num_classes=1, runs=2).f8 < 0.3


def test_errors() -> None:
    x = blobs(4, 5, 0)
    with pytest.raises(UserError, match="20 images of each set for 40 clusters; more than 20 are needed"):
        precision_recall_distributions(x, x, num_classes=2)
    with pytest.raises(UserError, match="runs=0"):
        precision_recall_distributions(x, x, num_classes=1, runs=0)
    with pytest.raises(UserError, match="1 of 20 real images"):
        precision_recall_distributions(np.where(np.arange(20)[:, None] == 3, np.nan, x), x, num_classes=1)
    with pytest.raises(UserError, match="same feature network"):
        precision_recall_distributions(x, x[:, :2], num_classes=1)
