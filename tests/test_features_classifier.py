"""The classifier's features: seeded, good at what it was trained on, stored and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from t2h.data import load_images
from t2h.errors import UserError
from t2h.features import extract
from t2h.features.classifier import ClassifierConfig, ClassifierFeatures, classifier_for, train_classifier

FAST = ClassifierConfig(epochs=8)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    table = load_images("digits", split="all")
    return np.asarray(table.images), table.labels


@pytest.fixture(scope="module")
def trained(digits: tuple[np.ndarray, np.ndarray]) -> ClassifierFeatures:
    return train_classifier(*digits, 10, FAST)


def test_it_recognises_digits_it_has_not_seen(trained: ClassifierFeatures) -> None:
    assert trained.accuracy > 0.95
    assert trained.name == f"classifier-{trained.sha256[:8]}"
    assert (trained.dim, trained.image_shape, trained.num_classes) == (64, (1, 8, 8), 10)


def test_training_again_gives_the_same_weights_and_leaves_the_global_state_alone(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    short = ClassifierConfig(max_steps=3)
    before = torch.get_rng_state()
    first, again = (train_classifier(*digits, 10, short).sha256 for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert first == again
    assert first != train_classifier(*digits, 10, ClassifierConfig(max_steps=3, seed=1)).sha256


def test_features_do_not_depend_on_the_batch(
    trained: ClassifierFeatures, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    images = digits[0][:7]
    np.testing.assert_allclose(extract(images, trained, 7), extract(images, trained, 3), atol=1e-5)


def test_logits_are_the_networks(trained: ClassifierFeatures, digits: tuple[np.ndarray, np.ndarray]) -> None:
    images = digits[0][:5]
    scores = trained.logits(extract(images, trained))
    assert scores is not None
    expected = trained.network(torch.from_numpy(images).float() / 255).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_it_is_trained_once_and_read_back(digits: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    images, labels = digits[0][:200], digits[1][:200]
    config = ClassifierConfig(max_steps=3)
    first = classifier_for(images, labels, 10, config, cache=tmp_path)
    (file,) = (tmp_path / "classifiers").iterdir()
    inode = file.stat().st_ino
    again = classifier_for(images, labels, 10, config, cache=tmp_path)
    assert file.stat().st_ino == inode
    assert (again.sha256, again.accuracy, again.image_shape) == (first.sha256, first.accuracy, first.image_shape)
    other = classifier_for(images, labels[::-1].copy(), 10, config, cache=tmp_path)
    assert other.sha256 != first.sha256


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_other_sizes_and_colours(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2), 20)
    images = (rng.integers(0, 100, (40, *shape)) + 150 * labels[:, None, None, None]).astype(np.uint8)
    found = train_classifier(images, labels, 2, ClassifierConfig(max_steps=30, batch_size=16))
    assert found.accuracy == 1
    assert found.image_shape == shape


def test_too_few_images_or_classes() -> None:
    images = np.zeros((30, 1, 8, 8), np.uint8)
    with pytest.raises(UserError, match="30 images of 1 classes cannot train"):
        train_classifier(images, np.zeros(30, np.int64), 2)
    with pytest.raises(UserError, match="4 images of 2 classes cannot train"):
        train_classifier(images[:4], np.array([0, 1, 0, 1]), 2)


def test_images_of_another_size_are_refused(trained: ClassifierFeatures) -> None:
    with pytest.raises(UserError, match=r"RGB of 32x32 pixels, but classifier-.* is for grey of 8x8"):
        extract(np.zeros((2, 3, 32, 32), np.uint8), trained)
