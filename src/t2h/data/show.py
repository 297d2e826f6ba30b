"""The class table, head to tail, as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from t2h.data.groups import head_to_tail, shots, thirds

_BAR = 24  # characters
_EIGHTHS = " ▏▎▍▌▋▊▉"


def group_of(groups: dict[str, Int[np.ndarray, " g"]]) -> dict[int, str]:
    """From the classes of each group to the group of each class."""
    return {int(c): name for name, classes in groups.items() for c in classes}


def class_table(
    class_counts: Int[np.ndarray, " k"] | Sequence[int], class_names: Sequence[str], max_rows: int | None = None
) -> str:
    """One line per class from head to tail, then the totals.

    Columns: rank, class index, name, images, share, third (head, medium, tail), shots (many > 100, medium, few < 20),
    bar. With more classes than ``max_rows`` the middle is left out.
    """
    counts = np.asarray(class_counts, dtype=np.int64)
    order, third, shot = head_to_tail(counts), group_of(thirds(counts)), group_of(shots(counts))
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


def summary(class_counts: Int[np.ndarray, " k"] | Sequence[int]) -> str:
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


def _bar(share: float) -> str:
    eighths = max(round(share * _BAR * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
