"""The notebooks run from top to bottom, and say what the output that they keep says."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def run_cell(source: str, names: dict[str, object]) -> tuple[str, list[object]]:
    """What a cell prints, and what it shows: as Jupyter does, also the value of its last line."""
    tree, shown = ast.parse(source), []
    names["display"] = shown.append
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    return printed.getvalue(), shown if value is None else [*shown, value]


def words_and_numbers(text: str) -> tuple[list[str], list[float]]:
    """The words of a table, and its numbers, which differ a little between machines."""
    number = r"[-+]?\d+(?:\.\d+)?"
    return re.sub(rf"{number}|-", " ", text).split(), [float(x) for x in re.findall(number, text)]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_does_what_it_shows(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    monkeypatch.syspath_prepend(path.parent)
    names: dict[str, object] = {}
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            printed, shown = run_cell("".join(cell["source"]), names)
            kept = "".join(text for output in cell["outputs"] for text in output.get("text", []))
            words, numbers = words_and_numbers(printed)
            kept_words, kept_numbers = words_and_numbers(kept)
            assert words == kept_words
            assert numbers == pytest.approx(kept_numbers, rel=0.1, abs=3)
            pictures = [output["data"]["image/svg+xml"] for output in cell["outputs"] if "data" in output]
            assert len(shown) == len(pictures)
            for picture in shown:
                assert picture._repr_svg_().startswith("<svg")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_as_it_ran(path):
    cells = [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert {output["output_type"] for cell in cells for output in cell["outputs"]} <= {
        "stream",
        "display_data",
        "execute_result",
    }
    for text in (text for cell in cells for output in cell["outputs"] for text in output.get("text", [])):
        assert "Warning" not in text
