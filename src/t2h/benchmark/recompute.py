"""The tables of a benchmark.json from the points of its own cells, without the runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from t2h.benchmark.table import Part, make_part
from t2h.benchmark.transfer import Transfer
from t2h.results.point import Group, Metrics, Point, Value
from t2h.results.result import Result

# Remarks that `make_part` makes, or made in version 1; the others are notes of the results.
_REMARKS = re.compile(r"too few seeds|\d+ seeds: the boot|no result yet|the results were not|the best w is the largest")


def recompute(content: Mapping[str, Any]) -> list[Part]:
    """The parts of a benchmark.json of version 1 or 2, in its order.

    Args:
        content: of the file: "plan" (methods and baseline), "cells" with their points, and "tables", of which data set,
            choice of w, notes and transfers are taken.
    """
    return [_part(content, old) for old in content["tables"]]


def _part(content: Mapping[str, Any], old: Mapping[str, Any]) -> Part:
    notes = tuple(remark for remark in old["remarks"] if not _REMARKS.match(remark))
    methods: dict[str, dict[int, Result]] = {method: {} for method in content["plan"]["methods"]}
    for cell in content["cells"]:
        if cell["data"] == old["data"] and "points" in cell:
            points = tuple(map(_point, cell["points"]))
            methods[cell["method"]][cell["seed"]] = Result(cell["method"], points, notes=notes)
    part = make_part(old["data"], old["choice"], methods, content["plan"]["baseline"])
    return replace(part, transfers=tuple(map(_transfer, old["transfers"])))


def _transfer(entry: Mapping[str, Any]) -> Transfer:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Transfer(**fields)


def _point(entry: Mapping[str, Any]) -> Point:
    """From {"w": 1.5, "fid": 13.9, "fid tail": 23.0, ...}."""
    parts: dict[str, Metrics] = {"": {}}
    for title, value in entry.items():
        key, _, group = title.partition(" ")
        if key != "w":
            parts.setdefault(group, {})[key] = Value.from_dict({"value": value})
    overall = parts.pop("")
    return Point(entry["w"], metrics=overall, groups={name: Group((), metrics) for name, metrics in parts.items()})
