"""The images on the page: samples head to tail, and the rarest classes beside their nearest training images."""

from __future__ import annotations

import base64
import io
import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from t2h.errors import UserError, one_line
from t2h.files import reading
from t2h.report.material import Material
from t2h.report.plots import at
from t2h.results.result import PAPER_W, ClassTable, Result
from t2h.samples.grid import as_picture
from t2h.samples.read import drawn_in, read_samples

PER_ROW = 8  # samples of a class
_MAX_ROWS = 21  # classes
_MAX_SIDE = 96  # pixels of a sample


class Picture(NamedTuple):
    """An image inside the page: a data address, and whether its pixels are so large that they should stay sharp."""

    src: str
    alt: str
    tiny: bool


def samples_view(material: Material, table: ClassTable | None) -> dict[str, Any] | None:
    """Rows of samples, the models side by side; where no samples are stored, the last grids of the training."""
    strips: dict[str, dict[int, Picture]] = {}
    grids: list[tuple[str, Picture]] = []
    remarks: list[str] = []
    drawn_at: set[float] = set()
    for run in (run for run in material.runs if run.table == table):
        stored = None
        try:
            with reading(run.folder, "folder of samples", "draw them again"):
                place = drawn_in(run.folder)  # of samples at several w those nearest to the paper's
                if place is not None:
                    stored = read_samples(place, run.table.names if run.table else ()).first(PER_ROW)
        except (UserError, OSError) as error:
            remarks.append(f"The samples of {run.name} are not shown: {one_line(error)}")
        if table and stored and stored.labels is not None:
            strips[run.name] = _strips(stored.images, stored.labels, table, run.name)
            drawn_at |= set() if stored.w is None else {stored.w}
        else:
            last = [grid_picture(file, run.name) for file in grids_of(run.folder)[-1:]]
            grids += [grid for grid in last if grid]
    labels = [c for c in table.order if any(c in found for found in strips.values())] if table else []
    rows = []
    for i in np.linspace(0, len(labels) - 1, min(len(labels), _MAX_ROWS)).round().astype(int):
        cells = [(name, material.slot(name), found.get(labels[i])) for name, found in strips.items()]
        rows.append({"label": class_label(table, labels[i]), "cells": cells})
    if len(rows) < len(labels):
        remarks.append(f"{len(rows)} of {len(labels)} classes, evenly spread from head to tail.")
    if rows:
        remarks.append(f"The first {PER_ROW} stored samples of each class, unselected.")
    if drawn_at:
        remarks.append(f"Drawn at {', '.join(map(at, sorted(drawn_at)))}.")
    return {"rows": rows, "about": " ".join(remarks), "grids": grids} if rows or grids or remarks else None


def nearest_view(material: Material, result: Result) -> dict[str, Any] | None:
    """For the rarest classes: samples, and under each the nearest training image with its distance."""
    found = [(_number(w), entries) for w, entries in result.images.items() if isinstance(entries, list)]
    w, entries = min(found, key=lambda item: _distance(item[0]), default=(None, []))
    by_class: dict[int, list[dict[str, Any]]] = {}
    for entry in entries:
        with suppress(KeyError, TypeError, ValueError, OSError, SyntaxError):  # the file is damaged there
            label = int(entry["class"])
            name = class_label(result.table, label)["name"]
            sample = _decoded(entry["png"], f"Sample of class {name}")
            real = _decoded(entry["nearest_png"], "Its nearest training image")
            pair = {"sample": sample, "real": real, "distance": f"{float(entry['distance']):.2f}"}
            by_class.setdefault(label, []).append(pair)
    order = {c: rank for rank, c in enumerate(result.table.order if result.table else ())}
    rows = [
        {"label": class_label(result.table, c), "pairs": by_class[c][:10]}
        for c in sorted(by_class, key=lambda c: order.get(c, c))
    ]
    return {"name": result.name, "slot": material.slot(result.name), "at": at(w), "rows": rows} if rows else None


def class_label(table: ClassTable | None, label: int) -> dict[str, Any]:
    """The name of a class, its training images and its group."""
    if table is None or not 0 <= label < len(table.names):
        return {"name": f"class {label}", "images": "", "group": ""}
    return {"name": table.names[label], "images": f"{table.counts[label]:,} images", "group": table.group(label)}


def _strips(images: Any, labels: np.ndarray, table: ClassTable, name: str) -> dict[int, Picture]:
    """The samples of each class in one row each, with a transparent gap between them."""
    strips = {}
    for label in np.unique(labels).tolist():
        pictures = [as_picture(image) for image in images[labels == label]]
        for picture in pictures:
            picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
        width, height = pictures[0].size
        step = width + max(1, width // 12)
        strip = Image.new("RGBA", (PER_ROW * step - (step - width), height))
        for i, picture in enumerate(pictures):
            strip.paste(picture, (i * step, 0))
        alt = f"{len(pictures)} samples of class {class_label(table, label)['name']} by {name}"
        strips[label] = Picture(address(strip), alt, height <= 64)
    return strips


def grids_of(folder: Path) -> list[Path]:
    """The grids of a training, the oldest first."""
    files = filter(Path.is_file, folder.glob("grids/*.png"))
    return sorted(files, key=lambda file: [int(n) for n in re.findall(r"\d+", file.stem)])


def grid_picture(file: Path, name: str) -> tuple[str, Picture] | None:
    """A grid of the run ``name`` with its caption; None where it is damaged."""
    with suppress(OSError, ValueError, SyntaxError):
        image = Image.open(file).convert("RGB")
        image.thumbnail((1000, 4000))
        caption = f"{name}, {file.stem.replace('_', ' ')}"
        return caption, Picture(address(image), f"{caption}: samples, rows from head to tail", image.width < 320)
    return None


def _decoded(encoded: str, alt: str) -> Picture:
    """A picture from base64; raises what Pillow and base64 raise if it is no PNG."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)), formats=["PNG"]).convert("RGB")
    return Picture(address(image), alt, image.height <= 64)


def address(image: Image.Image) -> str:
    """The image as a data address."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _distance(w: float | None) -> float:
    """From the paper's guidance; an unknown one comes last."""
    return math.inf if w is None else abs(w - PAPER_W)


def _number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None
