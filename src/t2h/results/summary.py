"""A result as a table on the screen."""

from __future__ import annotations

from t2h.results.metrics import in_order, metric_of
from t2h.results.point import Metrics
from t2h.results.result import PAPER_W, Result
from t2h.results.table import as_text, table


def summary(result: Result) -> str:
    """Overall and per group for each w; per class for w = 1.5, or the only point; then what is absent, and notes."""
    if not result.points:
        return "no points yet"
    keys = in_order(key for p in result.points for key, value in p.metrics.items() if value.value is not None)
    main = result.at(PAPER_W) or result.points[0]
    rows = []
    for point in result.points:
        rows.append(_row("all", point.w, None, point.metrics, keys))
        rows += [_row(name, point.w, None, group.metrics, keys) for name, group in point.groups.items()]
        if point is main:
            rows += [_row(c.name, point.w, c.train_count, c.metrics, keys) for c in point.classes]
    absent = {f"absent: {key}: {value.reason}" for key, value in main.metrics.items() if value.value is None}
    remarks = [*sorted(absent), *(f"note: {note}" for note in result.notes)]
    return as_text(table(["", "w", "train", "images", *keys], rows, remarks=remarks))


def _row(title: str, w: float | None, count: int | None, metrics: Metrics, keys: list[str]) -> list[object]:
    n = max((value.n or 0 for key, value in metrics.items() if key != "diversity_real"), default=0)
    values = [metric_of(key).number(metrics[key].value) if key in metrics else "" for key in keys]
    return [title, None if w is None else f"{w:g}", count, n or None, *values]
