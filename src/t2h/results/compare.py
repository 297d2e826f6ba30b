"""Results side by side, with differences to a baseline, and a check that they were measured alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from t2h.errors import UserError, unknown_name
from t2h.results.comparable import differing_factors, unknown_factors
from t2h.results.metrics import main_keys, metric_of
from t2h.results.point import Point
from t2h.results.result import Result
from t2h.results.table import Cell, Column, Table, table


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
        head: list[str | Column] = ["name", Column("w", ("point", "w")), Column("images", ("num_images", "comparable"))]
        head += [Column(m.title, (m.title, f"{m.title} difference")) for m in self.measures]
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
    differences = [differing_factors(base, result) for result in results]
    if not anyway:
        _refuse(results, base, differences)
    chosen = [(choice, i, point_at(result, choice)) for choice in ws for i, result in enumerate(results)]
    measures = _measures([point for _, _, point in chosen if point is not None], metrics, groups)
    rows, seen = [], set()
    for choice, i, point in chosen:
        if point is None or (i, point.w) in seen:
            continue
        seen.add((i, point.w))
        against = None if results[i] is base else point_at(base, choice)
        values = tuple(measure.value(point) for measure in measures)
        minus = tuple(_minus(v, measure.value(against)) for v, measure in zip(values, measures, strict=True))
        rows.append(Row(names[i], choice, point, values, minus, not differences[i]))
    if not rows:
        raise UserError(f"no result has a point at w = {' or '.join(ws)}; give another --w.")
    return Comparison(measures, tuple(rows), tuple(_remarks(results, base, differences)))


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


def _measures(points: Sequence[Point], metrics: Sequence[str], groups: Sequence[str]) -> tuple[Measure, ...]:
    keys = metrics or main_keys(key for point in points for key in point.metrics)
    wanted = [Measure(key, group) for key in keys for group in (None, *(groups if key == keys[0] else ()))]
    return tuple(measure for measure in wanted if any(measure.value(point) is not None for point in points))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:20]}..."


def _refuse(results: Sequence[Result], base: Result, differences: Sequence[dict[str, Any]]) -> None:
    for result, factors in zip(results, differences, strict=True):
        if factors:
            named = "; ".join(f"{name}: {_short(a)} against {_short(b)}" for name, (a, b) in factors.items())
            raise UserError(
                f"{result.name!r} was not measured as {base.name!r} ({named}); "
                "such metrics do not compare. --anyway shows them, marked."
            )


def _remarks(results: Sequence[Result], base: Result, differences: Sequence[dict[str, Any]]) -> Iterator[str]:
    for result, factors in zip(results, differences, strict=True):
        if factors:
            named = "; ".join(f"{name} {_short(b)} instead of {_short(a)}" for name, (a, b) in factors.items())
            yield f"* {result.name} was not measured as {base.name}, so they do not compare: {named}"
        if unknown := unknown_factors(base, result):
            yield f"Known of one of {base.name} and {result.name} only, and taken to be the same: {', '.join(unknown)}"
    common = [note for note in base.notes if all(note in result.notes for result in results)]
    yield from (f"Note: {note}" for note in common)
    for result in results:
        yield from (f"Note on {result.name}: {note}" for note in result.notes if note not in common)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
