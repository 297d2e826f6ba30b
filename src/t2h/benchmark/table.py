"""What the results of a benchmark say: mean ± standard deviation, paired differences, and how stable ranks are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import kendalltau, rankdata

from t2h.benchmark.plan import Cell, Plan
from t2h.results.comparable import differing
from t2h.results.compare import Measure, measured, point_at
from t2h.results.metrics import GROUPS, main_keys
from t2h.results.point import Point
from t2h.results.result import Result
from t2h.results.statistics import ENOUGH, Difference, Spread, difference_by_seed, mean_std
from t2h.results.transfer import Transfer

Results = Mapping[Cell, Result]
Seeds = dict[int, Result]
"""The results of one method, by seed."""


@dataclass(frozen=True)
class Entry:
    """One metric of one method: over the seeds that have it, and against the baseline over the seeds that both have."""

    measure: Measure
    spread: Spread | None
    difference: Difference | None


@dataclass(frozen=True)
class Row:
    """A method at one w, or at those that halves of the images chose."""

    method: str
    w: float | None
    seeds: tuple[int, ...]
    entries: tuple[Entry, ...]

    def find(self, measure: Measure) -> Entry:
        """The entry of a metric, empty where there is none."""
        return next((entry for entry in self.entries if entry.measure == measure), Entry(measure, None, None))


@dataclass(frozen=True)
class Ranks:
    """Ranks of methods by overall FID, 1 the best, with each of the seeds that all ranked methods have.

    `tau` is Kendall's τ-b between the orders of two seeds, mean over the pairs, and `lowest` that of the pair that
    agrees least; None with fewer than two seeds.
    """

    seeds: tuple[int, ...]
    by_method: dict[str, tuple[float, ...]]
    tau: float | None
    lowest: float | None


@dataclass(frozen=True)
class Gain:
    """FID with a w for each class minus FID with one w, both on images that did not choose them, paired by seed.

    Attributes:
        own: the method with a w for each class, minus itself with one.
        baseline: the baseline with a w for each class, minus this method with one.
    """

    method: str
    own: Difference | None
    baseline: Difference | None


@dataclass(frozen=True)
class Part:
    """The rows of one data set at one choice of w: "1.5", "best", "single" or "mixture"."""

    data: str
    choice: str
    rows: tuple[Row, ...]
    ranks: Ranks
    remarks: tuple[str, ...]
    transfers: tuple[Transfer, ...] = ()
    gains: tuple[Gain, ...] = ()
    """Of the choice "mixture"."""


def summarise(
    plan: Plan,
    results: Results,
    transfers: Sequence[Transfer] = (),
    choices: Sequence[str] = ("1.5", "best", "single", "mixture"),
) -> list[Part]:
    """The tables of a benchmark, a part for each data set and choice of w; methods without a result are left out.

    "best" is, for each method, the w with the lowest mean FID over its seeds: one w for all seeds. It is chosen on the
    same samples that it is reported on, so it flatters every method, and one with a jagged curve the most. "single" and
    "mixture" are the best w and the w of each class that one half of a seed's images chose, judged on the other half;
    they are there where the plan has `w_per`. Transfers do not depend on w; they stand in the data set's first part.
    """
    parts: list[Part] = []
    for data in dict.fromkeys(cell.data for cell in results):
        methods = {
            method: {cell.seed: r for cell, r in results.items() if (cell.data, cell.method) == (data, method)}
            for method in plan.methods
        }
        own = [make_part(data, choice, methods, plan.baseline) for choice in choices]
        own = [part for part in own if part.rows]
        there = tuple(transfer for transfer in transfers if transfer.data == data)
        parts += [replace(part, transfers=there if part is own[0] else ()) for part in own]
    return parts


def make_part(data: str, choice: str, methods: Mapping[str, Seeds], baseline: str) -> Part:
    """The part of one data set at one choice of w, from the results of each method by seed."""
    every = {method: _points(choice, results) for method, results in methods.items()}
    chosen = {method: (w, found) for method, (w, found) in every.items() if found}
    shown = measures([point for _, points in chosen.values() for point in points.values()])
    base = chosen.get(baseline, (0.0, {}))[1]
    rows = tuple(
        Row(method, w, tuple(points), tuple(_entry(m, points, base if method != baseline else {}) for m in shown))
        for method, (w, points) in chosen.items()
    )
    gains = _gains(methods, baseline) if choice == "mixture" else ()
    return Part(data, choice, rows, _ranks(chosen), tuple(_remarks(methods, rows, choice)), gains=gains)


def _gains(methods: Mapping[str, Seeds], baseline: str) -> tuple[Gain, ...]:
    def fids(choice: str) -> dict[str, dict[int, float]]:
        found = {method: _values(Measure("fid"), _points(choice, seeds)[1]) for method, seeds in methods.items()}
        return {method: values for method, values in found.items() if values}

    one, each = fids("single"), fids("mixture")
    plus = each.get(baseline, {})
    return tuple(Gain(m, difference_by_seed(one[m], each[m]), difference_by_seed(one[m], plus)) for m in each)


def _points(choice: str, results: Seeds) -> tuple[float | None, dict[int, Point]]:
    """The w of a choice, and the point of each seed that has one."""
    w: float | None = None
    points: dict[int, Point | None] = {}
    if choice in ("single", "mixture"):
        points = {seed: getattr(result.choice, choice, None) for seed, result in results.items()}
    else:
        fids = {w: sum(values) for w, values in fids_by_w(results).items() if len(values) == len(results)}
        w = min(fids, key=lambda w: fids[w], default=None) if choice == "best" else float(choice)
        points = {} if w is None else {seed: point_at(result, str(w)) for seed, result in results.items()}
    return w, {seed: point for seed, point in sorted(points.items()) if point is not None}


def fids_by_w(results: Seeds) -> dict[float, list[float]]:
    """The FID of each seed that has one, by w from the smallest to the largest."""
    points = [(point.w, point.get("fid").value) for result in results.values() for point in result.points]
    found = [(w, value) for w, value in points if w is not None and value is not None]
    return {w: [value for other, value in found if other == w] for w in sorted({w for w, _ in found})}


def measures(points: Sequence[Point]) -> tuple[Measure, ...]:
    """The main metrics that are there, each overall and by group."""
    keys = main_keys(key for point in points for key in point.metrics)
    return measured([Measure(key, group) for key in keys for group in (None, *GROUPS)], points)


def _entry(measure: Measure, points: Mapping[int, Point], base: Mapping[int, Point]) -> Entry:
    own = _values(measure, points)
    difference = difference_by_seed(_values(measure, base), own)
    return Entry(measure, mean_std(list(own.values())) if own else None, difference)


def _values(measure: Measure, points: Mapping[int, Point]) -> dict[int, float]:
    values = {seed: measure.value(point) for seed, point in points.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def _ranks(chosen: Mapping[str, tuple[float | None, Mapping[int, Point]]]) -> Ranks:
    values = {method: _values(Measure("fid"), points) for method, (_, points) in chosen.items()}
    values = {method: found for method, found in values.items() if found}
    seeds = sorted(set.intersection(*map(set, values.values()))) if values else []
    table = np.array([[found[seed] for seed in seeds] for found in values.values()]).reshape(len(values), len(seeds))
    ranks = rankdata(table, axis=0) if table.size else table
    taus = [float(kendalltau(a, b).statistic) for a, b in itertools.combinations(table.T if len(table) > 1 else (), 2)]
    taus = [tau for tau in taus if np.isfinite(tau)]
    return Ranks(
        tuple(seeds),
        {method: tuple(map(float, row)) for method, row in zip(values, ranks, strict=True)},
        float(np.mean(taus)) if taus else None,
        min(taus, default=None),
    )


def _remarks(methods: Mapping[str, Seeds], rows: Sequence[Row], choice: str) -> list[str]:
    remarks = []
    if few := [row for row in rows if len(row.seeds) < ENOUGH]:
        fewest, names = min(len(row.seeds) for row in few), ", ".join(row.method for row in few)
        remarks.append(f"too few seeds for an interval ({fewest}; {ENOUGH} are needed): {names}")
    if lacking := [method for method in methods if method not in {row.method for row in rows}]:
        remarks.append(f"no result yet: {', '.join(lacking)}")
    results = [result for seeds in methods.values() for result in seeds.values()]
    if factors := differing(results):
        remarks.append(f"the results were not measured alike ({', '.join(sorted(factors))}): they do not compare")
    notes = dict.fromkeys(note for result in results[:1] for note in result.notes)
    remarks += [note for note in notes if all(note in result.notes for result in results)]
    curves = {method: list(fids_by_w(seeds)) for method, seeds in methods.items()}
    at_end = [row.method for row in rows if len(curves[row.method]) > 1 and row.w == curves[row.method][-1]]
    if choice == "best" and at_end:
        remarks.append(
            f"the best w is the largest of the curve, so a better one may lie beyond it: {', '.join(at_end)}"
        )
    return remarks


def as_json(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The tables as plain values, with all digits."""

    def plain(row: Row) -> dict[str, Any]:
        metrics = [
            {
                "metric": entry.measure.key,
                "group": entry.measure.group,
                **(asdict(entry.spread) if entry.spread else {"n": 0, "mean": None, "std": None}),
                "difference": entry.difference and asdict(entry.difference),
            }
            for entry in row.entries
        ]
        return {"method": row.method, "w": row.w, "seeds": row.seeds, "metrics": metrics}

    return [asdict(part) | {"rows": [plain(row) for row in part.rows]} for part in parts]
