"""FID against SciPy's square root and the closed forms of Gaussians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import linalg

from t2h.errors import UserError
from t2h.metrics import (
    FeatureStatistics,
    feature_statistics,
    fid_bootstrap,
    fid_from_features,
    frechet_distance,
)


def features(seed: int, n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d) + rng.normal(size=d)


def slow_fid(a: np.ndarray, b: np.ndarray) -> float:
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.trace(linalg.sqrtm(cov_a @ cov_b)).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * root)


@pytest.mark.parametrize(("n", "m"), [(300, 200), (65, 64), (300, 20), (20, 300)])
def test_equals_scipy_sqrtm(n: int, m: int) -> None:
    a, b = features(0, n, 48), features(1, m, 48)
    # Singular products cost sqrtm half of its digits, not us.
    tolerance = 1e-9 if min(n, m) > 48 else 1e-5
    assert fid_from_features(a, b) == pytest.approx(slow_fid(a, b), rel=tolerance)
    assert frechet_distance(feature_statistics(a), feature_statistics(b)) == pytest.approx(
        slow_fid(a, b), rel=tolerance
    )


def test_known_gaussians() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    p, q = rng.uniform(0.1, 4, 30), rng.uniform(0.1, 4, 30)
    p[:5] = 0  # a singular covariance is no special case
    mean = rng.normal(size=30)
    a = FeatureStatistics(10, np.zeros(30), basis @ np.diag(p) @ basis.T)
    b = FeatureStatistics(10, mean, basis @ np.diag(q) @ basis.T)
    expected = mean @ mean + ((np.sqrt(p) - np.sqrt(q)) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-12)


def test_gaussians_that_do_not_commute() -> None:
    """In two dimensions tr (Σ_A Σ_B)^½ = √(tr(Σ_A Σ_B) + 2 √(det Σ_A det Σ_B))."""
    p, q = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    root = np.sqrt(np.trace(p @ q) + 2 * np.sqrt(np.linalg.det(p) * np.linalg.det(q)))
    a, b = FeatureStatistics(9, np.zeros(2), p), FeatureStatistics(9, np.ones(2), q)
    assert frechet_distance(a, b) == pytest.approx(2 + np.trace(p) + np.trace(q) - 2 * root, rel=1e-13)


@pytest.mark.parametrize("n", [2, 10, 40, 41, 500])
def test_itself_and_shifted(n: int) -> None:
    a = features(0, n, 40)
    shift = np.linspace(-1, 1, 40)
    assert 0 <= fid_from_features(a, a) < 1e-10
    assert 0 <= frechet_distance(feature_statistics(a), feature_statistics(a)) < 1e-10
    assert fid_from_features(a, a + shift) == pytest.approx(shift @ shift, rel=1e-9)


def test_scaled_set() -> None:
    a = features(0, 100, 20)
    a -= a.mean(0)
    assert fid_from_features(a, 3 * a) == pytest.approx(4 * np.trace(np.cov(a, rowvar=False)), rel=1e-10)


def test_two_images_each() -> None:
    """One direction each: Σ = d dᵀ/2, and the trace of the root is |d_A · d_B|/2."""
    a, b = np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 0.0], [2.0, 1.0]])
    assert fid_from_features(a, b) == pytest.approx(0.5 + 2 + 1 - 2 * 1, rel=1e-14)


@pytest.mark.parametrize(("n", "m"), [(20, 30), (90, 30), (90, 80)])
def test_features_and_statistics_agree(n: int, m: int) -> None:
    a, b = features(0, n, 40), features(1, m, 40)
    stored = frechet_distance(feature_statistics(a), feature_statistics(b))
    assert fid_from_features(a, b) == pytest.approx(stored, rel=1e-7)
    assert fid_from_features(b, a) == pytest.approx(stored, rel=1e-7)


def test_large_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 1,024 dimensions eigenvalues take the place of singular values."""
    a, b = features(0, 200, 48), features(1, 180, 48)
    sets = [(a, b), (a, b[:40]), (b[:40], a)]
    expected = [fid_from_features(*pair) for pair in sets]
    monkeypatch.setattr("t2h.metrics.fid._SMALL", 10)
    assert [fid_from_features(*pair) for pair in sets] == pytest.approx(expected, rel=1e-9)
    assert fid_from_features(a, a) == pytest.approx(0, abs=1e-9)


