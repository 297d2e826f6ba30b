"""scikit-learn's handwritten digits: 1,797 real images of 8×8 pixels that need no network."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from t2h.data.sources.base import Request
from t2h.data.table import ImageTable

TRAIN_SHARE = 0.8


def read(request: Request) -> ImageTable:
    """Grey 8×8 images, 0 ... 16 scaled to 0 ... 255, in scikit-learn's order.

    Splits: ``all`` (1,797), ``train`` (1,437: of each class the first 80 %) and ``test`` (the other 360).
    """
    from sklearn.datasets import load_digits

    split = request.split_of(("train", "test", "all"))
    digits = load_digits()
    images = ((digits.data.astype(np.int64) * 255 + 8) // 16).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = digits.target.astype(np.int64)
    if split != "all":
        in_train = np.zeros(len(labels), bool)
        in_train[stratified_rows(labels, TRAIN_SHARE)] = True
        rows = in_train if split == "train" else ~in_train
        images, labels = images[rows], labels[rows]
    names = tuple(str(digit) for digit in range(10))
    return ImageTable(request.converted(images), labels, names, split=split, name="digits")


def stratified_rows(labels: Int[np.ndarray, " n"], share: float) -> Int[np.ndarray, " m"]:
    """The first rows of each class, ``int(share · N)`` in all, in their order.

    Classes get share · n_c rows, rounded by the largest remainder (of equal ones, the lower class first), so that the
    total is met and nothing is random.
    """
    wanted = share * np.bincount(labels)
    counts = np.floor(wanted).astype(np.int64)
    missing = int(share * len(labels)) - counts.sum()
    counts[np.argsort(-np.round(wanted - counts, 9), kind="stable")[:missing]] += 1
    rows = [np.flatnonzero(labels == c)[:n] for c, n in enumerate(counts)]
    return np.sort(np.concatenate(rows))
