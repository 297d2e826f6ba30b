"""Results as tables: one alone, or several side by side with differences to a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from t2h.errors import UserError, check_known
from t2h.results.comparable import differing_factors, unknown_factors
from t2h.results.metrics import GROUPS, in_order, main_keys, metric_of
from t2h.results.point import Metrics, Point
from t2h.results.result import PAPER_W, Result
from t2h.results.table import Cell, Table, table


@dataclass(frozen=True)
class Measure:
    """One metric, overall or of one group."""

    key: str
    group: str | None = None

    @property
    def title(self) -> str:
        """As the table's head shows it: "fid tail"."""
        return self.key if self.group is None else f"{self.key} {self.group}"

    def value(self, point: Point | None) -> float | None:
        """The number, or None where it is absent."""
        return None if point is None else point.get(self.key, self.group).value


def measured(wanted: Iterable[Measure], points: Sequence[Point]) -> tuple[Measure, ...]:
    """The wanted measures that some point has."""
    return tuple(measure for measure in wanted if any(measure.value(point) is not None for point in points))


def compare(
    results: Sequence[Result],
    ws: Sequence[str] = ("1.5", "best"),
    metrics: Sequence[str] = (),
    groups: Sequence[str] = GROUPS,
    baseline: str | None = None,
    anyway: bool = False,
) -> Table:
    """Results side by side, with their differences to the baseline in brackets; in CSV these have columns of their own.

    Args:
        results: read from result files.
        ws: which points of each: a guidance weight, or "best", the point with the lowest overall FID.
        metrics: the columns, by default the main ones; absent ones are left out. The first is also given by group.
        groups: of the first metric.
        baseline: the name of the result that differences refer to; None takes the first.
        anyway: show results of different protocols together, marked.

    Raises:
        UserError: if there is no result or baseline of that name, or protocols differ.
    """
    if not results:
        raise UserError("there is no result to compare; give one result file or more.")
    names = [result.name for result in results]
    check_known("baseline", [baseline or names[0]], names)
    base = results[names.index(baseline or names[0])]
    unlike = [_unlike(result, base) for result in results]
    if not anyway and any(unlike):
        raise UserError(f"{next(filter(None, unlike))}. --anyway shows them, marked.")
    there = [point for result in results for point in result.points]
    check_known("metric of these results", metrics, dict.fromkeys(key for point in there for key in point.metrics))
    check_known("group", groups, dict.fromkeys([*GROUPS, *(name for point in there for name in point.groups)]))
    chosen = [(choice, i, point) for choice in ws for i, r in enumerate(results) if (point := point_at(r, choice))]
    if not chosen:
        raise UserError(f"no result has a point at w = {' or '.join(ws)}; give another --w.")
    points = [point for _, _, point in chosen]
    keys = metrics or main_keys(key for point in points for key in point.metrics)
    measures = measured([Measure(k, g) for k in keys for g in (None, *(groups if k == keys[0] else ()))], points)
    head = [Cell("name", ("name",)), Cell("w", ("point", "w")), Cell("images", ("num_images", "comparable"))]
    head += [Cell(m.title, (m.title, f"{m.title} difference")) for m in measures]
    rows, seen = [], set()
    for choice, i, point in chosen:
        w, n = point.w, point.num_images
        if (i, w) in seen:
            continue
        seen.add((i, w))
        against = None if results[i] is base else point_at(base, choice)
        shown = "" if w is None else f"{w:g}{' (best)' if choice == 'best' else ''}"
        row = [
            Cell(f"{names[i]}{'*' if unlike[i] else ''}", (names[i],)),
            Cell(shown, (choice, w)),
            Cell("" if n is None else f"{n:,}", (n, not unlike[i])),
        ]
        for measure in measures:
            metric, value, other = metric_of(measure.key), measure.value(point), measure.value(against)
            minus = None if value is None or other is None else value - other
            text = "" if minus is None else f" ({metric.number(minus, signed=True)})"
            row.append(Cell(metric.number(value) + text, (value, minus)))
        rows.append(row)
    return table(head, rows, remarks=tuple(_remarks(results, base, unlike)))


def point_at(result: Result, choice: str) -> Point | None:
    """The point of a result that `choice` means: "best", or a guidance weight; a lone point of unknown w fits any."""
    if len(result.points) == 1 and result.points[0].w is None:
        return result.points[0]
    if choice == "best":
        return result.best("fid")
    try:
        return result.at(float(choice))
    except ValueError as error:
        raise UserError(f"--w {choice}: a number or `best` is needed.") from error


def _unlike(result: Result, base: Result) -> str:
    """In what a result was not measured as the baseline; "" where both are alike."""

    def short(value: object) -> str:
        text = str(value)
        return text if len(text) <= 24 else f"{text[:20]}..."

    factors = differing_factors(base, result).items()
    named = "; ".join(f"{name} {short(b)} instead of {short(a)}" for name, (a, b) in factors)
    return f"{result.name} was not measured as {base.name}, so they do not compare: {named}" if named else ""


def _remarks(results: Sequence[Result], base: Result, unlike: Sequence[str]) -> Iterator[str]:
    for result, difference in zip(results, unlike, strict=True):
        if difference:
            yield f"* {difference}"
        if unknown := unknown_factors(base, result):
            yield f"Known of one of {base.name} and {result.name} only, and taken to be the same: {', '.join(unknown)}"
    common = [note for note in base.notes if all(note in result.notes for result in results)]
    yield from (f"Note: {note}" for note in common)
    for result in results:
        yield from (f"Note on {result.name}: {note}" for note in result.notes if note not in common)


def summary(result: Result) -> Table:
    """Overall and per group for each w, per class for w = 1.5 or the only point; w per class; what is absent; notes."""
    if not result.points:
        return table(["", "w", "train", "images"], [], remarks=["no points yet"])
    keys = in_order(key for p in result.points for key, value in p.metrics.items() if value.value is not None)

    def row(title: str, w: float | None, count: int | None, metrics: Metrics) -> list[object]:
        n = max((value.n or 0 for key, value in metrics.items() if key != "diversity_real"), default=0)
        found = {key: metrics[key].value if key in metrics else None for key in keys}
        values = [Cell("" if key not in metrics else metric_of(key).number(v), (v,)) for key, v in found.items()]
        return [title, Cell("" if w is None else f"{w:g}", (w,)), count, n or None, *values]

    main, rows = result.at(PAPER_W) or result.points[0], []
    for point in result.points:
        rows.append(row("all", point.w, None, point.metrics))
        rows += [row(name, point.w, None, group.metrics) for name, group in point.groups.items()]
        if point is main:
            rows += [row(c.name, point.w, c.train_count, c.metrics) for c in point.classes]
    absent = {f"absent: {key}: {value.reason}" for key, value in main.metrics.items() if value.value is None}
    chosen = []
    if choice := result.choice:
        for title, point in ((f"w per {choice.per}", choice.mixture), ("one w", choice.single)):
            rows.append(row(title, None, None, point.metrics))
            rows += [row(f"{title}, {name}", None, None, group.metrics) for name, group in point.groups.items()]
        table_text = ", ".join(f"{name} {w:g}" for name, w in choice.w_table.items())
        chosen = [
            f"w per {choice.per}, and the one w beside it: chosen on one half of the images, judged on the other",
            f"chosen on all images: {table_text}",
        ]
    remarks = [*sorted(absent), *chosen, *(f"note: {note}" for note in result.notes)]
    return table([Cell("", ("name",)), "w", "train", "images", *keys], rows, remarks=remarks)
