"""Groups of classes by how many training images they have, and the table of the classes, head to tail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

_EIGHTHS = " ▏▎▍▌▋▊▉"

Counts = Int[np.ndarray, " k"] | Sequence[int]


def head_to_tail(class_counts: Counts) -> Int[np.ndarray, " k"]:
    """Class ids by count, largest first; equal counts in the order of their ids. int64 (K,)."""
    return np.argsort(-np.asarray(class_counts, dtype=np.int64), kind="stable").astype(np.int64)


def thirds(class_counts: Counts) -> dict[str, Int[np.ndarray, " g"]]:
    """Class ids of ``head``, ``medium`` and ``tail``: thirds of the classes in order of count, cut at i·C // 3.

    Two classes are ``head`` and ``tail``, a single one is ``head``.
    """
    order = head_to_tail(class_counts)
    names = ("head", "medium", "tail") if len(order) > 2 else ("head", "tail")[: len(order)]
    cuts = [i * len(order) // max(1, len(names)) for i in range(len(names) + 1)]
    return {name: order[cuts[i] : cuts[i + 1]] for i, name in enumerate(names)}


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


def class_table(class_counts: Counts, class_names: Sequence[str], max_rows: int | None = None) -> str:
    """One line per class from head to tail, then the totals.

    Columns: rank, class index, name, images, share, third (head, medium, tail), shots (many > 100, medium, few < 20),
    bar. With more classes than ``max_rows`` the middle is left out.
    """
    counts = np.asarray(class_counts, dtype=np.int64)
    order = head_to_tail(counts)
    third, shot = ({c: name for name, ids in group(counts).items() for c in ids.tolist()} for group in (thirds, shots))
    most, total = max(1, int(counts.max())), max(1, int(counts.sum()))
    wide = max(4, *(len(name) for name in class_names))
    lines = [f"{'rank':>4}  {'class':>5}  {'name':<{wide}}  {'images':>8}  {'share':>7}  {'third':<6}  {'shots':<6}"]
    for rank, c in enumerate(order):
        lines.append(
            f"{rank + 1:>4}  {c:>5}  {class_names[c]:<{wide}}  {counts[c]:>8,}  {counts[c] / total:>7.2%}  "
            f"{third[c]:<6}  {shot[c]:<6}  {_bar(counts[c] / most)}".rstrip()
        )
    if max_rows is not None and len(order) > max_rows:
        top = (max_rows + 1) // 2
        lines[top + 1 : len(lines) - max_rows // 2] = [f"   …  {len(order) - max_rows} more classes"]
    return "\n".join([*lines, "", summary(counts)])


def summary(class_counts: Counts) -> str:
    """Images, classes, their range and ratio, and what each group holds, in three lines."""
    counts = np.asarray(class_counts, dtype=np.int64)
    most, least = int(counts.max()), int(counts.min())
    empty = int((counts == 0).sum())
    ratio = f"imbalance {least / most:.4g}" if least else f"{empty} of them empty"
    lines = [f"{counts.sum():,} images in {len(counts)} classes, from {most:,} to {least:,} a class ({ratio})"]
    for title, groups in (("thirds", thirds(counts)), ("shots", shots(counts))):
        parts = [f"{name} {len(ids)} classes, {counts[ids].sum():,} images" for name, ids in groups.items()]
        lines.append(f"{title}: " + "; ".join(parts))
    return "\n".join(lines)


def _bar(share: float, width: int = 24) -> str:
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
