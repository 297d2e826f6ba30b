"""What a benchmark leaves: benchmark.json, benchmark.html, and a report of each data set's first seed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from t2h.benchmark.cells import BenchmarkFolder, result_of, state_of
from t2h.benchmark.plan import Cell, Plan
from t2h.benchmark.show import tables, written
from t2h.benchmark.table import Part, Results, as_json, fids_by_w, measures, summarise
from t2h.benchmark.transfer import transfers
from t2h.files import replaced
from t2h.report import write_report
from t2h.report.axes import Line
from t2h.report.charts import line_chart
from t2h.report.markup import Html, tag
from t2h.report.page import document
from t2h.results.result import Result
from t2h.results.statistics import mean_std
from t2h.results.table import Table, as_html
from t2h.version import __version__

_LIMITS = (
    "A difference is paired: with one seed all methods begin from the same weights, see the same images and noise, "
    "and draw from the same noise. Its interval is Student's t over the seeds. The best w is one per method, chosen by "
    "mean FID on the very samples that are shown; it flatters every method."
)


def write_all(plan: Plan, cells: Sequence[Cell], place: BenchmarkFolder, form: str = "text") -> str | None:
    """Write what the results that are there say; returns the tables in a format, or None where there is no result."""
    results = {cell: result for cell in cells if (result := result_of(cell, plan, place)) is not None}
    if not results:
        return None
    parts = summarise(plan, results, transfers(list(results), place))
    content = {
        "format": "t2h-benchmark",
        "version": 2,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "package": __version__,
        "plan": dataclasses.asdict(plan),
        "cells": [_cell(cell, plan, place, results.get(cell)) for cell in cells],
        "tables": as_json(parts),
    }
    with replaced(place.out / "benchmark.json") as file:
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    reports = _reports(plan, results, place)
    with replaced(place.out / "benchmark.html") as file:
        file.write_text(page(plan, parts, results, reports), encoding="utf-8")
    return written(plan, parts, form)


def _cell(cell: Cell, plan: Plan, place: BenchmarkFolder, result: Result | None) -> dict[str, Any]:
    """A cell, with its metrics at every w where it is done: the curves of all seeds in one small file."""
    state = state_of(cell, plan, place)
    facts = {"data": cell.data, "method": cell.method, "seed": cell.seed, "state": state}
    if result is not None:
        points = [{"w": point.w, **{m.title: m.value(point) for m in measures([point])}} for point in result.points]
        return facts | {"result": str(place.result_file(cell).relative_to(place.out)), "points": points}
    return facts | ({"reason": place.failure(cell).read_text("utf-8")} if state == "failed" else {})


def _reports(plan: Plan, results: Results, place: BenchmarkFolder) -> dict[str, Path]:
    """A report of all methods for each data set, with its first seed: a page of every seed would be unreadable."""
    made = {}
    for data in dict.fromkeys(cell.data for cell in results):
        runs = [place.folder(c) for c in results if c.data == data and c.seed == plan.seeds[0]]
        if runs:
            title = f"{plan.name}: {data}, seed {plan.seeds[0]}"
            made[data] = write_report(runs, place.out / data / "report.html", title).relative_to(place.out)
    return made


def page(plan: Plan, parts: Sequence[Part], results: Results, reports: dict[str, Path]) -> str:
    """The benchmark as a self-contained HTML page."""
    found = tables(plan, parts)
    sections = []
    for data in dict.fromkeys(part.data for part in parts):
        own = [_untitled(t, data) for t in found if t.title.startswith((f"{data}, ", f"{data}: "))]
        said = f"Samples, classes and protocol with seed {plan.seeds[0]}"
        link = tag("p", tag("a", said, href=str(reports[data]))) if data in reports else None
        sections.append(
            tag(
                "section",
                tag("h2", data),
                link,
                tag("div", _curves(plan, data, results), _moved(data, parts), class_="columns"),
                [Html(as_html(one)) for one in own],
                id=data,
            )
        )
    cell = next(iter(results))
    seen = cell.config.learning.steps * cell.config.learning.batch_size
    about = (
        f"{len(plan.methods)} methods, {len(plan.seeds)} {'seeds' if len(plan.seeds) > 1 else 'seed'}, "
        f"{seen:,} images seen in every run. Differences are to {plan.baseline}."
    )
    head = tag("header", tag("h1", f"Benchmark {plan.name}"), tag("p", about, class_="lead"), tag("p", plan.about))
    return document(f"Benchmark {plan.name}", head, tag("main", tag("p", _LIMITS, class_="about"), sections))


def _untitled(found: Table, data: str) -> Table:
    """The table without the data set in its title, which the section has."""
    title = found.title.removeprefix(data).lstrip(",: ")
    return dataclasses.replace(found, title=title[:1].upper() + title[1:])


def _curves(plan: Plan, data: str, results: Results, at_once: int = 5) -> list[Html]:
    """FID over w, mean over seeds ± standard deviation; the baseline and a few methods in each chart."""
    lines = {
        method: _line(method, {c: r for c, r in results.items() if c.data == data and c.method == method})
        for method in plan.methods
    }
    drawn = {method: line for method, line in lines.items() if line is not None and len(line.x) > 1}
    charts = []
    others = [method for method in drawn if method != plan.baseline]
    for start in range(0, len(others), at_once):
        methods = others[start : start + at_once]
        shown = [drawn[m] for m in (plan.baseline, *methods) if m in drawn]
        shown = [dataclasses.replace(line, slot=f"c{slot}") for slot, line in enumerate(shown)]
        ticks = sorted({w for line in shown for w in line.x})
        chart = line_chart(
            f"FID over w: {', '.join(m.name for m in shown)}", shown, "guidance weight w", "{:g}".format, x_ticks=ticks
        )
        caption = tag("figcaption", tag("b", "FID ↓"), tag("small", "mean of the seeds ± standard deviation"))
        charts.append(tag("figure", caption, chart))
    return charts


def _moved(data: str, parts: Sequence[Part]) -> Html | None:
    """The share of targets from another class over t: where a method that moves targets does so."""
    found = [transfer for part in parts if part.data == data for transfer in part.transfers]
    if not found:
        return None
    lines = [
        Line(transfer.method, f"c{slot}", transfer.middles, transfer.across_by_t, markers=False)
        for slot, transfer in enumerate(found[:6])
    ]
    chart = line_chart(
        "Share of targets from another class", lines, "timestep t (0: clean)", "{:g}".format, "{:.0%}".format
    )
    caption = tag("figcaption", tag("b", "Targets from another class"), tag("small", "by timestep, all seeds"))
    return tag("figure", caption, chart)


def _line(method: str, results: Results) -> Line | None:
    fids = fids_by_w({cell.seed: result for cell, result in results.items()})
    spreads = {w: mean_std(values) for w, values in fids.items()}
    bands = tuple(None if s.std is None else (s.mean - s.std, s.mean + s.std) for s in spreads.values())
    return Line(method, "c0", tuple(spreads), tuple(s.mean for s in spreads.values()), bands) if spreads else None
