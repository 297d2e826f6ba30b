"""What a benchmark leaves: benchmark.json, benchmark.html, and a report of each data set's first seed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from t2h.benchmark.cells import BenchmarkFolder, result_of, state_of
from t2h.benchmark.page import page
from t2h.benchmark.plan import Cell, Plan
from t2h.benchmark.show import written
from t2h.benchmark.table import Results, as_json, measures, summarise
from t2h.benchmark.transfer import transfers
from t2h.files import replaced
from t2h.report import write_report
from t2h.results.result import Result
from t2h.version import __version__


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
