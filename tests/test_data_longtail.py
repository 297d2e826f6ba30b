"""Long-tailed subsets against the official ones, and against the official rule re-typed as a slow loop."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from t2h.data import head_to_tail, long_tail_indices, profile_counts, shots, thirds
from t2h.data.config import DataConfig, load
from t2h.data.sources import load_images
from t2h.errors import UserError

# sha256 of the official subsets' positions in the training order, as little-endian int64
OFFICIAL = {
    ("cifar10", 0.1): "a17d69f192b1cf6df09676b6c424e2ad5e7d7863ccc4b9ba70ef128885973218",
    ("cifar10", 0.02): "d7edcfaf02772bee1e2310a33be8b6c46232f043641158348b9de3ec731e26ac",
    ("cifar10", 0.01): "4bf45bff8878d2786e47dccd702f96ff33b2b11d8c7da3b5015f10937290f866",
    ("cifar10", 0.001): "a55d8ff71e914f2fb630913f7471caa5adca8e2fb2d7baf065988cf0e5341ab0",
    ("cifar100", 0.1): "b4fbf1bf0a7f33381467493f50b953ce21b03a2b6d45b0d5e8da5d95d9ffd736",
    ("cifar100", 0.02): "561fa940cc7d3551d441643e310c7e439bf84f86b7863a3f7364963522d2984a",
    ("cifar100", 0.01): "e0d58a4d2700c46062da852554e5d185bbee74d3c612b052ea2a839bdadf939e",
}
CIFAR10_LT = (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)


def synthetic_labels(num_classes: int = 10, per_class: int = 200) -> np.ndarray:
    return np.random.default_rng(3).permutation(np.repeat(np.arange(num_classes), per_class))


@pytest.fixture(scope="module")
def official_labels(cifar):
    return {data: load_images(data, cifar).labels for data in ("cifar10", "cifar100")}


@pytest.mark.parametrize(("data", "imbalance"), OFFICIAL)
def test_official_subset(official_labels, data, imbalance):
    labels = official_labels[data]
    indices = long_tail_indices(labels, imbalance)
    assert hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest() == OFFICIAL[data, imbalance]


def test_official_counts():
    assert profile_counts(50_000, 10, 0.01) == CIFAR10_LT
    assert sum(profile_counts(50_000, 10, 0.001)) == 9_324
    cifar100 = profile_counts(50_000, 100, 0.01)
    assert (cifar100[0], cifar100[-1], sum(cifar100)) == (500, 5, 10_847)
    assert profile_counts(50_000, 100, 0.001).count(0) == 10


@pytest.mark.parametrize("seed", [0, 7])
def test_equals_the_global_legacy_generator(seed):
    """The official code seeds numpy's global generator and shuffles each class's rows in place."""
    script = f"""
import numpy as np
labels = np.random.default_rng(3).permutation(np.repeat(np.arange(10), 200))
np.random.seed({seed})
kept = []
for c in range(10):
    rows = np.where(labels == c)[0]
    np.random.shuffle(rows)
    kept.extend(rows[: int(2000 / 10 * 0.05 ** (c / (10 - 1.0)))])
