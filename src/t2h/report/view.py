"""From results and runs to what the page's template shows: plain texts, charts and pictures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from t2h.report.material import Material
from t2h.report.pictures import nearest_view, samples_view
from t2h.report.plots import at, classes_view, counts_view, curves_view, training_view, transfer_view
from t2h.report.tables import metric_tables
from t2h.results.comparable import differing, flat
from t2h.results.metrics import main_keys, metric_of
from t2h.results.result import Result


def page_view(material: Material, title: str | None = None) -> dict[str, Any]:
    """Everything that ``page.html.j2`` shows; an empty section is left out there."""
    results = [result for result in material.results if result.points]
    key = leading_metric(results)
    unlike = differing(results)
    tables = material.tables
    samples = [samples_view(material, table) for table in dict.fromkeys(run.table for run in material.runs)]
    configs = {result.name: result.run.get("config") for result in material.results}
    configured = {name: json.dumps(c, indent=2, ensure_ascii=False) for name, c in configs.items() if c}
    return {
        "title": title or _title(material),
        "tiles": [_tile(material, result, key) for result in results] if key and len(results) <= 6 else [],
        "caveats": _caveats(results, unlike, key),
        "classes": [counts_view(table) for table in tables],
        "metrics": metric_tables(material, results, key, comparable=not unlike),
        "guidance": curves_view(material),
        "per_class": [view for table in tables if (view := classes_view(material, table))],
        "samples": [view for view in samples if view],
        "nearest": [view for result in results if (view := nearest_view(material, result))],
        "transfer": transfer_view(material.runs),
        "training": training_view(material),
        "protocol": _protocol(material.results, unlike),
        "configuration": configured | {run.name: run.config for run in material.runs if run.config},
        "results": material.results,
    }


def listing(words: Sequence[str]) -> str:
    """Words in a row: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def leading_metric(results: Iterable[Result]) -> str | None:
    """The metric that the page shows first: the first main one with a direction and a value, FID if it is there."""
    points = [point for result in results for point in result.points]
    measured = dict.fromkeys(key for p in points for key, value in p.metrics.items() if value.value is not None)
    return next((key for key in main_keys(measured) if metric_of(key).direction), None)


def _title(material: Material) -> str:
    data = dict.fromkeys(str(result.data["name"]) for result in material.results if result.data.get("name"))
    names = material.names[:4] + [f"{len(material.names) - 4} more"] * (len(material.names) > 4)
    return f"{listing(names)} on {listing(list(data))}" if data else listing(names)


def _tile(material: Material, result: Result, key: str) -> dict[str, str]:
    """The leading metric of a result at the w nearest to 1.5, and at its best w."""
    metric, point, best = metric_of(key), result.nearest(), result.best(key)
    if point is None or point.get(key).value is None:
        point = best
    below = ""
    if best and point and best is not point:
        below = f"best {metric.text(best.get(key).value)} at {at(best.w)}"
    elif best and len(result.points) > 1:
        below = "the best of its curve"
    return {
        "name": result.name,
        "slot": material.slot(result.name),
        "value": metric.text(point.get(key).value if point else None),
        "what": f"{metric.label} {metric.hint}" + (f" at {at(point.w)}" if point else ""),
        "below": below,
    }


def _caveats(results: Sequence[Result], unlike: Sequence[str], key: str | None) -> list[str]:
    """What keeps the numbers from saying more."""
    if not results:
        return ["Nothing has been evaluated yet: the page shows the training alone."]
    caveats = []
    if unlike:
        caveats.append(f"The results differ in {listing(list(map(_words, unlike)))}, so they are not compared here.")
    elif key:
        caveats += _unsettled(results, key)
    methods = [result.method for result in results if result.method]
    if methods and len(set(methods)) == len(methods):
        each = "each method" if len(methods) > 1 else "the method"
        caveats.append(f"One training run of {each}: how much a metric varies from seed to seed is not measured.")
    return caveats + list(dict.fromkeys(note for result in results for note in result.notes))


def _unsettled(results: Sequence[Result], key: str) -> Iterable[str]:
    """The guidance weights at which the intervals of the best two results overlap."""
    metric, found = metric_of(key), []
    for w in sorted({point.w for result in results for point in result.points if point.w is not None}):
        values = [value for r in results if (p := r.at(w)) and (value := p.get(key)).value is not None]
        values.sort(key=lambda value: value.value or 0.0, reverse=metric.direction == "higher")
        first, second = [value.interval for value in values[:2]] if len(values) > 1 else (None, None)
        if first and second and first[0] <= second[1] and second[0] <= first[1]:
            found.append(f"{w:g}")
    if found:
        yield f"At w = {listing(found)} the {metric.label} intervals of the best two overlap: their order is open."


def _protocol(results: Sequence[Result], unlike: Sequence[str]) -> dict[str, Any] | None:
    """Deviations, and the factors of every result: one value where all agree."""
    if not results:
        return None
    notes = []
    for note in dict.fromkeys(note for result in results for note in result.notes):
        names = [result.name for result in results if note in result.notes]
        notes.append(("" if len(names) == len(results) else f"{listing(names)}: ", note))
    tables = [_factors(result) for result in results]
    rows = []
    for name in dict.fromkeys(name for table in tables for name in table):
        values = [_text(table.get(name)) for table in tables]
        several = len(set(values)) > 1
        row = {"name": _words(name), "several": several, "differs": name in unlike}
        rows.append(row | {"texts": values if several else values[:1]})
    return {"notes": notes, "names": [result.name for result in results], "rows": rows}


def _factors(result: Result) -> dict[str, Any]:
    """All that is known of how a result was measured, under the names of `differing`."""
    sizes = dict.fromkeys(point.num_images for point in result.points)
    data = {"training class counts": result.data.get("class_counts"), "class names": result.data.get("class_names")}
    run = {"images_seen": result.run.get("images_seen"), "weights": result.run.get("weights_sha256")}
    return {"num_images": list(sizes), **dict(flat(result.protocol)), **data, **run}


def _words(name: str) -> str:
    return name.replace("_", " ").replace(".", " · ")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "—"}[value]
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10_000 else str(value)
