"""w per class: the mixture is the one that brute force finds, and what it is worth is measured on other images."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from t2h.errors import UserError
from t2h.evaluation import Judge, MetricOptions, Reference
from t2h.evaluation.choice import Candidate, choose, lowest_fid
from t2h.evaluation.judge import SampleFeatures
from t2h.metrics.fid import feature_statistics, fid_from_features, frechet_distance

NAMES, D = ("a", "b", "c"), 4
COUNTS = np.array([50, 20, 3])


def clouds(seed: int, each: int, shifts: Any = (0, 0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """Features of three classes, each around its own place, moved by ``shifts``."""
    rng, labels = np.random.default_rng(seed), np.repeat(np.arange(3), each)
    places = np.random.default_rng(99).normal(size=(3, D)) * 2 + 5
    return rng.normal(size=(3 * each, D)) + (places + np.asarray(shifts)[:, None])[labels], labels


def mixture(features: list[np.ndarray], labels: np.ndarray, rows: np.ndarray, picked: Any) -> np.ndarray:
    return np.concatenate([features[i][rows & (labels == c)] for c, i in enumerate(picked)])


class Features:
    """Images that are features."""

    name, sha256, dim, resize = "none", "0" * 64, D, "none"
    image_shape = None

    def __call__(self, images: Any) -> Any:
        return images

    def logits(self, features: np.ndarray) -> None:
        return None


def judge(real: np.ndarray, labels: np.ndarray, per: Any = "class") -> Judge:
    statistics = feature_statistics(real)
    reference = Reference("r", "train", statistics, "0" * 64, class_names=NAMES, features=real, labels=labels)
    return Judge(reference, Features(), MetricOptions(metrics=("fid",), w_per=per))


@pytest.mark.parametrize(("seed", "each"), [(0, 4), (1, 4), (2, 4), (3, 4), (4, 30), (5, 30)])
@pytest.mark.parametrize("units", [[(0,), (1,), (2,)], [(0, 2), (1,)]])
def test_no_change_of_one_unit_is_better_by_plain_fid(seed: int, each: int, units: list[tuple[int, ...]]) -> None:
    real, _ = clouds(100, 200)
    shifts = np.random.default_rng(seed).normal(size=(4, 3)) * 0.7
    sets = [clouds(seed, each, shift)[0] for shift in shifts]
    labels, rows = clouds(0, each)[1], np.arange(3 * each) % 2 == 0
    statistics = feature_statistics(real)
    single, picked = lowest_fid(sets, labels, rows, units, statistics)

    def fid(pick: Any) -> float:
        return fid_from_features(real, mixture(sets, labels, rows, pick))

    assert fid(single) == pytest.approx(min(fid([i] * 3) for i in range(4)), rel=1e-9)
    assert fid(picked) <= fid(single)
    for unit, i in itertools.product(units, range(4)):
        other = picked.copy()
        other[list(unit)] = i
        assert fid(other) >= fid(picked) * (1 - 1e-8)
    assert all(len(set(picked[list(unit)])) == 1 for unit in units)
    if len(units) == 3 and each == 30:
        assert fid(picked) < fid(single)
        best = min(fid(pick) for pick in itertools.product(range(4), repeat=3))
        assert fid(picked) <= best * 1.5  # descent is no search of everything


def test_features_far_from_zero_lose_nothing() -> None:
    """Second moments around zero would: the spread is a millionth of the mean."""
    real, labels = clouds(100, 200)
    sets = [clouds(1, 30)[0] + 1e6, clouds(1, 30, (2, 2, 2))[0] + 1e6]
    rows, labels = np.ones(90, dtype=bool), clouds(0, 30)[1]
    single, picked = lowest_fid(sets, labels, rows, [(0,), (1,), (2,)], feature_statistics(real + 1e6))
    assert single.tolist() == [0, 0, 0]
    plain, plain_picked = lowest_fid(
        [x - 1e6 for x in sets], labels, rows, [(0,), (1,), (2,)], feature_statistics(real)
    )
    assert (picked.tolist(), single.tolist()) == (plain_picked.tolist(), plain.tolist())


def known() -> tuple[Any, Judge, list[np.ndarray], np.ndarray]:
    """Three weights; each class is right at its own one, and 1.5 away at the others."""
    real, labels = clouds(100, 300)
    sets = [clouds(7, 60, np.where(np.arange(3) == i, 0.0, 1.5)) for i in range(3)]
    own = sets[0][1]
    curve = [Candidate(w, SampleFeatures(x, own), [w] * 3) for w, (x, _) in zip((0.0, 0.5, 2.0), sets, strict=True)]
    by = judge(real, labels)
    return choose(curve, by, NAMES, COUNTS), by, [x for x, _ in sets], own


def test_the_right_w_of_each_class_is_found_and_judged_on_the_other_half() -> None:
    found, by, features, labels = known()
    assert found.w_table == {"a": 0.0, "b": 0.5, "c": 2.0}
    assert found.halves == [found.w_table, found.w_table]
    assert (found.per, found.ws) == ("class", [0.0, 0.5, 2.0])
    even = np.tile(np.arange(60), 3) % 2 == 0
    by_hand = [
        frechet_distance(by.reference.statistics, feature_statistics(mixture(features, labels, rows, (0, 1, 2))))
        for rows in (~even, even)
    ]
    fid = found.mixture.metrics["fid"]
    assert fid.value == pytest.approx(np.mean(by_hand), rel=1e-9)
    assert (fid.n, found.mixture.num_images) == (90, 90)
    ones = [[0.0, 0.5, 2.0].index(w) for w in found.single_w]
    by_hand = [
        frechet_distance(by.reference.statistics, feature_statistics(features[one][rows]))
        for one, rows in zip(ones, (~even, even), strict=True)
    ]
    assert found.single.metrics["fid"].value == pytest.approx(np.mean(by_hand), rel=1e-9)
    assert found.single.metrics["fid"].value > fid.value
    assert found.mixture.groups["tail"].classes == (2,)
    assert "fid" in found.single.groups["head"].metrics


def test_groups_have_one_w() -> None:
    real, labels = clouds(100, 300)
    sets = [clouds(7, 60, shift)[0] for shift in ((0, 1.5, 1.5), (1.5, 0, 0))]
    curve = [Candidate(w, SampleFeatures(x, clouds(0, 60)[1]), [w] * 3) for w, x in zip((1.0, 3.0), sets, strict=True)]
    found = choose(curve, judge(real, labels, "group"), NAMES, COUNTS)
    assert found.w_table == {"a": 1.0, "b": 3.0, "c": 3.0}


def test_choosing_does_not_flatter() -> None:
    """Where all weights draw the same distribution, the images that choose see a gain, and the others none."""
    real, labels = clouds(100, 500)
    gains = []
    for seed in range(12):
        sets = [clouds(100_000 + 10 * seed + i, 20)[0] for i in range(8)]
        own, rows = clouds(0, 20)[1], np.tile(np.arange(20), 3) % 2 == 0
        curve = [Candidate(float(i), SampleFeatures(x, own), [float(i)] * 3) for i, x in enumerate(sets)]
        found = choose(curve, judge(real, labels), NAMES, None)
        single, picked = lowest_fid(sets, own, rows, [(0,), (1,), (2,)], feature_statistics(real))
        seen = [fid_from_features(real, mixture(sets, own, rows, pick)) for pick in (single, picked)]
        values = [point.metrics["fid"].value for point in (found.single, found.mixture)]
        gains.append((seen[0] - seen[1], values[0] - values[1]))
    on_the_same, on_the_other = np.array(gains).T
    error = on_the_other.std(ddof=1) / 12**0.5
    assert on_the_same.mean() > 0.05
    assert on_the_same.min() >= 0
    assert abs(on_the_other.mean()) < 2 * error


def test_mistakes() -> None:
    real, labels = clouds(100, 50)
    x, own = clouds(0, 4)

    def of(labels_of_second: np.ndarray, rows: slice = slice(None)) -> Any:
        curve = [Candidate(0.0, SampleFeatures(x[rows], own[rows]), [0.0] * 3)]
        curve.append(Candidate(1.0, SampleFeatures(x[rows], labels_of_second[rows]), [1.0] * 3))
        return choose(curve, judge(real, labels), NAMES, COUNTS)

    with pytest.raises(UserError, match="other labels than those of another"):
        of(own[::-1].copy())
    with pytest.raises(UserError, match="at least --per-class 2"):
        of(own, slice(0, 9))
