"""The tables of metrics, with the best of rivals marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from t2h.report.material import Material
from t2h.report.plots import at
from t2h.results.metrics import GROUPS, Metric, main_keys, metric_of
from t2h.results.point import NOTHING, Metrics, Value
from t2h.results.result import Result


class Row(NamedTuple):
    """A row of values. Only rows of the same ``rival`` are set against each other."""

    name: str
    slot: str
    what: str
    metrics: Metrics
    num_images: int | None
    rival: str

    def value(self, metric: Metric) -> Value:
        """The measured value, or an absent one with its reason."""
        return self.metrics.get(metric.key, NOTHING)


def metric_tables(
    material: Material, results: Sequence[Result], key: str | None, comparable: bool
) -> dict[str, dict[str, Any] | None] | None:
    """Tables at w = 1.5, at the best w by ``key``, at what one half of the images chose; at every w; of groups."""
    if not results:
        return None
    every: list[Row] = []
    main: list[Row] = []
    best: list[Row] = []
    chosen: list[Row] = []
    groups: dict[bool, list[Row]] = {True: [], False: []}  # thirds, or shots
    for result in results:

        def row(what: str, metrics: Metrics, n: int | None, rival: str | None = None, name: str = result.name) -> Row:
            return Row(name, material.slot(name), what, metrics, n, rival or what)

        every += [row(at(p.w), p.metrics, p.num_images) for p in result.points]
        if p := result.nearest():
            main.append(row(at(p.w), p.metrics, p.num_images))
            for group, part in p.groups.items():
                groups[group in GROUPS].append(row(f"{group}, {at(p.w)}", part.metrics, None))
        if key and len(result.points) > 1 and (p := result.best(key)):
            best.append(row(f"best {metric_of(key).label}, {at(p.w)}", p.metrics, p.num_images, "best"))
        if c := result.choice:
            for what, judged in (("one w", c.single), (f"w per {c.per}", c.mixture)):
                chosen.append(row(f"{what}, chosen on the other half", judged.metrics, judged.num_images))
    return {
        "main": _table("Guidance", [*main, *best, *_side_by_side(chosen)], comparable),
        "every": _table("Guidance", every, comparable, every=True),
        "groups": _table("Classes", _side_by_side(groups[True]), comparable),
        "shots": _table("Classes", _side_by_side(groups[False]), comparable),
    }


def _side_by_side(rows: list[Row]) -> list[Row]:
    """Rivals one after another, in the order in which they first come."""
    order = list(dict.fromkeys(row.rival for row in rows))
    return sorted(rows, key=lambda row: order.index(row.rival))


def _table(second: str, rows: list[Row], comparable: bool, every: bool = False) -> dict[str, Any] | None:
    """Rows under the main metrics that some row has, or every one; ``best``: (row, key) of each best of rivals."""
    keys = list(dict.fromkeys(key for row in rows for key in row.metrics))
    if not every:
        keys = main_keys(k for k in keys if any(row.metrics.get(k, NOTHING).value is not None for row in rows)) or keys
    metrics = list(map(metric_of, keys))
    best = set()
    for metric in metrics if comparable else ():
        measured = [(i, row.rival, v) for i, row in enumerate(rows) if (v := row.value(metric).value) is not None]
        for i, rival, value in measured:
            others = [other for j, theirs, other in measured if j != i and theirs == rival]
            if others and all(metric.is_better(value, other) for other in others):
                best.add((i, metric.key))
    return {"second": second, "metrics": metrics, "rows": rows, "best": best} if rows and keys else None
