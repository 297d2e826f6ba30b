"""Real images through the real Inception: the metrics move as the images do. About 1,000 images, 2 minutes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from t2h.data import ImageTable, load_images
from t2h.evaluation import Judge, MetricOptions, Reference, evaluate_arrays, make_reference
from t2h.features.inception import InceptionFeatures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CLASSES, PER_CLASS = (0, 1, 8), 50
OPTIONS = MetricOptions(metrics=("fid", "kid", "manifold", "memorisation", "is", "accuracy"), kid_subsets=10, ks=(3,))


@pytest.fixture(scope="module")
def table(cifar: Path) -> ImageTable:
    """100 images of each of three classes, renumbered; the first 50 are trained on, the rest held out."""
    whole = load_images("cifar10", cifar)
    rows = np.concatenate([np.flatnonzero(whole.labels == c)[: 2 * PER_CLASS] for c in CLASSES])
    labels = np.repeat(np.arange(3), 2 * PER_CLASS)
    names = tuple(whole.class_names[c] for c in CLASSES)
    return replace(whole, images=np.asarray(whole.images[rows]), labels=labels, class_names=names)


@pytest.fixture(scope="module")
def extractor(inception: Path) -> InceptionFeatures:
    return InceptionFeatures(inception)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("T2H_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def reference(table: ImageTable, extractor: InceptionFeatures) -> Reference:
    trained = np.flatnonzero(np.arange(len(table)) % (2 * PER_CLASS) < PER_CLASS)
    return make_reference(table, extractor, trained)


@pytest.fixture(scope="module")
def judged(table: ImageTable, reference: Reference, extractor: InceptionFeatures) -> dict[str, Any]:
    judge = Judge(reference, extractor, OPTIONS)
    held_out = np.flatnonzero(np.arange(len(table)) % (2 * PER_CLASS) >= PER_CLASS)
    images, labels = np.asarray(table.images)[held_out], table.labels[held_out]

    def point(x: np.ndarray, y: np.ndarray) -> Any:
        return evaluate_arrays(x, y, judge)

    def blurred(sigma: float) -> np.ndarray:
        return ndimage.gaussian_filter(images, (0, 0, sigma, sigma))

    trained = np.setdiff1d(np.arange(len(table)), held_out)
    return {
        "as they are": point(images, labels),
        "blur 0.7": point(blurred(0.7), labels),
        "blur 2": point(blurred(2.0), labels),
        "shuffled": point(images, np.random.default_rng(0).permutation(labels)),
        "one class": point(images[labels == 0], labels[labels == 0]),
        "two classes": point(images[labels < 2], labels[labels < 2]),
        "trained on": point(np.asarray(table.images)[trained], table.labels[trained]),
    }


def fid(point: Any) -> float:
    return point.metrics["fid"].value


def test_fid_grows_with_blur_and_with_every_class_that_is_dropped(judged: dict[str, Any]) -> None:
    assert fid(judged["as they are"]) < fid(judged["blur 0.7"]) < fid(judged["blur 2"])
    assert fid(judged["as they are"]) < fid(judged["two classes"]) < fid(judged["one class"])
    for name in ("precision_k3", "coverage_k3"):
        assert judged["blur 2"].metrics[name].value < judged["as they are"].metrics[name].value


def test_shuffled_labels_show_per_class_only(judged: dict[str, Any]) -> None:
    assert fid(judged["shuffled"]) == fid(judged["as they are"])
    for right, wrong in zip(judged["as they are"].classes, judged["shuffled"].classes, strict=True):
        assert fid(wrong) > 1.1 * fid(right)
        assert wrong.metrics["kid"].value > right.metrics["kid"].value


def test_memorisation_is_one_for_training_images_and_small_for_unseen_ones(judged: dict[str, Any]) -> None:
    assert judged["trained on"].metrics["memorisation"].value == 1
    assert judged["as they are"].metrics["memorisation"].value < 0.1


def test_what_the_inception_cannot_say_is_absent(judged: dict[str, Any], extractor: InceptionFeatures) -> None:
    metrics = judged["as they are"].metrics
    assert "knows nothing of these classes" in metrics["accuracy"].reason
    assert (metrics["is"].value is None) == (extractor.classifier is None)
