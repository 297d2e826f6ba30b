"""From images to one point of a result: metrics overall, per group of classes, and per class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int

from t2h.data.groups import shots, thirds
from t2h.errors import UserError, check_labels
from t2h.evaluation.judge import Judge, SampleFeatures
from t2h.features.base import extract, extract_cached
from t2h.results.point import ClassPoint, Group, Point


def evaluate_arrays(
    images: Any,
    labels: Int[np.ndarray, " n"] | None,
    judge: Judge,
    class_counts: Int[np.ndarray, " k"] | None = None,
    w: float | None = None,
    progress: bool = False,
) -> Point:
    """Judge sample images: one point of a result.

    Args:
        images: uint8 (N, C, H, W), or float32 in [0, 1]; an array or a lazy reader.
        labels: the class that each image was asked to show, or None; then there are overall metrics only.
        judge: reference, feature network and options; one for several calls shares what they have in common.
        class_counts: training images of each class, for head, medium and tail; None: the reference's `train_rows`.
        w: guidance weight, for the record; None where unknown.
        progress: show bars.

    Raises:
        UserError: if the samples do not suit the reference: size, colours, classes, features.
    """
    name, classes = judge.reference.name, judge.reference.num_classes
    if class_counts is not None and classes and len(class_counts) != classes:
        raise UserError(f"{len(class_counts)} training counts, but the reference {name} has {classes} classes.")
    return judged(seen(images, labels, judge, progress), judge, class_counts, w)


def seen(
    images: Any, labels: Int[np.ndarray, " n"] | None, judge: Judge, progress: bool = False, cached: bool = True
) -> SampleFeatures:
    """The features of sample images; ``cached`` keeps them for another time. `UserError` as `evaluate_arrays`."""
    reference, extractor = judge.reference, judge.extractor
    if labels is not None and len(labels) != images.shape[0]:
        raise UserError(f"{images.shape[0]} sample images but {len(labels)} labels; give one label per image.")
    if labels is not None and reference.num_classes:
        check_labels(f"labels of samples for the reference {reference.name}", labels, reference.num_classes)
    reference.check(extractor, images.shape[1:])
    features = (extract_cached if cached else extract)(images, extractor, progress=progress)
    reference.check(extractor, images.shape[1:])  # some networks know their dimensions by now only
    return SampleFeatures(features, labels)


def judged(
    samples: SampleFeatures, judge: Judge, class_counts: Int[np.ndarray, " k"] | None = None, w: float | None = None
) -> Point:
    """One point of a result, from features."""
    reference = judge.reference
    counts = reference.train_counts if class_counts is None else class_counts.tolist()
    point = Point(w, len(samples.features), metrics=judge.metrics(samples))
    if samples.labels is None or reference.labels is None:
        return point
    train = [None] * reference.num_classes if counts is None else counts
    groups = {} if counts is None or len(set(counts)) < 2 else group_classes(np.array(counts))
    return replace(
        point,
        groups={name: Group(ids, judge.metrics(samples, ids)) for name, ids in groups.items()},
        classes=tuple(
            ClassPoint(label, name, train[label], judge.metrics(samples, (label,)))
            for label, name in enumerate(reference.class_names)
        ),
    )


def group_classes(counts: Int[np.ndarray, " k"]) -> dict[str, tuple[int, ...]]:
    """Head, medium and tail (thirds by training count); also many, medium-shot and few where two of these exist."""
    groups = thirds(counts)
    by_shots = {name: ids for name, ids in shots(counts).items() if len(ids)}
    if len(by_shots) > 1:
        # "medium" is taken: the thirds have it too.
        groups |= {"medium-shot" if name == "medium" else name: ids for name, ids in by_shots.items()}
    return {name: tuple(ids.tolist()) for name, ids in groups.items() if len(ids)}
