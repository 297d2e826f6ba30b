"""Samples of the rarest classes beside their nearest training images: what memorisation looks like."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from t2h.data.config import DataConfig, load
from t2h.errors import UserError
from t2h.features.base import FeatureExtractor, extract
from t2h.files import read_object, reading
from t2h.metrics.neighbours import nearest
from t2h.samples.grid import as_picture
from t2h.typed import typed

Labelled = tuple[Any, np.ndarray]
"""Images (N, C, H, W) with their labels (N,)."""


def data_of(config: Mapping[str, Any]) -> DataConfig | None:
    """The data that a run's configuration names, nothing of which is to be fetched; None of a damaged one."""
    try:
        known = {
            key: value for key, value in (config.get("data") or {}).items() if key in DataConfig.__dataclass_fields__
        }
        return typed(DataConfig, known | {"download": False})
    except (AttributeError, UserError):
        return None


def run_data(run: Path) -> DataConfig | None:
    """`data_of` the configuration in the folder of a run; None where there is none.

    Raises:
        UserError: if it cannot be read.
    """
    file = run / "config.yaml"
    if not file.is_file():
        return None
    with reading(file, "configuration of a run", "restore it, or give --data (t2h inspect samples)"):
        return data_of(read_object(file))


def training_images(config: Mapping[str, Any]) -> Labelled | None:
    """What a run's configuration names; None where it is not here. Nothing is fetched."""
    with suppress(UserError, OSError):
        if data := data_of(config):
            table = load(data)
            return table.images, table.labels
    return None


def nearest_examples(
    samples: Labelled, training: Labelled, extractor: FeatureExtractor, num_classes: int = 3, per_class: int = 6
) -> list[dict[str, Any]]:
    """The first samples of the rarest training classes, with the nearest training image of the same class.

    Args:
        samples: uint8, or floats in [0, 1].
        training: uint8.
        extractor: whose features measure the distance.
        num_classes: how many of the rarest classes.
        per_class: samples of each.

    Returns:
        [{"class", "png", "nearest_png", "distance"}, ...]; PNG files as base64 text.
    """
    counts = np.bincount(training[1])
    rarest = [c for c in np.argsort(counts, kind="stable") if counts[c] and (samples[1] == c).any()][:num_classes]
    found = []
    for c in rarest:
        ours = samples[0][np.flatnonzero(samples[1] == c)[:per_class]]
        theirs = training[0][np.flatnonzero(training[1] == c)]
        near = nearest(extract(ours, extractor), extract(theirs, extractor))
        for image, index, distance in zip(ours, near.index, near.distance, strict=True):
            pngs = {"png": _png(image), "nearest_png": _png(theirs[index])}
            found.append({"class": int(c), **pngs, "distance": float(distance)})
    return found


def _png(image: UInt8[np.ndarray, "c h w"] | Float[np.ndarray, "c h w"]) -> str:
    file = io.BytesIO()
    as_picture(image).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
