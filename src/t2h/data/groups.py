"""Groups of classes by how many training images they have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

Counts = Int[np.ndarray, " k"] | Sequence[int]


def head_to_tail(class_counts: Counts) -> Int[np.ndarray, " k"]:
    """Class ids by count, largest first; equal counts in the order of their ids. int64 (K,)."""
    return np.argsort(-np.asarray(class_counts, dtype=np.int64), kind="stable").astype(np.int64)


def thirds(class_counts: Counts) -> dict[str, Int[np.ndarray, " g"]]:
    """Class ids of ``head``, ``medium`` and ``tail``: thirds of the classes in order of count, cut at i·C // 3."""
    order = head_to_tail(class_counts)
    cuts = [i * len(order) // 3 for i in range(4)]
    return {name: order[cuts[i] : cuts[i + 1]] for i, name in enumerate(("head", "medium", "tail"))}


def shots(class_counts: Counts, many: int = 100, few: int = 20) -> dict[str, Int[np.ndarray, " g"]]:
    """Class ids of ``many`` (more than 100 training images), ``medium`` (20 to 100) and ``few`` (fewer than 20).

    Source: Liu et al. 2019, "Large-Scale Long-Tailed Recognition in an Open World". Each group runs from head to tail.
    """
    order = head_to_tail(class_counts)
    counts = np.asarray(class_counts, dtype=np.int64)[order]
    return {
        "many": order[counts > many],
        "medium": order[(counts >= few) & (counts <= many)],
        "few": order[counts < few],
    }
