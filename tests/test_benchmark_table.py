"""The numbers of the tables, against a computation by hand."""

from __future__ import annotations

import csv
import io
import json
import re
import runpy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from t2h.benchmark.plan import parse_plan
from t2h.benchmark.show import difference_text, spread_text, written
from t2h.benchmark.table import Part, as_json, make_part, measures, summarise
from t2h.results.compare import Measure
from t2h.results.point import Choice, Group, Point, Value
from t2h.results.result import Result
from t2h.results.statistics import ENOUGH
from t2h.results.transfer import Transfer

DOCS = Path(__file__).parents[1] / "docs" / "benchmark"
PAGES = runpy.run_path(str(DOCS.parents[1] / "benchmarks" / "pages.py"))  # reads these files
PLAN = {
    "data": {"d": {"data": "digits"}},
    "imbalance": [0.1],
    "seeds": [0, 1, 2],
    "methods": {"ddpm": {"objective": "ddpm"}, "t2h": {"objective": "t2h"}, "cm": {"objective": "cm"}},
    "evaluation": {"features": "classifier", "w": [0, 1.5]},
    "published": [{"source": "A, 2020", "data": "d-0.1", "values": {"t2h": 8.39, "t2h minus ddpm": -2.3}}],
}
# FID by method, w and seed.
FID = {
    "ddpm": {0.0: [20.0, 22.0, 24.0], 1.5: [10.0, 12.0, 14.0]},
    "t2h": {0.0: [9.0, 9.0, 9.0], 1.5: [9.0, 12.5, 11.0]},
    "cm": {0.0: [8.0, 30.0, 30.0], 1.5: [11.0, 13.0, 15.0]},
}


def made(seeds: int = 3):
    """A plan and results in the form of `t2h evaluate`."""
    plan = parse_plan(yaml.safe_dump(PLAN | {"seeds": list(range(seeds))}), "mine")

    def point(cell, w: float) -> Point:
        fid = FID[cell.method][w][cell.seed]
        metrics = {"fid": Value(fid), "kid": Value(None, "too few images")}
        return Point(w, 10, metrics=metrics, groups={"tail": Group((9,), {"fid": Value(2 * fid)})})

    return plan, {
        cell: Result(
            cell.method,
            tuple(point(cell, w) for w in (0.0, 1.5)),
            {"class_counts": [2, 1], "class_names": ["a", "b"]},
            protocol={"labels": "exact"},
            notes=("10 images instead of 50,000",),
        )
        for cell in plan.cells()
    }


def rows(choice: str, seeds: int = 3):
    part = next(part for part in summarise(*made(seeds)) if part.choice == choice)
    return part, {row.method: row for row in part.rows}


def test_mean_std_and_paired_difference():
    part, by_method = rows("1.5")
    fid, tail = by_method["t2h"].entries
    assert (fid.measure.title, tail.measure.title) == ("fid", "fid tail")  # kid is absent everywhere: no column
    assert fid.spread.mean == pytest.approx(32.5 / 3)
    assert fid.spread.std == pytest.approx(
        np.sqrt(((9 - 32.5 / 3) ** 2 + (12.5 - 32.5 / 3) ** 2 + (11 - 32.5 / 3) ** 2) / 2)
    )
    assert fid.difference.mean == pytest.approx((-1 + 0.5 - 3) / 3)
    # Student's t with 2 degrees of freedom: 4.3027 standard errors to each side.
    half = 4.302653 * np.std([-1, 0.5, -3], ddof=1) / np.sqrt(3)
    assert fid.difference.interval == pytest.approx((-3.5 / 3 - half, -3.5 / 3 + half))
    assert tail.difference.mean == pytest.approx(2 * (-1 + 0.5 - 3) / 3)
    assert by_method["ddpm"].entries[0].difference is None
    # All three differences are 1: they say nothing of how much differences vary, and no interval has zero width.
    assert by_method["cm"].entries[0].difference.interval is None
    assert difference_text(by_method["cm"].entries[0]) == "+1.00 (the same with each seed)"
    assert not any("bootstrap" in remark for remark in part.remarks)
    assert "10 images instead of 50,000" in part.remarks


def test_the_best_w_is_one_for_all_seeds():
    _, by_method = rows("best")
    assert {name: row.w for name, row in by_method.items()} == {"ddpm": 1.5, "t2h": 0.0, "cm": 1.5}
    assert by_method["t2h"].entries[0].spread.mean == 9
    assert by_method["t2h"].entries[0].difference.mean == pytest.approx(-3)  # against the baseline at its own best w


