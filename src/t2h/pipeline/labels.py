"""Classes by number or name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from t2h.errors import UserError, check_class_names, unknown_name

Label = int | np.integer | str
Labels = Label | Sequence[Label] | Tensor | np.ndarray | None


def class_ids(labels: Labels, names: Sequence[str], k: int | None) -> list[int]:
    """Class ids of ids, names, or a mixture, for a network of ``k`` classes; None is unconditional.

    Raises:
        UserError: for an id that is not one of 0 ... K-1 or a name that is no class.
    """
    if isinstance(labels, Tensor | np.ndarray):
        labels = labels.tolist()
    listed = list(labels) if isinstance(labels, Sequence) and not isinstance(labels, str) else [labels]
    ids = []
    if not listed:
        raise UserError("class_labels is empty; give at least one class id or name.")
    if k is None:
        raise UserError("this network is unconditional: leave class_labels=None and give batch_size.")
    for label in listed:
        if isinstance(label, str) and label not in names:
            raise unknown_name("class", label, names)
        number = names.index(label) if isinstance(label, str) else label
        if not isinstance(number, int | np.integer):
            raise UserError(f"class id {label!r} is no whole number; this network has classes 0 ... {k - 1}.")
        if not 0 <= number < k:
            raise UserError(f"class id {label} is out of range; this network has classes 0 ... {k - 1}.")
        ids.append(int(number))
    return ids


def check_classes(names: Sequence[str], counts: Sequence[int] | None, k: int | None) -> None:
    """Raise a `UserError` unless each of ``k`` classes has a name of its own, and a count if any are given."""
    if k is not None and len(names) != k:
        raise UserError(f"{len(names)} class names for a network of {k} classes; give one name per class.")
    check_class_names(names)
    if counts is not None and len(counts) != len(names):
        raise UserError(f"{len(names)} class names but {len(counts)} class counts; give one of each per class.")
