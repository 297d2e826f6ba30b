"""A hook of mkdocs: README.md beside this file gives the order of the pages, and some lie outside docs/.

A file outside that some page links to becomes project/PATH; a notebook becomes a page with the output that it keeps.
Where a page says `<!-- options NAME -->` or `<!-- flags NAME -->`, the table is made from the code.
"""

from __future__ import annotations

import ast
import base64
import dataclasses
import inspect
import itertools
import json
import os
import re
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PAGES = (".md", ".ipynb")
LONG = 500  # words of a page that gets a list of its sections
LINK = re.compile(r"(\]\()([^()\s#:]+)")
SOURCES: dict[str, Path] = {}  # of the pages, by their URI


def sections() -> dict[str, list[tuple[str, Path]]]:
    """The headings of the contents page, and title and file of every entry below."""
    found: dict[str, list[tuple[str, Path]]] = {}
    for part in (DOCS / "README.md").read_text("utf-8").split("\n## ")[1:]:
        entries = re.findall(r"^\* \[(.+?)\]\((.+?)\)", part, flags=re.MULTILINE)
        found[part.splitlines()[0]] = [(title, (DOCS / link).resolve()) for title, link in entries]
    return found


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
    left = [*sorted(DOCS.rglob("*.md"))]
    while left:
        path = left.pop()
        if path not in found:
            found[path] = markdown(path) if path.suffix in PAGES else ""
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
    for section, entries in sections().items():
        config.nav.append({section: [{title: uri(path)} for title, path in entries if path.suffix in PAGES]})
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

    return with_sections(GENERATED.sub(lambda found: TABLES[found[1]](found[2]), LINK.sub(moved, markdown)))


def with_sections(markdown: str) -> str:
    """A long page with a list of its sections, for screens that have none beside the text."""
    long = len(markdown.split()) > LONG or "\n::: " in markdown  # the latter become docstrings
    if long and len(re.findall(r"^##+ ", markdown, flags=re.MULTILINE)) > 2:
        markdown = re.sub(r"^(# .*\n)", r"\1\n[TOC]\n\n", markdown, count=1, flags=re.MULTILINE)
    return markdown


def options(name: str) -> str:
    """The options of a method, or of sampling: names, defaults and docstrings of the fields of its dataclass."""
    from t2h.methods import MethodOptions
    from t2h.sampling import Sampling

    method = Sampling if name == "sampling" else type(getattr(MethodOptions(), name))
    (body,) = (node.body for node in ast.parse(inspect.getsource(method)).body)
    about = {
        field.target.id: ast.literal_eval(text.value)
        for field, text in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }
    marked = typing.get_type_hints(method, include_extras=True)
    about |= {key: kind.__metadata__[0].help for key, kind in marked.items() if hasattr(kind, "__metadata__")}
    kinds = typing.get_type_hints(method)
    own = {f.name: getattr(method(), f.name) for f in dataclasses.fields(method)}
    rows = [(f"`{n}`", values(kinds[n]), f"`{value}`" if value != "" else "", about[n]) for n, value in own.items()]
    return table(("option", "values", "default", "what"), rows)


def values(kind: Any) -> str:
    """The values of a type in words: "hard, soft, None" or "float"."""
    if typing.get_origin(kind) is dict:
        return str(kind)
    if parts := typing.get_args(kind):
        return ", ".join(part if isinstance(part, str) else values(part) for part in parts)
    return "None" if kind is type(None) else kind.__name__


def flags(name: str) -> str:
    """The flags of an official script, their defaults there, and what they do here."""
    from t2h.official import tables
    from t2h.official.flags import DEAD

    known = [flag for flag in getattr(tables, name) if flag.here != DEAD]
    rows = [
        (f"`--{f.name}`", f"`{' ' if f.default == '' else f.default}`", f"{f.here}: {f.note}" if f.note else f.here)
        for f in known
    ]
    dead = ", ".join(f"`--{flag.name}`" for flag in getattr(tables, name) if flag.here == DEAD)
    return table(("flag", "official default", "here"), [*rows, (dead, "", DEAD)])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


TABLES = {"options": options, "flags": flags}
GENERATED = re.compile(r"<!-- (options|flags) (\w+) -->")
