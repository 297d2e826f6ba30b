"""What the results of a benchmark say: mean ± standard deviation, paired differences, and how stable ranks are."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import kendalltau, rankdata

from t2h.benchmark.plan import Cell, Plan
from t2h.benchmark.transfer import Transfer
from t2h.metrics.bootstrap import PairedDifference, Spread, mean_std, paired_bootstrap
from t2h.results.compare import Column, differing_factors, pick
from t2h.results.result import Result

Results = Mapping[Cell, Result]

ENOUGH = 3
"""Seeds that a bootstrap interval of a difference needs here; with fewer the table says so."""
GROUPS = ("head", "medium", "tail")
_OTHERS = ("kid", "precision_k5", "recall_k5", "coverage_k5", "accuracy", "memorisation", "is")


@dataclass(frozen=True)
class Entry:
    """One figure of one method: over the seeds that have it, and against the baseline over the seeds that both have."""

    column: Column
    spread: Spread | None
    difference: PairedDifference | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the difference; None with fewer than `ENOUGH` pairs."""
        if self.difference is None or self.difference.n < ENOUGH:
            return None
        return self.difference.interval.low, self.difference.interval.high


@dataclass(frozen=True)
class Row:
    """A method at one w."""

    method: str
    w: float
    seeds: tuple[int, ...]
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Ranks:
    """Ranks by overall FID, 1 the best, over the seeds that all ranked methods have.

    Attributes:
        by_method: the rank of each method with each seed.
        tau: Kendall's τ-b between the orders of two seeds, mean over the pairs; None with fewer than two seeds.
        lowest: the τ of the pair that agrees least.
    """

    seeds: tuple[int, ...]
    by_method: dict[str, tuple[float, ...]]
    tau: float | None
    lowest: float | None


@dataclass(frozen=True)
class Part:
    """The rows of one data set at one choice of w, "1.5" or "best"."""

    data: str
    choice: str
    rows: tuple[Row, ...]
    ranks: Ranks
    remarks: tuple[str, ...]
    transfers: tuple[Transfer, ...] = ()


def summarise(
    plan: Plan, results: Results, transfers: Sequence[Transfer] = (), choices: Sequence[str] = ("1.5", "best")
) -> list[Part]:
    """The tables of a benchmark, a part for each data set and choice of w; methods without a result are left out.

    "best" is, for each method, the w with the lowest mean FID over its seeds: one w for all seeds. It is chosen on the
    same samples that it is reported on, so it flatters every method, and one with a jagged curve the most. Transfers
    do not depend on w; they stand in the first part of their data set.
    """
    parts = []
    for data in dict.fromkeys(cell.data for cell in results):
        own = tuple(transfer for transfer in transfers if transfer.data == data)
        for choice in choices:
            part = _part(plan, data, choice, {c: r for c, r in results.items() if c.data == data})
            if part.rows:
                parts.append(replace(part, transfers=own))
                own = ()
    return parts


def _part(plan: Plan, data: str, choice: str, results: Results) -> Part:
    picked: dict[str, tuple[float, dict[int, Any]]] = {}
    for method in plan.methods:
        own = {cell.seed: result for cell, result in results.items() if cell.method == method}
        w = _best_w(own) if choice == "best" else float(choice)
        points = {} if w is None else {seed: pick(own[seed], str(w)) for seed in sorted(own)}
        points = {seed: point for seed, point in points.items() if point is not None}
        if w is not None and points:
            picked[method] = w, points
    shown = columns([point for _, points in picked.values() for point in points.values()])
    base = picked.get(plan.baseline, (0.0, {}))[1]
    rows = tuple(
        Row(method, w, tuple(points), tuple(_entry(c, points, base if method != plan.baseline else {}) for c in shown))
        for method, (w, points) in picked.items()
    )
    remarks = _remarks(plan, results, rows)
    if choice == "best" and (at_end := _at_the_end(results, rows)):
        remarks.append(
            f"the best w is the largest of the curve, so a better one may lie beyond it: {', '.join(at_end)}"
        )
    return Part(data, choice, rows, _ranks(picked), tuple(remarks))


def _at_the_end(results: Results, rows: Sequence[Row]) -> list[str]:
    """The methods whose w is the largest of a curve of several."""
    found = []
    for row in rows:
        drawn = {point["w"] for cell, r in results.items() if cell.method == row.method for point in r["points"]}
        if len(drawn) > 1 and row.w == max(drawn):
            found.append(row.method)
    return found


