"""The site of `make docs`: nothing is left out, links lead somewhere, and it needs no network."""

from __future__ import annotations

import dataclasses
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from t2h.methods import METHODS, MethodOptions, describe
from t2h.official.tables import DDPM_GEN, MAIN

ROOT = Path(__file__).parents[1]
SITE = runpy.run_path(str(ROOT / "docs" / "_site.py"))
PAGES = SITE["pages"]()
CONTENTS = [entry for entries in SITE["sections"]().values() for entry in entries]
METHOD_PAGES = sorted(path for path in PAGES if path.parent.name == "methods" and path.name != "README.md")


def test_the_contents_page_names_every_page():
    named = [path for _, path in CONTENTS]
    assert len(named) == len(set(named))
    assert {*named, ROOT / "docs" / "README.md"} == {path for path in PAGES if path.suffix in (".md", ".ipynb", ".py")}


@pytest.mark.parametrize("path", [path for path, text in PAGES.items() if text], ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for _, link in SITE["LINK"].findall(PAGES[path]):
        assert (path.parent / link).is_file(), link


def test_a_method_has_a_page_with_its_cost_options_and_picture():
    assert {*METHODS} - {"ddpm", "reweighting"} | {"resampling"} == {path.stem for path in METHOD_PAGES}
    for path in METHOD_PAGES:
        name, text = path.stem.replace("resampling", "reweighting"), PAGES[path]
        assert f"\nCost: {describe(name).passes} network pass" in text
        assert f"](../img/methods-{path.stem}.svg)" in text
        assert len(text.split()) < 220
        options = [field.name for field in dataclasses.fields(getattr(MethodOptions(), name))]
        assert (f"<!-- options {name} -->" in text) == bool(options)
        assert re.findall(r"^\| `(\w+)`", SITE["options"](name), flags=re.MULTILINE) == options


def test_the_pictures_of_the_methods_are_what_their_script_draws(tmp_path):
    runpy.run_path(str(ROOT / "benchmarks" / "pictures_methods.py"))["main"](tmp_path)
    drawn = sorted(tmp_path.iterdir())
    assert [file.name for file in drawn] == sorted(f"methods-{path.stem}.svg" for path in METHOD_PAGES)
    for file in drawn:
        kept, number = (ROOT / "docs" / "img" / file.name).read_text("utf-8"), r"-?\d+(?:\.\d+)?"
        assert re.sub(number, "", kept) == re.sub(number, "", file.read_text("utf-8"))
        ours, theirs = ([float(n) for n in re.findall(number, text)] for text in (kept, file.read_text("utf-8")))
        assert theirs == pytest.approx(ours, abs=2)


def test_every_official_flag_is_in_the_table_of_its_script():
    for script, table in (("MAIN", MAIN), ("DDPM_GEN", DDPM_GEN)):
        assert f"\n<!-- flags {script} -->\n" in PAGES[ROOT / "docs" / "coming-from.md"]
        assert {*re.findall(r"`--(\w+)`", SITE["flags"](script))} >= {flag.name for flag in table}


def test_long_pages_get_a_list_of_their_sections():
    long = "# Title\n\n" + "## A\n\n## B\n\n## C\n\n" + "word " * SITE["LONG"]
    assert SITE["with_sections"](long).startswith("# Title\n\n[TOC]\n\n")
    assert SITE["with_sections"](long[: len(long) // 2]) == long[: len(long) // 2]


def test_a_notebook_is_a_page_with_its_output():
    text = PAGES[ROOT / "examples" / "notebooks" / "idea.ipynb"]
    assert "## The posterior" in text
    assert "```python\nimport torch" in text
    assert re.search(r"```text\nFrom which class.*?\n500 .*?\n```", text, flags=re.DOTALL)
    assert text.count('src="data:image/svg+xml;base64,') == 5


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_for_nothing(tmp_path):
    pytest.importorskip("mkdocstrings", reason="`make docs` installs mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    entry = r'href="([^"]+)"[^>]*>\s*<span class="md-ellipsis">\s*([^<]+?)\s*<'
    entries = re.findall(entry, (tmp_path / "index.html").read_text("utf-8"))
    for title, path in CONTENTS:
        if path.suffix != ".py":
            (link,) = {link for link, name in entries if name == title}
            assert (tmp_path / link).is_file()
    for page in tmp_path.rglob("*.html"):
        assert not re.search(r"<(?:script|link|img)[^>]* (?:src|href)=.?https?:", page.read_text("utf-8")), page
