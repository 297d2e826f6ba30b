"""From images to one point of a result: metrics overall, per group of classes, and per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from t2h.data.groups import shots, thirds
from t2h.errors import UserError
from t2h.evaluation.judge import Judge, SampleFeatures
from t2h.evaluation.reference import Reference
from t2h.features.base import extract_cached
from t2h.results.point import ClassPoint, Group, Metrics, Point


def evaluate_arrays(
    images: Any,
    labels: Int[np.ndarray, " n"] | None,
    judge: Judge,
    class_counts: Int[np.ndarray, " k"] | None = None,
    w: float | None = None,
    progress: bool = False,
    cache: Path | None = None,
) -> Point:
    """Judge sample images: one point of a result.

    Args:
        images: uint8 (N, C, H, W), or float32 in [0, 1]; an array or a lazy reader.
        labels: the class that each image was asked to show, or None; then there are overall metrics only.
        judge: reference, feature network and options; one for several calls shares what they have in common.
        class_counts: training images of each class, for head, medium and tail; None: the reference's `train_rows`.
        w: guidance weight, for the record; None where unknown.
        progress: show bars.
        cache: where features are kept.

    Raises:
        UserError: if the samples do not suit the reference: size, colours, classes, features.
    """
    reference, extractor = judge.reference, judge.extractor
    check_labels(images, labels, reference)
    reference.check(extractor, reference.statistics.dim, images.shape[1:])
    features = extract_cached(images, extractor, progress=progress, cache=cache)
    reference.check(extractor, features.shape[1], images.shape[1:])
    counts, samples = _counts(class_counts, reference), SampleFeatures(features, labels)
    return Point(
        w=w,
        num_images=len(features),
        metrics=judge.metrics(samples),
        groups=_groups(judge, samples, counts),
        classes=_classes(judge, samples, counts),
    )


def check_labels(images: Any, labels: np.ndarray | None, reference: Reference) -> None:
    """Raise a `UserError` unless there is one label per image and each is a class of the reference."""
    if labels is None:
        return
    if len(labels) != images.shape[0]:
        raise UserError(f"{images.shape[0]} sample images but {len(labels)} labels; give one label per image.")
    if reference.num_classes and len(labels) and not 0 <= labels.min() <= labels.max() < reference.num_classes:
        raise UserError(
            f"sample labels run from {labels.min()} to {labels.max()}; the reference {reference.name} has the classes "
            f"0 ... {reference.num_classes - 1}. Use the reference of the same classes."
        )


def group_classes(counts: np.ndarray) -> dict[str, tuple[int, ...]]:
    """Head, medium and tail (thirds by training count); also many, medium-shot and few where two of these exist."""
    groups = {name: tuple(ids.tolist()) for name, ids in thirds(counts).items()}
    by_shots = {name: tuple(ids.tolist()) for name, ids in shots(counts).items() if len(ids)}
    if len(by_shots) > 1:
        # "medium" is taken: the thirds have it too.
        groups |= {"medium-shot" if name == "medium" else name: ids for name, ids in by_shots.items()}
    return {name: ids for name, ids in groups.items() if ids}


def _counts(given: np.ndarray | None, reference: Reference) -> np.ndarray | None:
    if given is None:
        return None if reference.train_counts is None else np.array(reference.train_counts)
    if reference.num_classes and len(given) != reference.num_classes:
        raise UserError(
            f"{len(given)} training counts, but the reference {reference.name} has {reference.num_classes} classes."
        )
    return given


def _groups(judge: Judge, samples: SampleFeatures, counts: np.ndarray | None) -> dict[str, Group]:
    if counts is None or samples.labels is None or len(set(counts.tolist())) < 2 or judge.reference.labels is None:
        return {}
    metrics: dict[frozenset[int], Metrics] = {}
    groups = group_classes(counts)
    for ids in groups.values():  # "few" is often the same as "tail"
        metrics[frozenset(ids)] = metrics.get(frozenset(ids)) or judge.metrics(samples, ids)
    return {name: Group(ids, metrics[frozenset(ids)]) for name, ids in groups.items()}


def _classes(judge: Judge, samples: SampleFeatures, counts: np.ndarray | None) -> tuple[ClassPoint, ...]:
    if samples.labels is None or judge.reference.labels is None:
        return ()
    train = [None] * judge.reference.num_classes if counts is None else counts.tolist()
    return tuple(
        ClassPoint(label, name, train[label], judge.metrics(samples, (label,)))
        for label, name in enumerate(judge.reference.class_names)
    )
