"""A result as a table on the screen."""

from __future__ import annotations

from typing import Any

from t2h.results.compare import DECIMALS, align
from t2h.results.result import Result

_SHOWN = ("fid", "kid", "is", "precision", "recall", "density", "coverage", "prd_f8", "prd_f1_8")
_SHOWN_LAST = ("diversity", "diversity_real", "memorisation", "accuracy")


def summary(result: Result) -> str:
    """Overall and per group for each w; per class for w = 1.5, or the only point; then what is absent, and notes."""
    points = result["points"]
    if not points:
        return "no points yet"
    k = max(result["protocol"]["ks"], default=5)
    names = [f"{name}_k{k}" if name in ("precision", "recall", "density", "coverage") else name for name in _SHOWN]
    names = [
        name for name in (*names, *_SHOWN_LAST) if any(_value(point["figures"], name) is not None for point in points)
    ]
    main = next((point for point in points if point["w"] == 1.5), points[0])
    grid = [["", "w", "train", "images", *names]]
    for point in points:
        rows = [("all", None, point)] + [(group, None, part) for group, part in point["groups"].items()]
        if point is main:
            rows += [(part["name"], part["train_count"], part) for part in point["classes"]]
        grid += [_row(title, point["w"], count, part["figures"], names) for title, count, part in rows]
    absent = {f"{name}: {figure['reason']}" for name, figure in main["figures"].items() if figure["value"] is None}
    lines = [
        *align(grid),
        "",
        *(f"absent: {line}" for line in sorted(absent)),
        *(f"note: {n}" for n in result["notes"]),
    ]
    return "\n".join(lines)


def _value(figures: dict[str, Any], name: str) -> float | None:
    return figures.get(name, {}).get("value")


def _row(title: str, w: float | None, count: int | None, figures: dict[str, Any], names: list[str]) -> list[str]:
    n = max((figure.get("n") or 0 for key, figure in figures.items() if key != "diversity_real"), default=0)
    cells = []
    for name in names:
        value = _value(figures, name)
        cells.append("" if value is None else f"{value:.{DECIMALS.get(name, 3)}f}")
    return [title, "" if w is None else f"{w:g}", "" if count is None else f"{count:,}", f"{n:,}" if n else "", *cells]
