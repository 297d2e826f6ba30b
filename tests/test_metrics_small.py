"""Inception score, diversity, memorisation and accuracy: small metrics against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from t2h.errors import UserError
from t2h.metrics import (
    accuracy,
    inception_score,
    mean_pairwise_distance,
    memorisation_threshold,
    nearest,
)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


class TestInceptionScore:
    def test_equals_the_slow_loop(self) -> None:
        logits = normal(0, 103, 7) * 2
        order = np.random.default_rng(4).permutation(103)
        scores = []
        for part in np.array_split(logits[order], 5):
            p = np.exp(part) / np.exp(part).sum(axis=1, keepdims=True)
            kl = [sum(pi * (np.log(pi) - np.log(q)) for pi, q in zip(row, p.mean(0), strict=True)) for row in p]
            scores.append(np.exp(np.mean(kl)))
        score = inception_score(logits, splits=5, seed=4)
        assert (score.mean, score.std, score.splits) == pytest.approx((np.mean(scores), np.std(scores), 5), rel=1e-12)

    def test_extremes(self) -> None:
        """Sure and balanced: the number of classes. Always the same answer, or none: 1."""
        sure = 1e4 * np.eye(5)[np.arange(500) % 5]
        assert inception_score(sure, splits=1).mean == pytest.approx(5)
        assert inception_score(np.zeros((50, 5))).mean == pytest.approx(1)
        assert inception_score(sure[::5]).mean == pytest.approx(1)

    def test_sorted_samples_are_shuffled(self) -> None:
        """In sample order each of the 10 splits would hold one class, and the score would be 1."""
        assert inception_score(1e4 * np.repeat(np.eye(10), 200, axis=0)).mean > 9.5

    def test_a_constant_added_to_the_logits_changes_nothing(self) -> None:
        logits = normal(0, 60, 4)
        score = inception_score(logits).mean
        assert inception_score(logits + 1e3).mean == pytest.approx(score, rel=1e-9)
        assert inception_score(logits.astype(np.float32)).mean == pytest.approx(score, rel=1e-6)

    def test_errors(self) -> None:
        with pytest.raises(UserError, match=r"10 splits of 9 images; splits must lie in 1 \.\.\. 9"):
            inception_score(normal(0, 9, 3))
        with pytest.raises(UserError, match="no given images"):
            inception_score(normal(0, 0, 3))
        with pytest.raises(UserError, match="NaN"):
            inception_score(np.full((20, 3), np.nan))


class TestDiversity:
    @pytest.mark.parametrize("offset", [0.0, 1e4])
    @pytest.mark.parametrize("n", [2, 3, 80])
    def test_equals_every_pair(self, n: int, offset: float) -> None:
        x = normal(0, n, 9) + offset
        for budget in (1, 5_000, 2**29):
            assert mean_pairwise_distance(x, budget) == pytest.approx(pdist(x).mean(), rel=1e-9)

    def test_copies(self) -> None:
        x = normal(0, 30, 200).astype(np.float32)
        assert mean_pairwise_distance(np.repeat(x[:1], 30, axis=0)) == 0
        both = np.concatenate([x, x])
        assert mean_pairwise_distance(both) == pytest.approx(pdist(both.astype(float)).mean(), rel=1e-9)
        near = np.concatenate([x[:1], x[:1] * (1 + 1e-6), x[1:2]]).astype(np.float64)
        assert mean_pairwise_distance(near) == pytest.approx(pdist(near).mean(), rel=1e-9)

    def test_order_and_scale(self) -> None:
        x = normal(0, 50, 4)
        assert mean_pairwise_distance(x[::-1].copy()) == pytest.approx(mean_pairwise_distance(x), rel=1e-12)
        assert mean_pairwise_distance(3 * x) == pytest.approx(3 * mean_pairwise_distance(x), rel=1e-12)

    def test_errors(self) -> None:
        with pytest.raises(UserError, match="1 given image; at least 2 are needed"):
            mean_pairwise_distance(normal(0, 1, 4))
        with pytest.raises(UserError, match="3 of 3 given images"):
            mean_pairwise_distance(np.full((3, 2), np.inf))


def share_of_copies(samples: np.ndarray, training: np.ndarray, held_out: np.ndarray, quantile: float = 0.05) -> float:
    threshold = memorisation_threshold(training, held_out, quantile)
    return float((nearest(samples, training).distance <= threshold).mean())


class TestMemorisation:
    def test_copies_and_honest_images(self) -> None:
        training, held_out, honest = normal(0, 300, 8), normal(1, 400, 8), normal(2, 2000, 8)
        assert share_of_copies(training, training, held_out) == 1
        assert share_of_copies(training + 1e-3 * normal(3, 300, 8), training, held_out) == 1
        assert share_of_copies(honest, training, held_out) == pytest.approx(0.05, abs=0.03)
        assert share_of_copies(held_out, training, held_out) == pytest.approx(0.05, abs=0.005)
        assert share_of_copies(honest, training, held_out, quantile=0.5) == pytest.approx(0.5, abs=0.06)
        half = np.concatenate([training, honest[:300] + 30])
        assert share_of_copies(half, training, held_out) == 0.5

    def test_threshold_on_a_line(self) -> None:
        """Held-out images at 1, 2, ... 101 from the only training image: the 5 % quantile is 6."""
        held_out = np.arange(1.0, 102.0)[:, None]
        training = np.zeros((1, 1))
        assert memorisation_threshold(training, held_out) == pytest.approx(6)
        assert share_of_copies(np.array([[5.9], [6.1], [-1.0], [-7.0]]), training, held_out) == 0.5

    def test_copies_count_where_held_out_images_are_copies_too(self) -> None:
        training = normal(0, 40, 3)
        assert share_of_copies(training[:5], training, training) == 1

    def test_errors(self) -> None:
        x = normal(0, 30, 4)
        with pytest.raises(
            UserError, match="19 held-out images of this class; at least 20 are needed for their 5% quant"
        ):
            memorisation_threshold(x, x[:19])
        assert memorisation_threshold(x, x[:20]) == 0
        assert memorisation_threshold(x, x[:10], quantile=0.1) == 0
        with pytest.raises(UserError, match="no training images"):
            memorisation_threshold(x[:0], x)
        with pytest.raises(UserError, match="the held-out features have 3 dimensions and the training ones 4"):
            memorisation_threshold(x, x[:, :3])
        with pytest.raises(UserError, match="quantile is 0"):
            memorisation_threshold(x, x, quantile=0.0)


class TestAccuracy:
    def test_by_hand(self) -> None:
        result = accuracy(np.array([0, 0, 1, 2, 0]), np.array([0, 1, 1, 2, 2]), 4)
        assert result.overall == pytest.approx(3 / 5)
        np.testing.assert_array_equal(result.per_class, [1, 0.5, 0.5, np.nan])
        np.testing.assert_array_equal(result.counts, [1, 2, 2, 0])
        assert result.balanced == pytest.approx(2 / 3)

    def test_errors(self) -> None:
        labels = np.array([0, 1, 2])
        with pytest.raises(UserError, match=r"labels run from 0 to 2; with 2 classes they must lie in 0 \.\.\. 1"):
            accuracy(np.array([0, 1, 1]), labels, 2)
        with pytest.raises(UserError, match="predictions run from -1 to 1"):
            accuracy(np.array([0, 1, -1]), labels, 3)
        with pytest.raises(UserError, match="2 predictions for 3 labels"):
            accuracy(labels[:2], labels, 3)
        with pytest.raises(UserError, match="no labels"):
            accuracy(labels[:0], labels[:0], 3)
