"""The images on the page: samples head to tail, and the rarest classes beside their nearest training images."""

from __future__ import annotations

import base64
import binascii
import io
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from t2h.report.figures import PAPER_W, guidance, number
from t2h.report.markup import Html, tag
from t2h.report.samples import PER_ROW, Samples, as_number, read_samples
from t2h.report.sources import ClassTable, Material, Result, Run

_MAX_ROWS = 21


def sample_section(material: Material, table: ClassTable | None) -> list[Html]:
    """Rows of samples, the models side by side; where no samples are stored, the last grids of the training."""
    stored = [samples for run in material.runs if run.table == table and (samples := read_samples(run))]
    parts: list[Html] = []
    if stored and table:
        labels = [c for c in table.order if any(c in s.rows for s in stored)]
        shown = _spread(labels)
        parts.append(
            tag(
                "div",
                [_row(material, table, c, stored) for c in shown],
                class_="strips" if len(stored) <= 3 else "strips named",
            )
        )
        skipped = len(labels) - len(shown)
        parts.append(
            _what(
                stored, f"{len(shown)} of {len(labels)} classes, evenly spread from head to tail. " if skipped else ""
            )
        )
    have = {samples.name for samples in stored}
    grids = [_grid(run) for run in material.runs if run.table == table and run.name not in have]
    grids = [grid for grid in grids if grid is not None]
    return [*parts, tag("div", grids, class_="columns")] if grids else parts


def nearest_section(material: Material, table: ClassTable | None) -> list[Html]:
    """For the rarest classes: samples, and under each the nearest training image with its distance."""
    blocks = []
    for result in material.results:
        w, entries = _entries(result)
        by_class: dict[int, list[Html]] = {}
        for entry in entries if result.table == table else []:
            pair = _pair(entry, table)
            if pair is not None:
                by_class.setdefault(int(entry["class"]), []).append(pair)
        if not by_class:
            continue
        order = sorted(by_class, key=lambda c: table.order.index(c) if table and c < len(table.order) else c)
        rows = [
            tag("div", _class_label(table, c), tag("div", by_class[c][:10], class_="pairs"), class_="strip")
            for c in order
        ]
        swatch = tag("span", class_=f"swatch {material.slot(result.name)}", aria_hidden="true")
        blocks.append(tag("div", tag("h3", swatch, result.name, tag("small", f" at {guidance(w)}")), rows))
    return blocks


def png(image: Image.Image) -> str:
    """The image as a data address."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _row(material: Material, table: ClassTable, label: int, stored: Sequence[Samples]) -> Html:
    cells = []
    for samples in stored:
        images = samples.rows.get(label)
        caption = tag(
            "span",
            tag("span", class_=f"swatch {material.slot(samples.name)}", aria_hidden="true"),
            samples.name,
            class_="who",
        )
        if images:
            alt = f"{len(images)} samples of class {table.names[label]} by {samples.name}"
            strip = _strip(images)
            cells.append(tag("figure", caption, _img(png(strip), alt, images[0].height <= 64)))
        else:
            cells.append(tag("figure", caption, tag("span", "no sample", class_="muted")))
    return tag(
        "div", _class_label(table, label), tag("div", cells, class_=f"side of{min(len(cells), 4)}"), class_="strip"
    )


def _class_label(table: ClassTable | None, label: int) -> Html:
    if table is None or not 0 <= label < len(table.names):
        return tag("p", tag("b", f"class {label}"), class_="class")
    bar = tag("span", class_=f"swatch {table.group(label)}", aria_hidden="true")
    group = f"{table.counts[label]:,} images · {table.group(label)}"
    return tag("p", bar, tag("b", table.names[label]), tag("small", group), class_="class")


def _what(stored: Sequence[Samples], before: str) -> Html:
    weights = sorted({samples.w for samples in stored if samples.w is not None})
    at = f" Drawn at {', '.join(map(guidance, weights))}." if weights else ""
    return tag("p", f"{before}The first {PER_ROW} stored samples of each class, unselected.{at}", class_="muted")


def _grid(run: Run) -> Html | None:
    files = sorted(
        run.folder.glob("grids/*.png"), key=lambda path: (int((re.findall(r"\d+", path.stem) or ["0"])[-1]), path.name)
    )
    if not files:
        return None
    try:
        image = Image.open(files[-1]).convert("RGB")
    except OSError:
        return None
    image.thumbnail((1000, 4000))
    caption = f"{run.name}, {files[-1].stem.replace('_', ' ')}"
    return tag(
        "figure",
        _img(png(image), f"Grid of samples of {caption}, rows from head to tail", image.width < 320),
        tag("figcaption", caption),
    )


def _pair(entry: Any, table: ClassTable | None) -> Html | None:
    sample, real = (
        (_checked(entry.get(key)) for key in ("png", "nearest_png")) if isinstance(entry, dict) else (None, None)
    )
    if sample is None or real is None or not isinstance(entry.get("class"), int):
        return None
    label = entry["class"]
    name = table.names[label] if table and 0 <= label < len(table.names) else label
    distance = number(entry["distance"]) if isinstance(entry.get("distance"), int | float) else "—"
    return tag(
        "figure",
        _img(sample[0], f"Sample of class {name}", sample[1]),
        _img(real[0], "Its nearest training image", real[1]),
        tag("figcaption", distance),
    )


def _entries(result: Result) -> tuple[float | None, list[Any]]:
    """The images of the w nearest to 1.5; those of an unknown w come last."""
    found = [(as_number(w), entries) for w, entries in result.part("images").items() if isinstance(entries, list)]
    return min(found, key=lambda item: math.inf if item[0] is None else abs(item[0] - PAPER_W), default=(None, []))


def _checked(encoded: Any) -> tuple[str, bool] | None:
    """A data address and whether the image is tiny, from base64 that truly is a PNG; None otherwise."""
    try:
        data = base64.b64decode(str(encoded), validate=True)
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        image.load()
    except (binascii.Error, ValueError, OSError, SyntaxError):
        return None
    return png(image.convert("RGB")), image.height <= 64


def _img(address: str, alt: str, tiny: bool) -> Html:
    return tag("img", src=address, alt=alt, class_="pixels" if tiny else None, loading="lazy")


def _strip(images: Sequence[Image.Image]) -> Image.Image:
    """The images in one row, with a transparent gap between them."""
    height, width = images[0].height, images[0].width
    gap = max(1, width // 12)
    strip = Image.new("RGBA", (PER_ROW * (width + gap) - gap, height))
    for i, image in enumerate(images):
        strip.paste(image.resize((width, height)) if image.size != (width, height) else image, (i * (width + gap), 0))
    return strip


def _spread(labels: list[int]) -> list[int]:
    """At most as many labels as are pleasant to look at, evenly from head to tail, the rarest among them."""
    if len(labels) <= _MAX_ROWS:
        return labels
    return [labels[i] for i in np.linspace(0, len(labels) - 1, _MAX_ROWS).round().astype(int)]
