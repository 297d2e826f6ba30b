"""Finds the stored samples of a run: class folders of PNGs, or an .npz, as `t2h sample` writes them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from t2h.report.figures import PAPER_W
from t2h.report.sources import Run

PER_ROW = 8  # samples of a class
_MAX_SIDE = 96  # pixels


@dataclass(frozen=True)
class Samples:
    """A few samples of each class of one run."""

    name: str
    w: float | None
    rows: dict[int, list[Image.Image]]


def read_samples(run: Run) -> Samples | None:
    """The stored samples whose w is nearest to 1.5: class folders or an .npz, in the run or in its ``samples``."""
    roots = [
        path.parent for path in sorted({*run.folder.glob("samples.json"), *run.folder.glob("samples/**/samples.json")})
    ]
    archives = sorted({*run.folder.glob("samples*.npz"), *run.folder.glob("samples/**/*.npz")})
    if roots:
        facts = {root: _read_facts(root / "samples.json") for root in roots}
        root = min(roots, key=lambda root: abs(_weight(facts[root], PAPER_W) - PAPER_W))
        return Samples(run.name, as_number(facts[root].get("w")), _folder_rows(root)) if _folder_rows(root) else None
    if archives:
        found = {archive: _archive(archive) for archive in archives}
        told, rows = found[min(archives, key=lambda archive: abs(_weight(found[archive][0], PAPER_W) - PAPER_W))]
        return Samples(run.name, as_number(told.get("w")), rows) if rows else None
    rows = _folder_rows(run.folder / "samples")
    return Samples(run.name, None, rows) if rows else None


def as_number(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _weight(facts: dict[str, Any], otherwise: float) -> float:
    w = as_number(facts.get("w"))
    return otherwise if w is None else w


def _folder_rows(root: Path) -> dict[int, list[Image.Image]]:
    rows: dict[int, list[Image.Image]] = {}
    for folder in sorted(path for path in root.glob("[0-9]*") if path.is_dir()) if root.is_dir() else []:
        label = re.match(r"\d+", folder.name)
        images = [_small(file) for file in sorted(folder.glob("*.png"))[:PER_ROW]]
        if label and (images := [image for image in images if image is not None]):
            rows[int(label.group())] = images
    return rows


def _archive(path: Path) -> tuple[dict[str, Any], dict[int, list[Image.Image]]]:
    """The protocol and the first images of each class of an .npz; nothing of one that cannot be read."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"]
            facts = json.loads(str(archive["protocol"])) if "protocol" in archive else {}
    except (OSError, KeyError, ValueError):
        return {}, {}
    rows: dict[int, list[Image.Image]] = {}
    for label in np.unique(labels):
        tiles = images[np.flatnonzero(labels == label)[:PER_ROW]]
        tiles = tiles if tiles.shape[-1] in (1, 3) else tiles.transpose(0, 2, 3, 1)
        rows[int(label)] = [Image.fromarray(np.broadcast_to(tile, (*tile.shape[:2], 3)).copy()) for tile in tiles]
    return facts, rows


def _small(file: Path) -> Image.Image | None:
    try:
        with Image.open(file) as image:
            loaded = image.convert("RGB")
    except OSError:
        return None
    loaded.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return loaded