def _best_w(results: Mapping[int, Result]) -> float | None:
    """The w with the lowest FID, mean over all seeds, among the weights that every seed has."""
    fids: dict[float, list[float]] = {}
    for result in results.values():
        for point in result["points"]:
            value = Column("fid").value(point)
            if value is not None:
                fids.setdefault(point["w"], []).append(value)
    means = {w: float(np.mean(values)) for w, values in fids.items() if len(values) == len(results)}
    return min(means, key=lambda w: means[w], default=None)


def columns(points: Sequence[dict[str, Any]]) -> list[Column]:
    """FID overall and by group, then the other figures that are there, overall and by group."""
    wanted = [Column(figure, group) for figure in ("fid", *_OTHERS) for group in (None, *GROUPS)]
    return [column for column in wanted if any(column.value(point) is not None for point in points)]


def _entry(column: Column, points: dict[int, Any], base: dict[int, Any]) -> Entry:
    own, theirs = _values(column, points), _values(column, base)
    both = [seed for seed in own if seed in theirs]
    difference = paired_bootstrap([theirs[s] for s in both], [own[s] for s in both]) if both else None
    return Entry(column, mean_std(list(own.values())) if own else None, difference)


def _values(column: Column, points: dict[int, Any]) -> dict[int, float]:
    values = {seed: column.value(point) for seed, point in points.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def _ranks(picked: dict[str, tuple[float, dict[int, Any]]]) -> Ranks:
    values = {method: _values(Column("fid"), points) for method, (_, points) in picked.items()}
    values = {method: found for method, found in values.items() if found}
    seeds = sorted(set.intersection(*map(set, values.values()))) if values else []
    table = np.array([[found[seed] for seed in seeds] for found in values.values()]).reshape(len(values), len(seeds))
    ranks = np.stack([rankdata(column) for column in table.T], 1) if seeds else np.empty((len(values), 0))
    taus = [
        float(kendalltau(table[:, i], table[:, j]).statistic) for i, j in itertools.combinations(range(len(seeds)), 2)
    ]
    taus = [tau for tau in taus if np.isfinite(tau)]
    return Ranks(
        tuple(seeds),
        {method: tuple(map(float, row)) for method, row in zip(values, ranks, strict=True)},
        float(np.mean(taus)) if taus else None,
        min(taus, default=None),
    )


def _remarks(plan: Plan, results: Results, rows: Sequence[Row]) -> list[str]:
    remarks = []
    fewest = min((len(row.seeds) for row in rows), default=0)
    if fewest < ENOUGH:
        few = [row.method for row in rows if len(row.seeds) < ENOUGH]
        remarks.append(f"too few seeds for an interval ({fewest}; {ENOUGH} are needed): {', '.join(few)}")
    elif fewest < 6:
        remarks.append(
            f"{fewest} seeds: the bootstrap interval is about the range of the {fewest} paired differences, "
            "narrower than a true 95 % interval"
        )
    if lacking := [m for m in plan.methods if m not in {row.method for row in rows}]:
        remarks.append(f"no result yet: {', '.join(lacking)}")
    first = next(iter(results.values()), None)
    factors = {name for result in results.values() for name in differing_factors(first, result)} if first else set()
    if factors:
        remarks.append(f"the results were not measured alike ({', '.join(sorted(factors))}): they do not compare")
    shared = [note for note in (first or {"notes": []})["notes"] if all(note in r["notes"] for r in results.values())]
    return remarks + shared


def as_json(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """The tables as plain values, with all digits."""
    out = []
    for part in parts:
        rows = [
            {
                "method": row.method,
                "w": row.w,
                "seeds": list(row.seeds),
                "figures": [
                    {
                        "figure": entry.column.figure,
                        "group": entry.column.group,
                        **(asdict(entry.spread) if entry.spread else {"n": 0, "mean": None, "std": None}),
                        "difference": None
                        if entry.difference is None
                        else {
                            "n": entry.difference.n,
                            "mean": entry.difference.mean,
                            "std": entry.difference.std,
                            "interval": entry.interval,
                        },
                    }
                    for entry in row.entries
                ],
            }
            for row in part.rows
        ]
        out.append(
            {
                "data": part.data,
                "choice": part.choice,
                "rows": rows,
                "ranks": asdict(part.ranks),
                "remarks": list(part.remarks),
                "transfers": [asdict(transfer) for transfer in part.transfers],
            }
        )
    return out
