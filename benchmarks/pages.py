"""The pages docs/benchmark/*.html from the result files beside them, without the runs.

python benchmarks/pages.py
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from t2h.benchmark.plan import parse_plan, read_plan
from t2h.benchmark.table import summarise
from t2h.benchmark.write import page
from t2h.results.point import Choice, Group, Point, Value
from t2h.results.result import Result
from t2h.results.transfer import Transfer

FOLDER = Path(__file__).parents[1] / "docs" / "benchmark"
OF_TABLES = "the best w is"  # remarks that the table makes by itself


def html(name: str) -> str:
    """The page of FOLDER/name.json, a benchmark.json of a built-in plan."""
    content = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    entries = {key: value for key, value in content["plan"].items() if key != "name"}
    asked = dict(entries["evaluation"])
    drawing = {key: value for key, value in (asked.pop("sampling", None) or {}).items() if value is not None}
    entries["evaluation"] = asked | drawing  # as a plan has it
    plan = dataclasses.replace(parse_plan(json.dumps(entries), name), about=read_plan(name).about)
    first = content["tables"][0]
    notes = tuple(remark for remark in first["remarks"] if not remark.startswith(OF_TABLES))
    cells = {(c["data"], c["method"], c["seed"]): c for c in content["cells"] if "points" in c}
    done = {cell: cells[key] for cell in plan.cells() if (key := (cell.data, cell.method, cell.seed)) in cells}
    results = {
        cell: Result(cell.method, tuple(map(point, c["points"])), notes=notes, choice=choice(c.get("choice")))
        for cell, c in done.items()
    }
    transfers = [
        Transfer(**{k: tuple(v) if isinstance(v, list) else v for k, v in t.items()}) for t in first["transfers"]
    ]
    return page(plan, summarise(plan, results, transfers), results, reports={})


def choice(entry: dict[str, Any] | None) -> Choice | None:
    """From {"w_table": ..., "mixture": ..., "single": ...}."""
    if entry is None:
        return None
    return Choice("class", [], entry["w_table"], [], [], point(entry["mixture"]), point(entry["single"]))


def point(entry: dict[str, Any]) -> Point:
    """From {"w": 1.5, "fid": 13.9, "fid tail": 23.0, ...}."""
    groups: dict[str, dict[str, Value]] = {"": {}}
    for title, value in entry.items():
        key, _, group = title.partition(" ")
        if key != "w":
            groups.setdefault(group, {})[key] = Value(value)
    overall = groups.pop("")
    return Point(entry["w"], metrics=overall, groups={name: Group((), metrics) for name, metrics in groups.items()})


if __name__ == "__main__":
    for name in ("cifar10-lt-cpu", "digits-long", "w-digits", "w-fashion"):
        (FOLDER / f"{name}.html").write_text(html(name), encoding="utf-8")
