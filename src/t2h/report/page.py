"""The page as a whole: reads the material, arranges the sections, writes one file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from t2h.report import pictures, sections, tables
from t2h.report.figures import listing
from t2h.report.markup import Html, join, tag
from t2h.report.protocol import differences, protocol_table
from t2h.report.sources import Material, read_material
from t2h.report.summary import Summary, summarize
from t2h.version import __version__

_FIGURES = (
    "Guidance w = 1.5 is the T2H paper’s (a guidance scale of 2.5 in diffusers). Beneath a value stands its interval, "
    "where there is one. Bold is the best of the models at equal w, or at the best w of each."
)
_NEAREST = (
    "Pairs of a sample and the training image nearest to it, with their distance in feature space. "
    "A sample that cannot be told from its neighbour is a copy."
)
_TRANSFER = "Share of training targets that were taken from another image, by the timestep t of the noise."

THIRDS = ("head", "medium", "tail")


def write_report(inputs: Sequence[Path], out: Path, title: str | None = None) -> Path:
    """Writes one self-contained HTML page about runs and results, and returns its path.

    Args:
        inputs: run folders of `t2h train` (the results inside them are read too) and result files of `t2h evaluate`.
        out: the HTML file; an old one is replaced when the new one is complete.
        title: the heading; if None, what is compared and on which data.

    Raises:
        UserError: for an input that does not exist or is neither a run nor a result.
    """
    page = render(read_material(inputs), title)
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        unfinished.write_text(page, encoding="utf-8")
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)
    return out


def render(material: Material, title: str | None = None) -> str:
    """The page as text."""
    heading, summary = title or _heading(material), summarize(material)
    found = _sections(material)
    contents = tag(
        "nav",
        [tag("a", key.replace("-", " ").capitalize(), href=f"#{key}") for key in (section.key for section in found)],
        aria_label="Contents",
    )
    blocks = [
        tag(
            "section", tag("h2", s.heading), tag("p", s.about, class_="about") if s.about else None, s.content, id=s.key
        )
        for s in found
    ]
    return document(heading, _header(material, heading, summary), contents, tag("main", blocks), _footer(material))


def document(heading: str, *body: Html) -> str:
    """A self-contained page of this content, in the style of all our pages."""
    style = (files("t2h.report") / "style.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"t2h {__version__}"),
        tag("link", rel="icon", href="data:,"),
        tag("title", heading),
        tag("style", Html(style)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", *body), lang="en") + "\n"


def _header(material: Material, heading: str, summary: Summary) -> Html:
    caveats = (
        tag("ul", [tag("li", caveat) for caveat in summary.caveats], class_="caveats") if summary.caveats else None
    )
    spoken = [sentence.replace("w = ", "w\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}") for sentence in summary.sentences]
    first, rest = spoken[:1], spoken[1:]
    lead = [
        tag("p", join(first), class_="lead") if first else None,
        tag("p", " ".join(rest), class_="more") if rest else None,
    ]
    return tag("header", tag("h1", heading), lead, tables.tiles(material), caveats)


@dataclass(frozen=True)
class _Section:
    key: str
    heading: str
    content: list[Html]
    about: str = ""


def _sections(material: Material) -> list[_Section]:
    """The sections in their order, without the empty ones."""
    runs = material.runs
    known = [table for table in material.tables if table is not None]
    counts = [part for table in known for part in sections.counts_section(table)]
    classes = [part for table in known for part in sections.class_section(material, table)]
    samples = [part for table in material.tables for part in pictures.sample_section(material, table)]
    nearest = [part for table in material.tables for part in pictures.nearest_section(material, table)]
    found = [
        _Section("classes", "Training images", counts),
        _Section("figures", "Figures", _figures(material), _FIGURES),
        _Section("guidance", "Along the guidance", sections.curve_section(material), "The dashed line marks w = 1.5."),
        _Section("per-class", "Class by class", classes, "From the most frequent class to the rarest."),
        _Section("samples", "Samples, head to tail", samples),
        _Section("nearest", "The rarest classes and what they were trained on", nearest, _NEAREST),
        _Section("transfer", "Where targets were transferred", sections.transfer_section(runs), _TRANSFER),
        _Section("training", "Training", sections.training_section(material, runs)),
        _Section("protocol", "How it was measured", _protocol(material)),
        _Section("configuration", "Configuration", _configuration(material)),
    ]
    return [section for section in found if section.content]


def _figures(material: Material) -> list[Html]:
    """Figures at w = 1.5 and at the best w, those of every w folded away, and those of groups of classes."""
    results = [result for result in material.results if result.points]
    if not results:
        return []
    comparable = not differences(results)
    rows, every = tables.figure_rows(material), tables.curve_rows(material)
    parts = [tables.figure_table(rows, "Guidance", comparable)]
    if every:
        table = tables.figure_table(every, "Guidance", comparable, every=True)
        parts.append(tag("details", tag("summary", "Every figure at every w"), table))
    if groups := tables.group_rows(material, THIRDS):
        parts += [tag("h3", "By group of classes"), tables.figure_table(groups, "Classes", comparable)]
    if shots := tables.group_rows(material, tables.other_groups(material, THIRDS)):
        table = tables.figure_table(shots, "Classes", comparable)
        parts.append(tag("details", tag("summary", "Grouped by the number of training images"), table))
    return parts


def _protocol(material: Material) -> list[Html]:
    if not material.results:
        return []
    notes = [(result.name, note) for result in material.results for note in result.notes]
    shared = dict.fromkeys(note for _, note in notes)
    items = []
    for note in shared:
        names = [name for name, other in notes if other == note]
        who = "" if len(names) == len(material.results) else f"{listing(names)}: "
        items.append(tag("li", tag("b", who) if who else None, note))
    deviations = [tag("h3", "Deviations from the protocol"), tag("ul", items, class_="notes")] if items else []
    return [*deviations, protocol_table(material.results)]


def _configuration(material: Material) -> list[Html]:
    texts = {run.name: run.config for run in material.runs if run.config}
    for result in material.results:
        config = result.part("run").get("config")
        if config and result.name not in texts:
            texts[result.name] = json.dumps(config, indent=2, ensure_ascii=False)
    return [
        tag("details", tag("summary", name), tag("pre", tag("code", text), tabindex="0"))
        for name, text in texts.items()
    ]


def _footer(material: Material) -> Html:
    made = []
    for result in material.results:
        package = result.part("package")
        commit = f", commit {_commit(str(package['commit']))}" if package.get("commit") else ""
        when = result.content.get("created") or "at an unknown time"
        made.append(f"{result.name}: measured with t2h {package.get('version', '—')}{commit}, {when}")
    return tag(
        "footer", [tag("p", line) for line in made], tag("p", f"Page made by t2h {__version__} from these files alone.")
    )


def _commit(commit: str) -> str:
    """Its first digits, and the "+" of a changed tree."""
    return commit[:10] + ("+" if commit.endswith("+") else "")


def _heading(material: Material) -> str:
    data = dict.fromkeys(
        str(result.part("data").get("name")) for result in material.results if result.part("data").get("name")
    )
    what = listing(material.names[:4] + ([f"{len(material.names) - 4} more"] if len(material.names) > 4 else []))
    what = what[:1].upper() + what[1:] if not data else what
    return f"{what} on {listing(list(data))}" if data else what
