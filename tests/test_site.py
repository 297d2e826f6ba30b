"""The site of `make docs`: nothing is left out, links lead somewhere, and it needs no network."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SITE = runpy.run_path(str(ROOT / "docs" / "_site.py"))
PAGES = SITE["pages"]()


def test_the_contents_page_names_every_page():
    named = [path for _, path in SITE["contents"]()]
    assert len(named) == len(set(named))
    assert {*named, ROOT / "docs" / "README.md"} == {path for path in PAGES if path.suffix in (".md", ".ipynb", ".py")}


@pytest.mark.parametrize("path", [path for path, text in PAGES.items() if text], ids=lambda path: path.stem)
def test_links_lead_somewhere(path):
    for _, link in SITE["LINK"].findall(PAGES[path]):
        assert (path.parent / link).is_file(), link


def test_a_notebook_is_a_page_with_its_output():
    text = PAGES[ROOT / "examples" / "notebooks" / "idea.ipynb"]
    assert "## The posterior" in text
    assert "```python\nimport torch" in text
    assert re.search(r"```text\nFrom which class.*?\n500 .*?\n```", text, flags=re.DOTALL)
    assert text.count('src="data:image/svg+xml;base64,') == 5


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_for_nothing(tmp_path):
    pytest.importorskip("material", reason="`make docs` installs mkdocs-material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    entry = r'href="([^"]+)"[^>]*>\s*<span class="md-ellipsis">\s*([^<]+?)\s*<'
    entries = re.findall(entry, (tmp_path / "index.html").read_text("utf-8"))
    for title, path in SITE["contents"]():
        if path.suffix != ".py":
            (link,) = {link for link, name in entries if name == title}
            assert (tmp_path / link).is_file()
    for page in tmp_path.rglob("*.html"):
        assert not re.search(r"<(?:script|link|img)[^>]* (?:src|href)=.?https?:", page.read_text("utf-8")), page