def test_what_half_of_the_images_chose_has_tables_of_its_own():
    plan, results = made()
    assert {part.choice for part in summarise(plan, results)} == {"1.5", "best"}

    def judged(result: Result, add: float) -> Point:
        return Point(None, 5, metrics={"fid": Value(result.points[1].metrics["fid"].value + add)})

    for cell, result in results.items():
        found = judged(result, 1.0), judged(result, -2.0 if cell.method == "t2h" else 0.5)
        choice = Choice("class", [0.0, 1.5], {"a": 0.0, "b": 1.5}, [], [1.5, 1.5], mixture=found[1], single=found[0])
        results[cell] = replace(result, choice=choice)
    parts = {part.choice: part for part in summarise(plan, results)}
    single, mixture = ({row.method: row for row in parts[name].rows} for name in ("single", "mixture"))
    assert single["t2h"].w is mixture["t2h"].w is None
    assert single["t2h"].entries[0].spread.mean == pytest.approx(32.5 / 3 + 1)
    assert mixture["t2h"].entries[0].difference.mean == pytest.approx((32.5 - 36) / 3 - 2.5)
    gains = {gain.method: gain for gain in parts["mixture"].gains}
    assert parts["single"].gains == ()
    assert list(gains) == ["cm", "ddpm", "t2h"]
    assert (gains["t2h"].own.mean, gains["t2h"].own.n) == (pytest.approx(-3), 3)
    assert gains["ddpm"].own.mean == gains["ddpm"].baseline.mean == pytest.approx(-0.5)
    assert gains["t2h"].baseline.mean == pytest.approx((36 - 32.5) / 3 - 0.5)
    text = written(plan, list(parts.values()), "text")
    assert "with a w for each class, chosen on one half of the images" in text
    assert "FID minus that of the method with one w, paired difference" in text


def test_ranks_and_their_agreement():
    part, _ = rows("1.5")
    assert part.ranks.by_method == {"ddpm": (2, 1, 2), "t2h": (1, 2, 1), "cm": (3, 3, 3)}
    assert part.ranks.tau == pytest.approx((1 / 3 + 1 + 1 / 3) / 3)  # one swapped pair of three: (2 - 1) / 3
    assert part.ranks.lowest == pytest.approx(1 / 3)


@pytest.mark.parametrize("seeds", [1, 2])
def test_too_few_seeds_say_so(seeds):
    part, by_method = rows("1.5", seeds)
    fid = by_method["t2h"].entries[0]
    assert fid.difference.interval is None
    assert "too few seeds" in difference_text(fid)
    assert any(f"too few seeds for an interval ({seeds}; 3 are needed)" in remark for remark in part.remarks)
    assert (part.ranks.tau is None) == (seeds == 1)
    assert (fid.spread.std is None) == (seeds == 1)


def test_a_missing_cell_leaves_its_pair_out_and_is_named():
    plan, results = made()
    gone = next(cell for cell in results if cell.method == "t2h" and cell.seed == 2)
    del results[gone]
    part = summarise(plan, results)[0]
    row = next(row for row in part.rows if row.method == "t2h")
    assert row.seeds == (0, 1)
    assert row.entries[0].difference.n == 2
    assert row.entries[0].difference.mean == pytest.approx(-0.25)
    assert part.ranks.seeds == (0, 1)
    assert any("too few seeds for an interval (2; 3 are needed): t2h" in remark for remark in part.remarks)
    part = summarise(plan, {cell: r for cell, r in results.items() if cell.method != "cm"})[0]
    assert any("no result yet: cm" in remark for remark in part.remarks)


def test_results_that_were_measured_otherwise_are_named():
    plan, results = made()
    cell, result = next(reversed(results.items()))
    results[cell] = replace(result, protocol={"labels": "random"})
    assert any("not measured alike (labels)" in remark for remark in summarise(plan, results)[0].remarks)


def test_texts():
    plan, results = made()
    parts = summarise(plan, results)
    text = written(plan, parts, "text")
    assert "10.83 ± 1.76" in text
    assert "-1.17 [-5.53, +3.20]" in text
    assert "Kendall's τ between seeds: 0.56 on average, 0.33 at least" in text
    assert "8.39" in text
    assert "as printed in A, 2020" in text
    markdown = written(plan, parts, "markdown")
    assert "| t2h | 1.5 | 3 | 10.83 ± 1.76 |" in markdown
    latex = written(plan, parts, "latex")
    assert r"10.83 $\pm$ 1.76" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") == 7
    found = list(csv.DictReader(io.StringIO(written(plan, parts, "csv"))))
    line = next(r for r in found if (r["point"], r["method"], r["metric"], r["group"]) == ("1.5", "t2h", "fid", ""))
    assert float(line["difference"]) == pytest.approx(-3.5 / 3)
    assert [r["source"] for r in found if r["point"] == "published"] == ["A, 2020", "A, 2020"]
    ours = [line for line in text.splitlines() if line.startswith("t2h minus ddpm")]
    assert ours[0].split()[-2:] == ["-1.17", "-2.3"]


