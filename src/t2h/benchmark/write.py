"""What a benchmark leaves: benchmark.json, a self-contained page, and a report of each data set's first seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from t2h.benchmark.plan import Cell, Plan
from t2h.benchmark.run import BenchmarkFolder, result_of, state_of
from t2h.benchmark.show import tables, written
from t2h.benchmark.table import Part, Results, as_json, fids_by_w, measures, summarise
from t2h.files import write_json, write_text
from t2h.report import write_report
from t2h.report.axes import Line, percent_text
from t2h.report.charts import line_chart
from t2h.report.plots import Plot
from t2h.report.templates import render
from t2h.results.point import Point
from t2h.results.result import Result
from t2h.results.statistics import mean_std
from t2h.results.table import as_html
from t2h.results.transfer import Transfer
from t2h.training.run import RunFolder
from t2h.version import __version__

_AT_ONCE = 5  # methods in a chart, beside the baseline


def write_all(plan: Plan, cells: Sequence[Cell], place: BenchmarkFolder, form: str = "text") -> str | None:
    """Write what the results that are there say; returns the tables in a format, or None where there is no result."""
    results = {cell: result for cell in cells if (result := result_of(cell, plan, place)) is not None}
    if not results:
        return None
    parts = summarise(plan, results, _transfers(results, place))
    content = {
        "format": "t2h-benchmark",
        "version": 2,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "package": __version__,
        "plan": dataclasses.asdict(plan),
        "cells": [_cell(cell, plan, place, results.get(cell)) for cell in cells],
        "tables": as_json(parts),
    }
    write_json(place.out / "benchmark.json", content)
    reports = _reports(plan, results, place)
    write_text(place.out / "benchmark.html", page(plan, parts, results, reports))
    return written(plan, parts, form)


def _transfers(results: Results, place: BenchmarkFolder) -> list[Transfer]:
    """Of every method that counts them, over its seeds."""
    counted: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in results:
        if (counts := RunFolder(place.folder(cell)).transfer()) is not None:
            counted.setdefault((cell.data, cell.method), []).append(counts)
    return [found for key, counts in counted.items() if (found := Transfer.of(counts, *key)) is not None]


def _cell(cell: Cell, plan: Plan, place: BenchmarkFolder, result: Result | None) -> dict[str, Any]:
    """A cell, with its metrics at every w where it is done: the curves of all seeds in one small file."""
    state = state_of(cell, plan, place)
    facts = {"data": cell.data, "method": cell.method, "seed": cell.seed, "state": state}
    if result is not None:
        facts |= {"result": str(place.result_file(cell).relative_to(place.out))}
        facts |= {"points": list(map(_numbers, result.points))}
        if result.choice is not None:
            halves = {name: _numbers(getattr(result.choice, name)) for name in ("single", "mixture")}
            facts |= {"choice": {"w_table": result.choice.w_table, **halves}}
        return facts
    return facts | ({"reason": place.failure(cell).read_text("utf-8")} if state == "failed" else {})


def _numbers(point: Point) -> dict[str, float | None]:
    return {"w": point.w, **{measure.title: measure.value(point) for measure in measures([point])}}


def _reports(plan: Plan, results: Results, place: BenchmarkFolder) -> dict[str, Path]:
    """A report of all methods for each data set, with its first seed: a page of every seed would be unreadable."""
    runs: dict[str, list[Path]] = {}
    for cell in results:
        if cell.seed == plan.seeds[0]:
            runs.setdefault(cell.data, []).append(place.folder(cell))
    for data, folders in runs.items():
        write_report(folders, place.out / data / "report.html", f"{plan.name}: {data}, seed {plan.seeds[0]}")
    return {data: Path(data) / "report.html" for data in runs}


def page(plan: Plan, parts: Sequence[Part], results: Results, reports: dict[str, Path]) -> str:
    """The page; ``reports`` are those of the data sets, by their names."""

    def section(data: str) -> dict[str, Any]:
        own = [part for part in parts if part.data == data]
        shown = []
        for table in tables(plan, own):  # the section has the data set in its title
            title = table.title.removeprefix(data).lstrip(",: ")
            shown.append(as_html(dataclasses.replace(table, title=title[:1].upper() + title[1:])))
        plots = [*_curves(plan, data, results), *_moved(own)]
        return {"data": data, "report": reports.get(data), "plots": plots, "tables": shown}

    learning = next(iter(results)).config.learning
    return render(
        "benchmark/page.html.j2",
        title=f"Benchmark {plan.name}",
        plan=plan,
        seen=learning.steps * learning.batch_size,
        sections=[section(data) for data in dict.fromkeys(part.data for part in parts)],
    )


def _curves(plan: Plan, data: str, results: Results) -> Iterable[Plot]:
    """FID over w, mean over seeds ± standard deviation; the baseline and a few methods in each chart."""
    lines = {method: _line(data, method, results) for method in plan.methods}
    drawn = {method: line for method, line in lines.items() if len(line.x) > 1}
    rivals = [method for method in drawn if method != plan.baseline]
    for start in range(0, len(rivals), _AT_ONCE):
        methods = [method for method in (plan.baseline, *rivals[start : start + _AT_ONCE]) if method in drawn]
        shown = [dataclasses.replace(drawn[method], slot=f"c{slot}") for slot, method in enumerate(methods)]
        w = sorted({x for line in shown for x in line.x})
        chart = line_chart(f"FID over w: {', '.join(methods)}", shown, "guidance weight w", "{:g}".format, x_ticks=w)
        yield Plot("FID ↓", chart, "mean of the seeds ± standard deviation")


def _line(data: str, method: str, results: Results) -> Line:
    fids = fids_by_w({c.seed: result for c, result in results.items() if (c.data, c.method) == (data, method)})
    spreads = {w: mean_std(values) for w, values in fids.items()}
    bands = tuple(None if s.std is None else (s.mean - s.std, s.mean + s.std) for s in spreads.values())
    return Line(method, "c0", tuple(spreads), tuple(s.mean for s in spreads.values()), bands)


def _moved(parts: Sequence[Part]) -> Iterable[Plot]:
    """The share of targets from another class over t: where a method that moves targets does so."""
    transfers = [transfer for part in parts for transfer in part.transfers]
    lines = [
        Line(transfer.method, f"c{slot}", transfer.middles, transfer.by_t(transfer.across), markers=False)
        for slot, transfer in enumerate(transfers[:6])
    ]
    if lines:
        title, x_label = "Share of targets from another class", "timestep t (0: clean)"
        chart = line_chart(title, lines, x_label, "{:g}".format, percent_text)
        yield Plot("Targets from another class", chart, "by timestep, all seeds")
