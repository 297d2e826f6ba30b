"""One table, and its writers: text, Markdown, LaTeX, CSV, HTML and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from t2h.data.groups import Counts, head_to_tail, shots, thirds
from t2h.files import plain_markdown


@dataclass(frozen=True)
class Cell:
    """What a reader sees, and the values in full (in the head, their names) that a CSV file has in its place."""

    text: str
    values: tuple[object, ...]


@dataclass(frozen=True)
class Table:
    """Cells under a head, with remarks below. The first column names the row; the others are set to the right."""

    head: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def texts(self) -> list[list[str]]:
        """The head and the rows, as a reader sees them."""
        return [[cell.text for cell in row] for row in (self.head, *self.rows)]


def table(
    head: Sequence[object], rows: Sequence[Sequence[object]], title: str = "", remarks: Sequence[str] = ()
) -> Table:
    """A table of cells and plain values; None is an empty cell."""
    first, *others = (tuple(map(_cell, row)) for row in (head, *rows))
    return Table(first, tuple(others), title, tuple(remarks))


def _cell(value: object) -> Cell:
    if isinstance(value, Cell):
        return value
    text = "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return Cell(text, (value,))


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


def as_text(table: Table) -> str:
    """For the terminal: title, aligned columns, remarks."""
    remarks = [sentence(remark) for remark in table.remarks]
    return "\n".join([*_heading(table.title), *align(table.texts), *([""] * bool(remarks)), *remarks])


def as_markdown(table: Table) -> str:
    """A heading, a table, and the remarks as a list."""
    head, *body = ([plain_markdown(cell) for cell in row] for row in table.texts)
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---", *["---:"] * (len(head) - 1)], *body)]
    remarks = [f"- {plain_markdown(sentence(remark))}" for remark in table.remarks]
    return "\n".join([*_heading(table.title, "### "), *lines, *([""] * bool(remarks)), *remarks])


_LATEX = {"±": r"$\pm$", "τ": r"$\tau$", "\\": r"\textbackslash{}"} | {c: f"\\{c}" for c in "&%$#_{}"}


def as_latex(table: Table) -> str:
    """A tabular for the package booktabs; title and remarks are comments."""

    def plain(text: str) -> str:
        text = "".join(_LATEX.get(c, c) for c in text)
        text = re.sub(r"(?<![\w-])-(?=\d)", "$-$", text)
        return f"{{{text}}}" if text.startswith("[") else text  # else \\ takes it for its option

    head, *body = (" & ".join(map(plain, row)) + r" \\" for row in table.texts)
    begin = f"\\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}"
    lines = [begin, "\\toprule", head, "\\midrule", *body, "\\bottomrule", "\\end{tabular}"]
    title = [f"% {table.title}"] if table.title else []
    return "\n".join([*title, *lines, *(f"% {sentence(remark)}" for remark in table.remarks)])


def as_csv(table: Table) -> str:
    """All values in full, without title and remarks; a text that a spreadsheet would compute has a ' before it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([_inert(value) for cell in row for value in cell.values] for row in (table.head, *table.rows))
    return out.getvalue().rstrip("\n")


def as_json(table: Table) -> str:
    """A list of objects, one for each row: all values in full, by the names that a CSV file has in its head."""
    return _json(_objects(table))


def _objects(table: Table) -> list[dict[str, object]]:
    names = [str(value) for cell in table.head for value in cell.values]
    return [dict(zip(names, (value for cell in row for value in cell.values), strict=True)) for row in table.rows]


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def as_html(table: Table) -> str:
    """A heading, a table and a list of the remarks, for a page of ours; every text is escaped."""

    def cells(row: Sequence[str], first: str, other: str) -> str:
        name, *rest = map(escape, row)
        return f"<tr>{first.format(name)}{''.join(map(other.format, rest))}</tr>"

    head, *body = table.texts
    top = cells(head, '<th scope="col">{}</th>', '<th scope="col" class="num">{}</th>')
    rows = "".join(cells(row, '<th scope="row">{}</th>', '<td class="num">{}</td>') for row in body)
    title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
    remarks = "".join(f"<li><small>{escape(sentence(remark))}</small></li>" for remark in table.remarks)
    notes = f'<ul class="notes">{remarks}</ul>' if remarks else ""
    return f'{title}<div class="scroll"><table><thead>{top}</thead><tbody>{rows}</tbody></table></div>{notes}'


def _heading(title: str, before: str = "") -> list[str]:
    return [before + title, ""] if title else []


def sentence(remark: str) -> str:
    """With a full stop, unless it ends in a mark of its own."""
    return remark if remark.endswith((".", "?", "!")) else f"{remark}."


FORMATS: dict[str, Callable[[Table], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
    "html": as_html,
    "json": as_json,
}


def written(tables: Sequence[Table], form: str) -> str:
    """Several tables in one of `FORMATS`; in JSON an object that has them by their titles."""
    if form == "json":
        return _json({table.title: _objects(table) for table in tables})
    return "\n\n".join(map(FORMATS[form], tables))


def counts_table(class_counts: Counts, class_names: Sequence[str]) -> Table:
    """The classes of a data set from head to tail: class, index, images, third, shots."""
    third, shot = (
        {c: name for name, ids in group(class_counts).items() for c in ids.tolist()} for group in (thirds, shots)
    )
    order = head_to_tail(class_counts).tolist()
    rows = [[class_names[c], c, int(class_counts[c]), third[c], shot[c]] for c in order]
    return table(["class", "index", "images", "third", "shots"], rows)