def test_shares_of_transferred_targets():
    edges = (0.0, 100.0, 200.0, 300.0)
    transfer = Transfer("d-0.1", "t2h", edges, (10.0, 20.0, 0.0), (1.0, 2.0, 0.0), (0.0, 6.0, 0.0))
    assert transfer.middles == (50.0, 150.0, 250.0)
    assert transfer.by_t(transfer.across) == (0.0, 0.3, None)
    assert transfer.share(transfer.within) == pytest.approx(0.1)
    assert transfer.share(transfer.across) == pytest.approx(0.2)
    assert transfer.share(transfer.across, 100.0, 200.0) == pytest.approx(0.3)
    assert np.isnan(transfer.share(transfer.across, 200.0, 300.0))
    plan, results = made()
    parts = summarise(plan, results, [transfer, replace(transfer, data="other")])
    assert [part.transfers for part in parts] == [(transfer,), ()]
    text = written(plan, parts, "text")
    assert text.count("share of targets that were another image") == 1
    shown = [line for line in text.splitlines() if line.startswith("t2h ") and "%" in line]
    assert [line.split() for line in shown] == [["t2h", "10.0%", "20.0%", "0.0%", "30.0%", "-"]]


def test_counts_of_trainings_add_up_and_damaged_ones_are_none():
    one = {"t_edges": [0, 500, 1000], "total": [4, 6], "within_class": [1, 0], "across_class": [0.5, 3]}
    both = Transfer.of([one, one | {"total": [1, 2]}], "d", "t2h")
    assert both == Transfer("d", "t2h", (0.0, 500.0, 1000.0), (5.0, 8.0), (2.0, 0.0), (1.0, 6.0))
    lacking = {key: value for key, value in one.items() if key != "total"}
    bad = [None, 3, "t", [], lacking, one | {"total": [4]}, one | {"total": [4, np.nan]}, one | {"t_edges": [0]}]
    assert [Transfer.of(counts) for counts in ([], *([each] for each in bad))] == [None] * 9
    assert Transfer.of([one, one | {"t_edges": [0, 400, 1000]}]) is None


def test_a_best_w_at_the_end_of_the_curve_is_told():
    at_1_5, best = summarise(*made())
    told = [remark for remark in best.remarks if "beyond it" in remark]
    assert told == ["the best w is the largest of the curve, so a better one may lie beyond it: cm, ddpm"]
    assert not any("beyond it" in remark for remark in at_1_5.remarks)


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
            points = tuple(map(PAGES["point"], cell["points"]))
            choice = PAGES["choice"](cell.get("choice"))
            methods[cell["method"]][cell["seed"]] = Result(cell["method"], points, notes=notes, choice=choice)
    part = make_part(old["data"], old["choice"], methods, content["plan"]["baseline"])
    return replace(part, transfers=tuple(map(_transfer, old["transfers"])))


def _transfer(entry: Mapping[str, Any]) -> Transfer:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Transfer(**fields)


def test_a_benchmark_file_gives_its_tables_again():
    plan, results = made()
    parts = summarise(plan, results, [Transfer("d-0.1", "t2h", (0.0, 1.0), (9.0,), (1.0,), (2.0,))])
    cells = [
        {
            "data": cell.data,
            "method": cell.method,
            "seed": cell.seed,
            "points": [{"w": p.w} | {m.title: m.value(p) for m in measures([p])} for p in result.points],
        }
        for cell, result in results.items()
    ]
    content = {"plan": {"methods": plan.methods, "baseline": plan.baseline}, "cells": cells, "tables": as_json(parts)}
    assert recompute(json.loads(json.dumps(content))) == parts


def six_digits(content):
    """As JSON has it; versions of NumPy and SciPy differ in the last digits."""
    return json.loads(json.dumps(content), parse_float=lambda digits: f"{float(digits):.6g}")


@pytest.mark.parametrize("name", ["digits-long", "cifar10-lt-cpu", "w-digits", "w-fashion"])
def test_the_published_tables_follow_from_their_cells(name):
    """And no interval in them has zero width."""
    content = json.loads((DOCS / f"{name}.json").read_text("utf-8"))
    assert six_digits(as_json(recompute(content))) == six_digits(content["tables"])
    of_w = name.startswith("w-")
    text = (DOCS.parent / ("w-per-class.md" if of_w else "results.md")).read_text("utf-8")
    for part in recompute(content):
        for gain in part.gains if of_w else ():
            assert f"| `{gain.method}` | {gain.own.n} |" in text
            assert f" | {gain.own.text(2)} |" in text
        for row in part.rows:
            fid = row.find(Measure("fid"))
            if part.choice in ("1.5", "best") and len(row.seeds) >= ENOUGH and not of_w:
                assert f"{spread_text(fid)} | {difference_text(fid)} |" in text
            assert (
                fid.difference is None
                or fid.difference.interval is None
                or fid.difference.interval[0] < fid.difference.interval[1]
            )