print(*kept)
"""
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    expected = np.array(printed.split(), dtype=np.int64)
    np.testing.assert_array_equal(long_tail_indices(synthetic_labels(), 0.05, seed=seed), expected)


def test_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    long_tail_indices(synthetic_labels(), 0.1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_step_profile():
    assert profile_counts(1000, 5, 0.1, "step") == (200, 200, 20, 20, 20)
    assert profile_counts(1000, 4, 0.1, "step") == (250, 250, 25, 25)


def test_pareto_profile():
    counts = profile_counts(100_000, 10, 0.01, "pareto")
    assert counts[0] == 10_000
    assert counts[-1] == 100
    slopes = np.diff(np.log(counts)) / np.diff(np.log(np.arange(1, 11)))
    np.testing.assert_allclose(slopes, -2, atol=0.1)  # a power law: straight in log-log, but for whole images


@pytest.mark.parametrize("profile", ["exp", "step", "pareto"])
def test_subset_is_what_was_asked(profile):
    labels = synthetic_labels()
    indices = long_tail_indices(labels, 0.1, profile)
    assert indices.dtype == np.int64
    assert len(set(indices.tolist())) == len(indices)
    assert tuple(np.bincount(labels[indices])) == profile_counts(2000, 10, 0.1, profile)


def test_none_keeps_everything_in_order():
    np.testing.assert_array_equal(long_tail_indices(synthetic_labels(), 0.5, "none"), np.arange(2000))


def test_one_class():
    assert sorted(long_tail_indices(np.zeros(5, np.int64), 0.1).tolist()) == [0, 1, 2, 3, 4]


def test_explicit_counts_choose_as_the_profile_does():
    labels = synthetic_labels()
    counts = profile_counts(2000, 10, 0.05)
    np.testing.assert_array_equal(long_tail_indices(labels, counts=counts), long_tail_indices(labels, 0.05))


def test_empty_class_keeps_its_index():
    labels = np.array([0] * 8 + [2] * 8)
    indices = long_tail_indices(labels, 0.5, num_classes=4)
    assert np.bincount(labels[indices], minlength=4).tolist() == [4, 0, 2, 0]  # n_max = 16 / 4


def test_scarce_class_keeps_all_it_has():
    labels = np.array([0] * 17 + [1] * 3)
    indices = long_tail_indices(labels, 1.0)
    assert np.bincount(labels[indices]).tolist() == [10, 3]


@pytest.mark.parametrize("imbalance", [0.0, -0.1, float("nan"), float("inf")])
def test_imbalance_outside(imbalance):
    with pytest.raises(UserError, match=r"in \(0, 1\]"):
        long_tail_indices(synthetic_labels(), imbalance)


def test_imbalance_above_one_suggests_the_inverse():
    with pytest.raises(UserError, match=r"100 : 1 give 0\.01"):
        long_tail_indices(synthetic_labels(), 100.0)
    with pytest.raises(UserError, match=r"give 0\.01"):
        load(DataConfig(imbalance=100.0))


def test_other_mistakes():
    labels = synthetic_labels()
    with pytest.raises(UserError, match="did you mean 'step'"):
        long_tail_indices(labels, 0.1, "steps")
    with pytest.raises(UserError, match=r"labels run from 0 to 9; with 5 classes"):
        long_tail_indices(labels, 0.1, num_classes=5)
    with pytest.raises(UserError, match="labels run from -1"):
        long_tail_indices(labels - 1, 0.1)
    with pytest.raises(UserError, match=r"class 1: 201 asked, 200 there; class 3: 999 asked"):
        long_tail_indices(labels, counts=[1, 201, 1, 999, 1, 1, 1, 1, 1, 1])
    with pytest.raises(UserError, match="3 counts for 10 classes"):
        long_tail_indices(labels, counts=[1, 2, 3])
    with pytest.raises(UserError, match="0 or more"):
        long_tail_indices(labels, counts=[-1, 2, 3, 1, 1, 1, 1, 1, 1, 1])
    with pytest.raises(UserError, match="no images"):
        long_tail_indices(np.zeros(0, np.int64), 0.1)


def test_head_to_tail_is_stable():
    assert head_to_tail([5, 9, 5, 9, 0]).tolist() == [1, 3, 0, 2, 4]
    assert head_to_tail([7, 8] * 100).tolist() == [*range(1, 200, 2), *range(0, 200, 2)]


@pytest.mark.parametrize(
    ("num_classes", "sizes"), [(10, (3, 3, 4)), (100, (33, 33, 34)), (3, (1, 1, 1)), (2, (1, 1)), (1, (1,))]
)
def test_thirds(num_classes, sizes):
    counts = np.arange(num_classes)[::-1] * 7 + 1
    groups = thirds(counts)
    assert tuple(groups) == (("head", "medium", "tail") if num_classes > 2 else ("head", "tail")[:num_classes])
    assert tuple(len(classes) for classes in groups.values()) == sizes
    assert np.concatenate(list(groups.values())).tolist() == list(range(num_classes))


def test_shots_boundaries():
    groups = shots([19, 101, 20, 100, 0, 500])
    assert {name: classes.tolist() for name, classes in groups.items()} == {
        "many": [5, 1],
        "medium": [3, 2],
        "few": [0, 4],
    }


def test_shots_of_the_paper():
    """Liu et al.'s split of CIFAR-100-LT at imbalance 0.01, whose counts run from 500 to 5."""
    groups = shots(profile_counts(50_000, 100, 0.01))
    assert [len(classes) for classes in groups.values()] == [35, 35, 30]


def test_load_as_it_is_and_long_tailed():
    whole = load(DataConfig())
    assert len(whole) == 1437
    tail = load(DataConfig(imbalance=0.05))
    assert tuple(tail.class_counts) == tuple(np.minimum(profile_counts(1437, 10, 0.05), whole.class_counts))
    np.testing.assert_array_equal(tail.images, whole.images[long_tail_indices(whole.labels, 0.05)])
    assert tuple(load(DataConfig(counts=(3,) * 10)).class_counts) == (3,) * 10
    assert len(load(DataConfig(imbalance=0.5, profile="none"))) == 1437


def test_load_official_long_tail(cifar):
    table = load(DataConfig("cifar10", cifar, imbalance=0.01))
    assert tuple(table.class_counts) == CIFAR10_LT
    assert table.images.shape == (12_406, 3, 32, 32)
