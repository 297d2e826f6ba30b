"""Results as tables: one alone, or several side by side with differences to a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from t2h.errors import UserError, unknown_name
from t2h.results.comparable import differing_factors, unknown_factors
from t2h.results.metrics import in_order, main_keys, metric_of
from t2h.results.point import Metrics, Point
from t2h.results.result import PAPER_W, Result
from t2h.results.table import Cell, Table, as_text, table


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


@dataclass(frozen=True)
class Row:
    """One point of one result, and how it differs from the baseline's."""

    name: str
    choice: str
    point: Point
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]
    comparable: bool


@dataclass(frozen=True)
class Comparison:
    """Rows of results under measures, and remarks."""

    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...]

    def table(self) -> Table:
        """Values with their differences in brackets; in CSV, differences have columns of their own."""
        head = [Cell("name", ("name",)), Cell("w", ("point", "w")), Cell("images", ("num_images", "comparable"))]
        head += [Cell(m.title, (m.title, f"{m.title} difference")) for m in self.measures]
        return table(head, [self._cells(row) for row in self.rows], remarks=self.remarks)

    def _cells(self, row: Row) -> list[Cell]:
        w, n = row.point.w, row.point.num_images
        shown = "" if w is None else f"{w:g}{' (best)' if row.choice == 'best' else ''}"
        cells = [
            Cell(row.name if row.comparable else f"{row.name}*", (row.name,)),
            Cell(shown, (row.choice, w)),
            Cell("" if n is None else f"{n:,}", (n, row.comparable)),
        ]
        for measure, value, difference in zip(self.measures, row.values, row.differences, strict=True):
            metric = metric_of(measure.key)
            minus = "" if difference is None else f" ({metric.number(difference, signed=True)})"
            cells.append(Cell(metric.number(value) + minus, (value, difference)))
        return cells


def compare(
    results: Sequence[Result],
    ws: Sequence[str] = ("1.5", "best"),
    metrics: Sequence[str] = (),
    groups: Sequence[str] = ("head", "medium", "tail"),
    baseline: str | None = None,
    anyway: bool = False,
) -> Comparison:
    """Results side by side.

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
    if baseline is not None and baseline not in names:
        raise unknown_name("baseline", baseline, names)
    base = results[0 if baseline is None else names.index(baseline)]
    unlike = [_unlike(result, base) for result in results]
    if not anyway and any(unlike):
        raise UserError(f"{next(filter(None, unlike))}. --anyway shows them, marked.")
    chosen = [(choice, i, point) for choice in ws for i, r in enumerate(results) if (point := point_at(r, choice))]
    if not chosen:
        raise UserError(f"no result has a point at w = {' or '.join(ws)}; give another --w.")
    points = [point for _, _, point in chosen]
    keys = metrics or main_keys(key for point in points for key in point.metrics)
    measures = measured([Measure(k, g) for k in keys for g in (None, *(groups if k == keys[0] else ()))], points)
    rows, seen = [], set()
    for choice, i, point in chosen:
        if (i, point.w) in seen:
            continue
        seen.add((i, point.w))
        against = None if results[i] is base else point_at(base, choice)
        pairs = [(measure.value(point), measure.value(against)) for measure in measures]
        minus = tuple(None if a is None or b is None else a - b for a, b in pairs)
        rows.append(Row(names[i], choice, point, tuple(a for a, _ in pairs), minus, not unlike[i]))
    return Comparison(measures, tuple(rows), tuple(_remarks(results, base, unlike)))


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


def summary(result: Result) -> str:
    """Overall and per group for each w; per class for w = 1.5, or the only point; then what is absent, and notes."""
    if not result.points:
        return "no points yet"
    keys = in_order(key for p in result.points for key, value in p.metrics.items() if value.value is not None)

    def row(title: str, w: float | None, count: int | None, metrics: Metrics) -> list[object]:
        n = max((value.n or 0 for key, value in metrics.items() if key != "diversity_real"), default=0)
        values = [metric_of(key).number(metrics[key].value) if key in metrics else "" for key in keys]
        return [title, None if w is None else f"{w:g}", count, n or None, *values]

    main, rows = result.at(PAPER_W) or result.points[0], []
    for point in result.points:
        rows.append(row("all", point.w, None, point.metrics))
        rows += [row(name, point.w, None, group.metrics) for name, group in point.groups.items()]
        if point is main:
            rows += [row(c.name, point.w, c.train_count, c.metrics) for c in point.classes]
    absent = {f"absent: {key}: {value.reason}" for key, value in main.metrics.items() if value.value is None}
    remarks = [*sorted(absent), *(f"note: {note}" for note in result.notes)]
    return as_text(table(["", "w", "train", "images", *keys], rows, remarks=remarks))
