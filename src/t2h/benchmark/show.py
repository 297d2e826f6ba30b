"""The tables of a benchmark for the terminal, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from t2h.benchmark.plan import Plan
from t2h.benchmark.table import GROUPS, Entry, Part
from t2h.results.compare import DECIMALS, Column, align


@dataclass(frozen=True)
class Grid:
    """A titled table of texts: the first row is its head, the first column names the row; remarks below."""

    title: str
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()


def grids(plan: Plan, parts: Sequence[Part]) -> list[Grid]:
    """FID overall and by group, its difference to the baseline, other figures, and ranks; then what papers print."""
    found = []
    for part in parts:
        at = "at each method's best w" if part.choice == "best" else f"at w = {part.choice}"
        paired = f"paired difference to {plan.baseline} [95 % interval]"
        by_group = [Column("fid", group) for group in (None, *GROUPS)]
        names = dict.fromkeys(entry.column for row in part.rows for entry in row.entries)
        others = [column for column in names if column.group is None and column.figure != "fid"]
        found += [
            Grid(f"{part.data}, {at}: mean ± standard deviation", _spreads(part, by_group), part.remarks),
            *([Grid(f"{part.data}, {at}: {paired}", _differences(plan, part))] if len(part.rows) > 1 else []),
            *([Grid(f"{part.data}, {at}: other figures", _spreads(part, others))] if others else []),
            _ranks(part, at),
            *([_transfers(part)] if part.transfers else []),
        ]
        if part.choice != "best":
            found += [_published(plan, part, k) for k, p in enumerate(plan.published) if p.data == part.data]
    return found


def _spreads(part: Part, columns: Sequence[Column]) -> tuple[tuple[str, ...], ...]:
    head = ("method", "w", "seeds", *(column.title for column in columns))
    body = [
        (row.method, f"{row.w:g}", str(len(row.seeds)), *(spread_text(_find(row.entries, c)) for c in columns))
        for row in part.rows
    ]
    return (head, *body)


def _differences(plan: Plan, part: Part) -> tuple[tuple[str, ...], ...]:
    columns = [Column("fid", group) for group in (None, *GROUPS)]
    body = [
        (row.method, f"{row.w:g}", *(difference_text(_find(row.entries, c)) for c in columns))
        for row in part.rows
        if row.method != plan.baseline
    ]
    return (("method", "w", *(column.title for column in columns)), *body)


def _ranks(part: Part, at: str) -> Grid:
    ranks = part.ranks
    head = ("method", *(f"seed {seed}" for seed in ranks.seeds), "mean rank")
    order = sorted(ranks.by_method.items(), key=lambda item: sum(item[1]))
    body = [(m, *(f"{r:g}" for r in found), f"{sum(found) / len(found):.2f}" if found else "") for m, found in order]
    if ranks.tau is None:
        remark = "too few seeds to say how stable the ranks are"
    else:
        remark = (
            f"Kendall's τ between seeds: {ranks.tau:.2f} on average, {ranks.lowest:.2f} at least "
            "(1: the same order; 0: unrelated)"
        )
    return Grid(f"{part.data}, {at}: rank by FID with each seed", (head, *body), (remark,))


_THIRDS = 3  # of the noise levels


def _transfers(part: Part) -> Grid:
    """The shares of targets that were another image, over all t and where noise is low, middling and high."""
    last = part.transfers[0].t_edges[-1]
    spans = [(last * i / _THIRDS, last * (i + 1) / _THIRDS) for i in range(_THIRDS)]
    head = [f"t = {low:.0f} ... {high - 1:.0f}" for low, high in spans]
    body = []
    for transfer in part.transfers:
        shares = [transfer.share(transfer.within), transfer.share(transfer.across)]
        shares += [transfer.share(transfer.across, *span) for span in spans]
        body.append((transfer.method, *("-" if math.isnan(share) else f"{share:.1%}" for share in shares)))
    remarks = (
        "by timestep: of another class",
        "the method's effect is in the targets of another class; where they are few, it trains as DDPM does",
    )
    rows = (("method", "of the same class", "of another class", *head), *body)
    return Grid(f"{part.data}: share of targets that were another image, all seeds", rows, remarks)


def _published(plan: Plan, part: Part, index: int) -> Grid:
    published = plan.published[index]
    column = Column(published.figure)
    entries = {row.method: _find(row.entries, column) for row in part.rows}
    ours = {method: spread_text(entry) for method, entry in entries.items()}
    ours |= {name: _minus(name, entries) for name in published.values if _MINUS in name}
    names = list(dict.fromkeys([*(m for m in plan.methods if m in published.values), *published.values]))
    body = [(name, ours.get(name, ""), f"{published.values[name]:g}") for name in names]
    remark = f"theirs: as printed in {published.source}" + (f" ({published.protocol})" if published.protocol else "")
    return Grid(
        f"{part.data}: {column.title.upper()} beside published numbers",
        (("method", f"ours, w = {part.choice}", "THEIRS, one seed"), *body),
        (remark, "another protocol and other images seen: only the order within a column says something"),
    )


_MINUS = " minus "


def _minus(name: str, entries: dict[str, Entry | None]) -> str:
    """Our own "t2h minus cbdm": the difference of the means."""
    a, b = (entries.get(method) for method in name.split(_MINUS))
    if a is None or b is None or a.spread is None or b.spread is None:
        return ""
    return f"{a.spread.mean - b.spread.mean:+.{DECIMALS.get(a.column.figure, 3)}f}"


def _find(entries: Sequence[Entry], column: Column) -> Entry | None:
    return next((entry for entry in entries if entry.column == column), None)


def spread_text(entry: Entry | None) -> str:
    """ "16.10 ± 0.32"."""
    if entry is None or entry.spread is None:
        return ""
    digits = DECIMALS.get(entry.column.figure, 3)
    std = "" if entry.spread.std is None else f" ± {entry.spread.std:.{digits}f}"
    return f"{entry.spread.mean:.{digits}f}{std}"


def difference_text(entry: Entry | None) -> str:
    """ "-1.20 [-2.10, -0.30]", or "-1.20 (too few seeds)"."""
    if entry is None or entry.difference is None:
        return ""
    digits = DECIMALS.get(entry.column.figure, 3)
    if entry.interval is None:
        return f"{entry.difference.mean:+.{digits}f} (too few seeds)"
    low, high = entry.interval
    return f"{entry.difference.mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def as_text(plan: Plan, parts: Sequence[Part]) -> str:
    """For the terminal."""
    blocks = ["\n".join([g.title, "", *align(g.rows), *(f"  {r}." for r in g.remarks)]) for g in grids(plan, parts)]
    return "\n\n".join(blocks)


def as_markdown(plan: Plan, parts: Sequence[Part]) -> str:
    """Markdown tables under headings."""
    blocks = []
    for grid in grids(plan, parts):
        head, *body = ([cell.replace("|", "\\|") for cell in row] for row in grid.rows)
        rule = ["---", *["---:"] * (len(head) - 1)]
        lines = [f"| {' | '.join(row)} |" for row in (head, rule, *body)]
        blocks.append("\n".join([f"### {grid.title}", "", *lines, "", *(f"- {remark}." for remark in grid.remarks)]))
    return "\n\n".join(block.rstrip() for block in blocks)


_LATEX = {"±": r"$\pm$", "τ": r"$\tau$", "\\": r"\textbackslash{}"} | {c: f"\\{c}" for c in "&%$#_{}"}


def as_latex(plan: Plan, parts: Sequence[Part]) -> str:
    """A tabular (booktabs) for each table, its title and remarks as comments."""

    def escape(text: str) -> str:
        text = "".join(_LATEX.get(c, c) for c in text)
        return f"{{{text}}}" if text.startswith("[") else text  # else \\ takes it for its option

    blocks = []
    for grid in grids(plan, parts):
        head, *body = (" & ".join(map(escape, row)) + r" \\" for row in grid.rows)
        lines = [f"% {grid.title}", f"\\begin{{tabular}}{{l{'r' * (len(grid.rows[0]) - 1)}}}", "\\toprule", head]
        lines += ["\\midrule", *body, "\\bottomrule", "\\end{tabular}", *(f"% {remark}" for remark in grid.remarks)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def as_csv(plan: Plan, parts: Sequence[Part]) -> str:
    """One line for each number, in full; published numbers have the source in the last column."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["data", "point", "method", "w", "figure", "group", "seeds", "mean", "std"]
    writer.writerow([*head, "pairs", "difference", "difference_std", "low", "high", "source"])
    for part in parts:
        for row in part.rows:
            for entry in row.entries:
                spread, difference = entry.spread, entry.difference
                first = [part.data, part.choice, row.method, row.w, entry.column.figure, entry.column.group]
                values = [0, None, None] if spread is None else [spread.n, spread.mean, spread.std]
                paired = [0, None, None] if difference is None else [difference.n, difference.mean, difference.std]
                writer.writerow([*first, *values, *paired, *(entry.interval or (None, None)), "this benchmark"])
    for published in plan.published:
        for method, value in published.values.items():
            row_of = [published.data, "published", method, None, published.figure, None, 1, value, None]
            writer.writerow([*row_of, 0, None, None, None, None, published.source])
    return out.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[Plan, Sequence[Part]], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}
