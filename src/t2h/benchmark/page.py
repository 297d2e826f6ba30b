"""A benchmark as a self-contained HTML page: curves, tables, and links to the reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from t2h.benchmark.plan import Plan
from t2h.benchmark.show import tables
from t2h.benchmark.table import Part, Results, fids_by_w
from t2h.report.axes import Line, percent_text
from t2h.report.charts import line_chart
from t2h.report.plots import Plot
from t2h.report.templates import render
from t2h.results.statistics import mean_std
from t2h.results.table import Table, as_html

_AT_ONCE = 5  # methods in a chart, beside the baseline


def page(plan: Plan, parts: Sequence[Part], results: Results, reports: dict[str, Path]) -> str:
    """The page; ``reports`` are those of the data sets, by their names."""
    learning = next(iter(results)).config.learning
    return render(
        "benchmark/page.html.j2",
        title=f"Benchmark {plan.name}",
        plan=plan,
        seen=learning.steps * learning.batch_size,
        sections=[_section(plan, data, parts, results, reports) for data in dict.fromkeys(p.data for p in parts)],
    )


def _section(
    plan: Plan, data: str, parts: Sequence[Part], results: Results, reports: dict[str, Path]
) -> dict[str, Any]:
    own = [part for part in parts if part.data == data]
    return {
        "data": data,
        "report": reports.get(data),
        "plots": [*_curves(plan, data, results), *_moved(own)],
        "tables": [as_html(_untitled(table, data)) for table in tables(plan, own)],
    }


def _untitled(table: Table, data: str) -> Table:
    """The table without the data set in its title, which the section has."""
    title = table.title.removeprefix(data).lstrip(",: ")
    return dataclasses.replace(table, title=title[:1].upper() + title[1:])


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
        Line(transfer.method, f"c{slot}", transfer.middles, transfer.across_by_t, markers=False)
        for slot, transfer in enumerate(transfers[:6])
    ]
    if lines:
        title, x_label = "Share of targets from another class", "timestep t (0: clean)"
        chart = line_chart(title, lines, x_label, "{:g}".format, percent_text)
        yield Plot("Targets from another class", chart, "by timestep, all seeds")
