"""Results side by side, with differences to a baseline, and a check that they were measured alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from t2h.errors import UserError, unknown_name
from t2h.results.result import Result

FIGURES = ("fid", "kid", "precision_k5", "recall_k5", "coverage_k5", "accuracy", "memorisation")
DECIMALS = {"fid": 2, "is": 2, "kid": 4}
# Where two results may differ and still be comparable: names that a hash beside them covers, and seeds of sampling.
_NO_FACTORS = ("reference.name", "reference.split", "reference.num_images", "reference.class_counts", "sampler.seed")


@dataclass(frozen=True)
class Column:
    """One figure, overall or of one group."""

    figure: str
    group: str | None = None

    @property
    def title(self) -> str:
        """As the table's head shows it."""
        return self.figure if self.group is None else f"{self.figure} {self.group}"

    def value(self, point: dict[str, Any]) -> float | None:
        """The number, or None where it is absent."""
        part = point if self.group is None else point["groups"].get(self.group, {"figures": {}})
        return part["figures"].get(self.figure, {}).get("value")


@dataclass(frozen=True)
class Row:
    """One point of one result, and how it differs from the baseline's."""

    name: str
    choice: str
    w: float | None
    num_images: int
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]
    marked: bool


@dataclass(frozen=True)
class Table:
    """Rows and columns, and the remarks below them."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...]


def compare(
    results: Sequence[Result],
    ws: Sequence[str] = ("1.5", "best"),
    figures: Sequence[str] = FIGURES,
    groups: Sequence[str] = ("head", "medium", "tail"),
    baseline: str | None = None,
    anyway: bool = False,
) -> Table:
    """A table of results.

    Args:
        results: contents of result files.
        ws: which points of each: a guidance weight, or "best", the point with the lowest overall FID.
        figures: the columns; absent ones are left out. The first is also given by group.
        groups: of the first figure.
        baseline: the name of the result that differences refer to; None takes the first.
        anyway: show results of different protocols together, marked.

    Raises:
        UserError: if there is no result or baseline of that name, or protocols differ.
    """
    if not results:
        raise UserError("there is no result to compare; give one result file or more.")
    names = [result["name"] for result in results]
    if baseline is not None and baseline not in names:
        raise unknown_name("baseline", baseline, names)
    base = results[0 if baseline is None else names.index(baseline)]
    differing = [differing_factors(base, result) for result in results]
    _refuse(results, base, differing, anyway)
    wanted = [Column(figures[0]), *(Column(figures[0], group) for group in groups)] + [Column(f) for f in figures[1:]]
    chosen = [(choice, result, i) for choice in ws for i, result in enumerate(results)]
    points = [(choice, i, pick(result, choice)) for choice, result, i in chosen]
    found = [point for _, _, point in points if point is not None]
    columns = tuple(column for column in wanted if any(column.value(point) is not None for point in found))
    rows, seen = [], set()
    for choice, i, point in points:
        if point is None or (i, point["w"]) in seen:
            continue
        seen.add((i, point["w"]))
        against = pick(base, choice)
        values = tuple(column.value(point) for column in columns)
        reference = [None if against is None else column.value(against) for column in columns]
        differences = tuple(
            _minus(a, b) if results[i] is not base else None for a, b in zip(values, reference, strict=True)
        )
        rows.append(Row(names[i], choice, point["w"], point["num_images"], values, differences, bool(differing[i])))
    if not rows:
        raise UserError(f"no result has a point at w = {' or '.join(ws)}; give another --w.")
    return Table(columns, tuple(rows), tuple(_remarks(results, base, differing)))


def pick(result: Result, choice: str) -> dict[str, Any] | None:
    """The point of a result that `choice` means: "best", or a guidance weight; a lone point of unknown w fits any."""
    points = result["points"]
    if len(points) == 1 and points[0]["w"] is None:
        return points[0]
    if choice == "best":
        measured = [point for point in points if Column("fid").value(point) is not None]
        return min(measured, key=lambda point: Column("fid").value(point) or 0.0, default=None)
    try:
        w = float(choice)
    except ValueError as error:
        raise UserError(f"--w {choice}: a number or `best` is needed.") from error
    return next((point for point in points if point["w"] is not None and abs(point["w"] - w) < 1e-9), None)


def differing_factors(a: Result, b: Result) -> dict[str, tuple[Any, Any]]:
    """The factors of the protocol in which two results differ, by dotted name: (in a, in b)."""
    left, right = dict(_factors(a)), dict(_factors(b))
    names = [name for name in left | right if name not in _NO_FACTORS]
    return {name: (left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)}


def _factors(result: Result) -> Iterator[tuple[str, Any]]:
    yield "training class counts", result["data"]["class_counts"]
    yield "class names", result["data"]["class_names"]
    yield "num_images", sorted({point["num_images"] for point in result["points"]})
    yield from _flat(result["protocol"], "")


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:20]}..."


def _refuse(results: Sequence[Result], base: Result, differing: list[dict[str, Any]], anyway: bool) -> None:
    if anyway or not any(differing):
        return
    i = next(i for i, factors in enumerate(differing) if factors)
    factors = "; ".join(f"{name}: {_short(a)} against {_short(b)}" for name, (a, b) in differing[i].items())
    raise UserError(
        f"{results[i]['name']!r} was not measured as {base['name']!r} ({factors}); "
        "such figures do not compare. --anyway shows them, marked."
    )


def _remarks(results: Sequence[Result], base: Result, differing: list[dict[str, Any]]) -> Iterator[str]:
    for result, factors in zip(results, differing, strict=True):
        if factors:
            named = "; ".join(f"{name} {_short(b)} instead of {_short(a)}" for name, (a, b) in factors.items())
            yield f"* {result['name']} was not measured as {base['name']}, so they do not compare: {named}."
    common = [note for note in base["notes"] if all(note in result["notes"] for result in results)]
    yield from (f"Note: {note}." for note in common)
    for result in results:
        yield from (f"Note on {result['name']}: {note}." for note in result["notes"] if note not in common)


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _cells(table: Table, row: Row, minus: str = "-") -> list[str]:
    cells = []
    for column, value, difference in zip(table.columns, row.values, row.differences, strict=True):
        digits = DECIMALS.get(column.figure, 3)
        text = "" if value is None else f"{value:.{digits}f}"
        if value is not None and difference is not None:
            text += f" ({difference:+.{digits}f})"
        cells.append(text.replace("-", minus))
    return cells


def _grid(table: Table, minus: str = "-") -> list[list[str]]:
    head = ["name", "w", "images", *(column.title for column in table.columns)]
    body = []
    for row in table.rows:
        w = "" if row.w is None else f"{row.w:g}{' (best)' if row.choice == 'best' else ''}"
        body.append([row.name + ("*" if row.marked else ""), w, f"{row.num_images:,}", *_cells(table, row, minus)])
    return [head, *body]


def as_text(table: Table) -> str:
    """For the terminal: aligned columns, then the remarks."""
    return "\n".join([*align(_grid(table)), "", *table.remarks]).rstrip()


def align(grid: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table whose first row is its head: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in grid) for i in range(len(grid[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in grid
    ]
    return [lines[0].rstrip(), "-" * len(lines[0]), *(line.rstrip() for line in lines[1:])]


def as_markdown(table: Table) -> str:
    """A Markdown table, then the remarks as a list."""
    head, *body = ([cell.replace("|", "\\|").replace("*", "\\*") for cell in row] for row in _grid(table))
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (head, rule, *body)]
    return "\n".join([*lines, "", *(f"- {remark.replace('*', chr(92) + '*')}" for remark in table.remarks)]).rstrip()


def as_latex(table: Table) -> str:
    """A tabular for the package booktabs; the remarks are comments."""

    def escape(text: str) -> str:
        return "".join("\\" + c if c in "&%$#_{}" else c for c in text)

    head, *body = ([cell if "$" in cell else escape(cell) for cell in row] for row in _grid(table, minus="$-$"))
    lines = [f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", "\\toprule", " & ".join(head) + r" \\", "\\midrule"]
    lines += [" & ".join(row) + r" \\" for row in body]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", *(f"% {remark}" for remark in table.remarks)])


def as_csv(table: Table) -> str:
    """Numbers in full, differences in columns of their own."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    titles = [title for column in table.columns for title in (column.title, f"{column.title} difference")]
    writer.writerow(["name", "point", "w", "num_images", "comparable", *titles])
    for row in table.rows:
        pairs = [cell for pair in zip(row.values, row.differences, strict=True) for cell in pair]
        writer.writerow([row.name, row.choice, row.w, row.num_images, not row.marked, *pairs])
    return out.getvalue().rstrip("\n")


FORMATS: dict[str, Callable[[Table], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}
