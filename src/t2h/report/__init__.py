"""One self-contained HTML page of runs and results, made from their files alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from t2h.files import check_place, write_text
from t2h.report.material import read_material
from t2h.report.templates import render
from t2h.report.view import page_view

__all__ = ["write_report"]


def write_report(inputs: Sequence[Path], out: Path, title: str | None = None) -> Path:
    """Writes one self-contained HTML page about runs and results, and returns its path.

    Args:
        inputs: run folders of `t2h train` (the results inside them are read too) and result files of `t2h evaluate`.
        out: the HTML file; an old one is replaced when the new one is complete.
        title: the heading; if None, what is compared and on which data.

    Raises:
        UserError, OSError: for an input that does not exist or is neither a run nor a result, or as `check_place`.
    """
    check_place(out, ".html", ".htm")
    page = render("report/page.html.j2", **page_view(read_material(inputs), title))
    write_text(out, page)
    return out
