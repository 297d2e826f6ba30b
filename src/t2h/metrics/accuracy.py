"""Accuracy and recall per class, from predicted and true labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from t2h.errors import UserError, check_labels


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Shares of right predictions: ``overall``, of each class (NaN for one without images; ``counts`` has how many
    there are), and ``balanced``, the mean over the classes that have images.
    """

    overall: float
    balanced: float
    per_class: Float[np.ndarray, " k"]
    counts: Int[np.ndarray, " k"]


def accuracy(predictions: Int[np.ndarray, " _"], labels: Int[np.ndarray, " _"], num_classes: int) -> Accuracy:
    """Compare predicted with true labels, both (n,) and from 0 to num_classes - 1.

    Raises:
        UserError: if there are no images, the lengths differ, or a label is out of range.
    """
    if len(predictions) != len(labels) or not len(labels):
        given = f"{len(predictions)} predictions for {len(labels) or 'no'} labels"
        raise UserError(f"{given}; give one for each, and at least one.")
    check_labels("predictions", predictions, num_classes)
    check_labels("labels", labels, num_classes)
    right = predictions == labels
    counts = np.bincount(labels, minlength=num_classes)
    per_class = np.full(num_classes, np.nan)
    np.divide(np.bincount(labels, weights=right, minlength=num_classes), counts, out=per_class, where=counts > 0)
    return Accuracy(float(right.mean()), float(np.nanmean(per_class)), per_class, counts)
