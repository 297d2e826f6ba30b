"""A hook of mkdocs: README.md beside this file gives the order of the pages, and some lie outside docs/.

A file outside that some page links to becomes project/PATH; a notebook becomes a page with the output that it keeps.
"""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LINK = re.compile(r"(\]\()([^()\s#:]+)")
SOURCES: dict[str, Path] = {}  # of the pages, by their URI


def contents() -> list[tuple[str, Path]]:
    """Title and file of every entry of the contents page."""
    found = re.findall(r"^\* \[(.+?)\]\((.+?)\)", (DOCS / "README.md").read_text("utf-8"), flags=re.MULTILINE)
    return [(title, (DOCS / link).resolve()) for title, link in found]


def uri(path: Path) -> str:
    """Where a file of the repository is in the site's sources."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    return f"project/{name}.md" if path.suffix == ".ipynb" else f"project/{name}"


def links(text: str, source: Path) -> list[Path]:
    """The files that a page links to."""
    return [path for _, link in LINK.findall(text) if (path := (source.parent / link).resolve()).is_file()]


def pages() -> dict[Path, str]:
    """The pages in the repository, and all that they lead to, with their text; "" for what is no page."""
    found: dict[Path, str] = {}
    left = [*sorted(DOCS.glob("*.md"))]
    while left:
        path = left.pop()
        if path not in found:
            found[path] = markdown(path) if path.suffix in (".md", ".ipynb") else ""
            left += links(found[path], path)
    return found


def markdown(path: Path) -> str:
    """A page, or a notebook as a page."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return text
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            if "text" in output:
                parts.append(f"```text\n{''.join(output['text'])}```")
            elif svg := output["data"].get("image/svg+xml"):
                coded = base64.b64encode("".join(svg).encode()).decode()
                parts.append(f'<img alt="What the cell shows" src="data:image/svg+xml;base64,{coded}">')
    return "\n\n".join(parts) + "\n"


def on_config(config: Any) -> Any:
    config.nav = [{"Contents": "README.md"}]
    config.nav += [{title: uri(path)} for title, path in contents() if path.suffix in (".md", ".ipynb")]
    return config


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for path, text in pages().items():
        SOURCES[uri(path)] = path
        if not path.is_relative_to(DOCS):
            given = {"content": text} if text else {"abs_src_path": str(path)}
            files.append(File.generated(config, uri(path), **given))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    source, here = SOURCES[page.file.src_uri], Path(page.file.src_uri).parent

    def moved(link: re.Match[str]) -> str:
        path = (source.parent / link[2]).resolve()
        return link[1] + Path(os.path.relpath(uri(path), here)).as_posix() if path.is_file() else link[0]

    return LINK.sub(moved, markdown)
