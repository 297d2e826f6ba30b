"""The page as a whole: reads the material, arranges the sections, writes one file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from t2h.report import pictures, sections, tables
from t2h.report.figures import listing
from t2h.report.markup import Html, join, tag
from t2h.report.protocol import differences, protocol_table
from t2h.report.sources import ClassTable, Material, read_material
from t2h.report.summary import Summary, summarize
from t2h.version import __version__


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
    parts = [part for part in _parts(material) if part[2]]
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
    contents = tag("nav", [tag("a", name, href=f"#{key}") for key, name, _, _ in parts], aria_label="Contents")
    blocks = [
        tag("section", tag("h2", name), tag("p", about, class_="about") if about else None, body, id=key)
        for key, name, body, about in parts
    ]
    body = tag("body", _header(material, heading, summary), contents, tag("main", blocks), _footer(material))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _header(material: Material, heading: str, summary: Summary) -> Html:
    caveats = tag("ul", [tag("li", caveat) for caveat in summary.caveats], class_="caveats") if summary.caveats else None
    first, rest = summary.sentences[:1], summary.sentences[1:]
    lead = [tag("p", join(first), class_="lead") if first else None, tag("p", " ".join(rest), class_="more") if rest else None]
    return tag("header", tag("h1", heading), lead, tables.tiles(material), caveats)


def _parts(material: Material) -> list[tuple[str, str, list, str]]:
    """The sections in their order: (id, heading, content, one explaining line). Empty ones are dropped by the caller."""
    results, each = material.results, material.tables or [None]
    comparable = not differences(results) if len(results) > 1 else True
    judged = [result for result in results if result.points]
    groups = list(dict.fromkeys(name for result in judged for point in result.points for name in point.groups))
    figures = [tables.figure_table(tables.figure_rows(material), "Guidance", comparable)] if judged else []
    if sum(len(result.points) for result in judged) > len(tables.figure_rows(material)):
        every = tables.figure_table(tables.curve_rows(material), "Guidance", False)
        figures.append(tag("details", tag("summary", "Every figure at every w"), every))
    if groups and any(point.groups for result in judged for point in result.points):
        by_group = tables.figure_table(tables.group_rows(material, groups), "Classes", comparable)
        figures += [tag("h3", "By group of classes"), by_group]
    of = "Guidance w = 1.5 is the T2H paper’s (a guidance scale of 2.5 in diffusers). "
    bold = "Bold: the best at equal w." if comparable and len(results) > 1 else ""
    return [
        ("classes", "Training images", _each(each, lambda t: sections.counts_section(t) if t else []), ""),
        ("figures", "Figures", figures, f"{of}Beneath a value stands its interval, where there is one. {bold}"),
        ("guidance", "Along the guidance", sections.curve_section(material), "The dashed line marks w = 1.5."),
        ("per-class", "Class by class", _each(each, lambda t: sections.class_section(material, t) if t else []), "From the most frequent class to the rarest."),
        ("samples", "Samples, head to tail", _each(each, lambda t: pictures.sample_section(material, t)), ""),
        ("nearest", "The rarest classes and what they were trained on", _each(each, lambda t: pictures.nearest_section(material, t)),
         "Left a sample, right the training image nearest to it, below their distance among features. Twins are copies, not new images."),
        ("transfer", "Where targets were transferred", sections.transfer_section(material.runs),
         "Share of training targets that were taken from another image, by the timestep at which it was noised."),
        ("training", "Training", sections.training_section(material, material.runs), ""),
        ("protocol", "How it was measured", _protocol(material), "A figure means little without its protocol."),
        ("configuration", "Configuration", _configuration(material), ""),
    ]  # fmt: skip


def _each(each: Sequence[ClassTable | None], section) -> list[Html]:  # type: ignore[no-untyped-def]
    """A section once for every class table."""
    return [part for table in each for part in section(table)]


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
        tag("details", tag("summary", name), tag("pre", tag("code", text), tabindex="0")) for name, text in texts.items()
    ]


def _footer(material: Material) -> Html:
    made = []
    for result in material.results:
        package = result.part("package")
        commit = f", commit {str(package['commit'])[:10]}" if package.get("commit") else ""
        made.append(f"{result.name}: measured with t2h {package.get('version', '—')}{commit}, {result.content.get('created', '—')}")
    return tag("footer", [tag("p", line) for line in made], tag("p", f"Page made by t2h {__version__} from these files alone."))


def _heading(material: Material) -> str:
    data = dict.fromkeys(str(result.part("data").get("name")) for result in material.results if result.part("data").get("name"))
    what = listing(material.names[:4] + ([f"{len(material.names) - 4} more"] if len(material.names) > 4 else []))
    what = what[:1].upper() + what[1:] if not data else what
    return f"{what} on {listing(list(data))}" if data else what