def test_row_order_and_kind_of_array() -> None:
    a, b = features(0, 60, 16).astype(np.float32), features(1, 50, 16).astype(np.float32)
    value = fid_from_features(a, b)
    assert fid_from_features(a[::-1].copy(), b) == pytest.approx(value, rel=1e-10)
    assert fid_from_features(torch.from_numpy(a), torch.from_numpy(b)) == value
    assert fid_from_features(a.astype(np.float64), b) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("n", [2, 400, 20_000])
def test_statistics_far_from_the_origin(n: int) -> None:
    """Plain sums of squares would cancel; 20,000 images are taken in parts."""
    x = features(0, n, 12) + 1e4
    for order in (np.arange(n), np.random.default_rng(1).permutation(n)):
        statistics = feature_statistics(x[order])
        assert statistics.n == n
        np.testing.assert_allclose(statistics.mean, x.mean(0), rtol=1e-14 if n < 1000 else 1e-13)
        np.testing.assert_allclose(statistics.covariance, np.cov(x, rowvar=False), rtol=0, atol=2e-11)


def test_bootstrap_interval() -> None:
    a, b = features(0, 200, 8), features(1, 150, 8)
    interval = fid_bootstrap(a, b, resamples=100, seed=3)
    assert interval == fid_bootstrap(a, b, resamples=100, seed=3)
    assert interval != fid_bootstrap(a, b, resamples=100, seed=4)
    assert interval[0] < fid_from_features(a, b) < interval[1]
    rng = np.random.default_rng(3)
    draws = np.array([slow_fid(a, b[rng.integers(150, size=150)]) for _ in range(100)])
    shifted = draws + slow_fid(a, b) - np.median(draws)
    assert interval == pytest.approx(tuple(np.quantile(shifted, [0.025, 0.975])), rel=1e-8)
    wider = fid_bootstrap(a, b[:30], resamples=100, seed=3)
    assert wider[1] - wider[0] > interval[1] - interval[0]


def test_bootstrap_interval_covers_other_samplings() -> None:
    """Of many samplings of one model, about 95 % have an interval that holds the mean FID over samplings."""
    rng = np.random.default_rng(0)
    real = rng.normal(size=(300, 3))
    sets = [rng.normal(size=(100, 3)) * 1.5 + 0.7 for _ in range(60)]
    middle = np.mean([fid_from_features(real, x) for x in sets])
    intervals = [fid_bootstrap(real, x, resamples=100, seed=i) for i, x in enumerate(sets)]
    assert np.mean([low <= middle <= high for low, high in intervals]) > 0.85


def test_errors() -> None:
    a = features(0, 10, 4)
    bad = a.copy()
    bad[2, 1], bad[5, 0] = np.nan, np.inf
    with pytest.raises(UserError, match="2 of 10 generated images have features that are NaN or infinite"):
        fid_from_features(a, bad)
    with pytest.raises(UserError, match="no generated images; at least 2 are needed"):
        fid_from_features(a, a[:0])
    with pytest.raises(UserError, match="1 real image; at least 2"):
        fid_from_features(a[:1], a)
    with pytest.raises(UserError, match="the real features have 4 dimensions and the generated ones 3"):
        fid_from_features(a, a[:, :3])
    with pytest.raises(UserError, match="4 and 3 dimensions"):
        frechet_distance(feature_statistics(a), feature_statistics(a[:, :3]))
    with pytest.raises(UserError, match="1 given image; at least 2 are needed"):
        feature_statistics(a[:1])
    with pytest.raises(UserError, match="1 of 10 given images"):
        feature_statistics(np.where(np.arange(10)[:, None] == 3, np.nan, a))
    with pytest.raises(UserError, match="resamples is 0"):
        fid_bootstrap(a, a, resamples=0)
    with pytest.raises(UserError, match="level is 95"):
        fid_bootstrap(a, a, level=95.0)


def test_statistics_are_checked() -> None:
    with pytest.raises(UserError, match="mean has 3 dimensions and the covariance the shape"):
        FeatureStatistics(5, np.zeros(3), np.eye(4))
    with pytest.raises(UserError, match="NaN or infinite"):
        FeatureStatistics(5, np.full(3, np.nan), np.eye(3))
    with pytest.raises(UserError, match="not symmetric"):
        FeatureStatistics(5, np.zeros(2), np.array([[1.0, 0.5], [0.0, 1.0]]))
