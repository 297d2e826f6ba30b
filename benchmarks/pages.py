"""The pages docs/benchmark/*.html from the result files beside them, without the runs.

python benchmarks/pages.py
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from t2h.benchmark.page import page
from t2h.benchmark.read import parse_plan, read_plan
from t2h.benchmark.recompute import point_of, recompute
from t2h.results.result import Result

FOLDER = Path(__file__).parents[1] / "docs" / "benchmark"


def html(name: str) -> str:
    """The page of FOLDER/name.json, a benchmark.json of a built-in plan."""
    content = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    entries = {key: value for key, value in content["plan"].items() if key != "name"}
    plan = dataclasses.replace(parse_plan(json.dumps(entries), name), about=read_plan(name).about)
    points = {(c["data"], c["method"], c["seed"]): c["points"] for c in content["cells"]}
    results = {
        cell: Result(cell.method, tuple(map(point_of, points[cell.data, cell.method, cell.seed])))
        for cell in plan.cells()
    }
    return page(plan, recompute(content), results, reports={})


if __name__ == "__main__":
    for name in ("cifar10-lt-cpu", "digits", "fashion-mnist-lt-cpu"):
        (FOLDER / f"{name}.html").write_text(html(name), encoding="utf-8")
