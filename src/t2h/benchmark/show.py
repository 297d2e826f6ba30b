"""The tables of a benchmark, in the order in which they are read, and one of every number for CSV."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple

from t2h.benchmark.plan import Plan, Published
from t2h.benchmark.table import Entry, Part, Row
from t2h.results.compare import Measure
from t2h.results.metrics import GROUPS, metric_of
from t2h.results.table import FORMATS, Table, table
from t2h.results.table import written as written_as

_FID = [Measure("fid", group) for group in (None, *GROUPS)]
_THIRDS = 3  # of the noise levels
_MINUS = " minus "
_CHOICES = {
    "best": "at each method's best w",
    "single": "at the best w of one half of the images, on the other half",
    "mixture": "with a w for each class, chosen on one half of the images, on the other half",
}


def tables(plan: Plan, parts: Sequence[Part]) -> list[Table]:
    """FID overall and by group, its difference to the baseline, other metrics, and ranks; then what papers print."""
    found = []
    for part in parts:
        title = f"{part.data}, {_CHOICES.get(part.choice, f'at w = {part.choice}')}"
        there = dict.fromkeys(entry.measure for row in part.rows for entry in row.entries)
        others = [measure for measure in there if measure.group is None and measure.key != "fid"]
        spread, difference = f"{title}: mean ± standard deviation", f"{title}: paired difference to {plan.baseline}"
        found.append(_by_method(part.rows, _FID, spread_text, spread, part.remarks))
        if rivals := [row for row in part.rows if row.method != plan.baseline]:
            found.append(_by_method(rivals, _FID, difference_text, f"{difference} [95 % interval]"))
        if others:
            found.append(_by_method(part.rows, others, spread_text, f"{title}: other metrics"))
        found.append(_ranks(part, f"{title}: rank by FID with each seed"))
        if part.gains:
            found.append(_gains(plan, part))
        if part.transfers:
            found.append(_transfers(part))
        if part.choice not in _CHOICES:
            found += [_published(plan, part, p) for p in plan.published if p.data == part.data]
    return found


def _by_method(
    rows: Sequence[Row],
    measures: Sequence[Measure],
    text: Callable[[Entry], str],
    title: str,
    remarks: Sequence[str] = (),
) -> Table:
    ws = ["" if row.w is None else f"{row.w:g}" for row in rows]
    cells = [
        [row.method, w, len(row.seeds), *(text(row.find(m)) for m in measures)] for w, row in zip(ws, rows, strict=True)
    ]
    return table(["method", "w", "seeds", *(measure.title for measure in measures)], cells, title, remarks)


def _ranks(part: Part, title: str) -> Table:
    ranks = part.ranks
    order = sorted(ranks.by_method.items(), key=lambda item: sum(item[1]))
    rows = [[m, *(f"{r:g}" for r in found), f"{sum(found) / len(found):.2f}" if found else ""] for m, found in order]
    if ranks.tau is None:
        remark = "too few seeds to say how stable the ranks are"
    else:
        remark = (
            f"Kendall's τ between seeds: {ranks.tau:.2f} on average, {ranks.lowest:.2f} at least "
            "(1: the same order; 0: unrelated)"
        )
    return table(["method", *(f"seed {seed}" for seed in ranks.seeds), "mean rank"], rows, title, [remark])


def _gains(plan: Plan, part: Part) -> Table:
    """What a w for each class is worth beside one w, and beside the other methods."""
    head = ["method", "with a w for each class", f"{plan.baseline} with a w for each class"]
    rows = [
        [gain.method, *(difference_text(Entry(_FID[0], None, each)) for each in (gain.own, gain.baseline))]
        for gain in part.gains
    ]
    title = f"{part.data}: FID minus that of the method with one w, paired difference [95 % interval]"
    return table(head, rows, title, ["both are judged on images that did not choose their w"])


def _transfers(part: Part) -> Table:
    """The shares of targets that were another image, over all t and where noise is low, middling and high."""
    last = part.transfers[0].t_edges[-1]
    spans = [(last * i / _THIRDS, last * (i + 1) / _THIRDS) for i in range(_THIRDS)]
    head = ["method", "of the same class", "of another class", *(f"t = {a:.0f} ... {b - 1:.0f}" for a, b in spans)]
    rows = []
    for transfer in part.transfers:
        shares = [transfer.share(transfer.within), transfer.share(transfer.across)]
        shares += [transfer.share(transfer.across, *span) for span in spans]
        rows.append([transfer.method, *("-" if math.isnan(share) else f"{share:.1%}" for share in shares)])
    remarks = (
        "by timestep: of another class",
        "the method's effect is in the targets of another class; where they are few, it trains as DDPM does",
    )
    return table(head, rows, f"{part.data}: share of targets that were another image, all seeds", remarks)


def _published(plan: Plan, part: Part, published: Published) -> Table:
    measure = Measure(published.metric)
    entries = {row.method: row.find(measure) for row in part.rows}
    ours = {method: spread_text(entry) for method, entry in entries.items()}
    ours |= {name: _minus(name, entries) for name in published.values if _MINUS in name}
    names = dict.fromkeys([*(m for m in plan.methods if m in published.values), *published.values])
    rows = [[name, ours.get(name, ""), f"{published.values[name]:g}"] for name in names]
    remark = f"theirs: as printed in {published.source}" + (f" ({published.protocol})" if published.protocol else "")
    return table(
        ["method", f"ours, w = {part.choice}", "THEIRS, one seed"],
        rows,
        f"{part.data}: {measure.title.upper()} beside published numbers",
        (remark, "another protocol and other images seen: only the order within a column says something"),
    )


def _minus(name: str, entries: dict[str, Entry]) -> str:
    """Our own "t2h minus cbdm": the difference of the means."""
    a, b = (entries.get(method) for method in name.split(_MINUS))
    if a is None or b is None or a.spread is None or b.spread is None:
        return ""
    return metric_of(a.measure.key).number(a.spread.mean - b.spread.mean, signed=True)


def spread_text(entry: Entry) -> str:
    """ "16.10 ± 0.32"."""
    return "" if entry.spread is None else entry.spread.text(metric_of(entry.measure.key).decimals)


def difference_text(entry: Entry) -> str:
    """ "-1.20 [-2.10, -0.30]", or "-1.20 (too few seeds)"."""
    return "" if entry.difference is None else entry.difference.text(metric_of(entry.measure.key).decimals)


def written(plan: Plan, parts: Sequence[Part], form: str) -> str:
    """The tables in one of `FORMATS`."""
    if form in ("csv", "json"):
        return FORMATS[form](every_number(plan, parts))
    return written_as(tables(plan, parts), form)


def every_number(plan: Plan, parts: Sequence[Part]) -> Table:
    """A row for each number, in full; published numbers have their source in the last column."""
    head = ["data", "point", "method", "w", "metric", "group", "seeds", "mean", "std"]
    head += ["pairs", "difference", "difference_std", "low", "high", "source"]
    rows: list[list[object]] = []
    for part in parts:
        for row in part.rows:
            for entry in row.entries:
                spread = astuple(entry.spread) if entry.spread else (0, None, None)
                *difference, interval = astuple(entry.difference) if entry.difference else (0, None, None, None)
                place = [part.data, part.choice, row.method, row.w, entry.measure.key, entry.measure.group]
                rows.append([*place, *spread, *difference, *(interval or (None, None)), "this benchmark"])
    for published in plan.published:
        for method, value in published.values.items():
            rows.append([published.data, "published", method, None, published.metric, None, 1, value, None])
            rows[-1] += [0, None, None, None, None, published.source]
    return table(head, rows)
