"""The result file: points, every factor of the protocol, and a note for each deviation from the default protocol."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from t2h.errors import UserError
from t2h.evaluation.figures import FigureOptions
from t2h.evaluation.reference import Reference
from t2h.features.base import FeatureExtractor
from t2h.files import replaced
from t2h.version import __version__

Result = dict[str, Any]
FULL = 50_000
"""Images that published figures use."""
SAMPLER = {"scheduler": "ddim", "steps": 100, "clipping": "final", "mixed_precision": "no"}
"""The default sampler. Its seed is recorded, but no factor to agree on."""


@dataclass(frozen=True)
class Provenance:
    """Where samples come from; None (or empty) where it is unknown.

    Args:
        name: what the row is called in tables.
        method: the training objective.
        images_seen: training images until this checkpoint.
        weights_sha256: of the network's weights file.
        config: the run's configuration.
        seed: of the training.
        class_counts: training images of each class.
        sampler: {"scheduler", "steps", "seed", "clipping", "mixed_precision"}.
        labels: "exact" (so many of each class) or "random".
        image_path: "8-bit" or "float".
        notes: further deviations to be recorded.
    """

    name: str
    method: str | None = None
    images_seen: int | None = None
    weights_sha256: str | None = None
    config: dict[str, Any] | None = None
    seed: int | None = None
    class_counts: Sequence[int] | None = None
    sampler: dict[str, Any] | None = None
    labels: str = "exact"
    image_path: str = "8-bit"
    notes: tuple[str, ...] = ()


def label_kind(labels: np.ndarray | None, num_classes: int) -> str:
    """ "exact" if every class was asked for equally often, "random" if not, "none" without labels."""
    if labels is None:
        return "none"
    return "exact" if len(set(np.bincount(labels, minlength=num_classes).tolist())) == 1 else "random"


def protocol(reference: Reference, extractor: FeatureExtractor, options: FigureOptions, source: Provenance) -> Result:
    """Every factor that two results must share to be comparable."""
    learning = (source.config or {}).get("learning", {})
    return {
        "reference": {
            "name": reference.name,
            "split": reference.split,
            "num_images": reference.statistics.n,
            "class_counts": reference.class_counts,
            "sha256": reference.sha256,
        },
        "features": {
            "name": extractor.name,
            "sha256": extractor.sha256,
            "resize": extractor.resize,
            "dim": reference.statistics.dim,
        },
        "image_path": source.image_path,
        "labels": source.labels,
        "sampler": source.sampler,
        "label_dropout": learning.get("label_dropout"),
        "dropout_unit": learning.get("dropout_unit"),
        "images_seen": source.images_seen,
        "ks": list(options.ks),
        "kid": {"subsets": options.kid_subsets, "subset_size": options.kid_subset_size, "kernel": "cubic, unbiased"},
        "prd": {"clusters": "20 per class", "runs": options.prd_runs},
        "is": {"splits": options.is_splits, "shuffled": True},
        "memorisation": {"quantile": options.quantile},
        "groups": {"thirds": "i*C//3 by training count", "shots": [100, 20]},
        "seed": options.figure_seed,
    }


def deviations(
    reference: Reference, extractor: FeatureExtractor, source: Provenance, num_images: int, ws: Sequence[float | None]
) -> list[str]:
    """One note for each way in which the result leaves the default protocol; published figures keep to all of it."""
    notes = []
    if num_images < FULL:
        notes.append(f"{num_images:,} images instead of {FULL:,}: not comparable with published figures")
    if reference.seen_by is None:
        notes.append(
            f"the reference {reference.name} is a file of statistics: which network and resize made it is not known"
        )
    elif reference.split != "train":
        notes.append(f"the reference is {reference.name}, split {reference.split}, not the balanced training set")
    counts = reference.class_counts
    if counts and min(counts) * 1.25 < max(counts):
        notes.append(f"the reference is not balanced: {min(counts):,} to {max(counts):,} images in a class")
    if not extractor.name.startswith("inception-"):
        notes.append(f"features of {extractor.name}, not of the FID Inception: compare only with the same features")
    elif extractor.resize != "bilinear-half-pixel":
        notes.append(f"images resized by {extractor.resize}, not bilinear-half-pixel")
    if source.image_path != "8-bit":
        notes.append("images judged as float, not as the 8-bit images that a user would store")
    if source.labels == "random":
        notes.append("labels drawn at random, or classes of unequal size: not an exact number per class")
    if source.labels == "none":
        notes.append("the samples have no labels: no figures per class")
    notes += _sampler_notes(source.sampler)
    if (source.config or {}).get("learning", {}).get("dropout_unit") == "batch":
        notes.append("labels were dropped for whole batches in training, not per sample")
    if source.class_counts is None and reference.train_counts is None:
        notes.append("the training counts are not known: no head, medium and tail")
    elif source.class_counts is not None and reference.train_counts not in (None, list(source.class_counts)):
        notes.append(
            "the run was trained on other class counts than the reference's training rows: memorisation misleads"
        )
    if ws and ws != [None] and 1.5 not in ws:
        notes.append("w = 1.5, the value of the paper, is not among the points")
    return notes + list(source.notes)


def _sampler_notes(sampler: dict[str, Any] | None) -> list[str]:
    if sampler is None:
        return ["the sampler is not known"]
    different = [
        f"{key.replace('_', ' ')} {sampler.get(key)}"
        for key, default in SAMPLER.items()
        if sampler.get(key) not in (None, default)
    ]
    return [f"sampler: {', '.join(different)}, not DDIM with 100 steps"] if different else []


def make_result(
    source: Provenance,
    reference: Reference,
    extractor: FeatureExtractor,
    points: Sequence[dict[str, Any]],
    options: FigureOptions | None = None,
    images: dict[str, Any] | None = None,
) -> Result:
    """The content of a result file.

    Args:
        source: where the samples come from.
        reference: the real side.
        extractor: the feature network.
        points: of `evaluate_arrays`, one per guidance weight.
        options: those of the `Judge`.
        images: samples of the rarest classes beside their nearest training images, for the page.
    """
    counts = source.class_counts if source.class_counts is not None else reference.train_counts
    ws = [point["w"] for point in points]
    fewest = min((point["num_images"] for point in points), default=0)
    return {
        "format": "t2h-result",
        "version": 1,
        "name": source.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "package": {"version": __version__, "commit": _commit()},
        "run": {
            "method": source.method,
            "images_seen": source.images_seen,
            "weights_sha256": source.weights_sha256,
            "config": source.config,
            "seed": source.seed,
        },
        "data": {
            "name": reference.name,
            "class_names": list(reference.class_names),
            "class_counts": None if counts is None else [int(n) for n in counts],
        },
        "protocol": protocol(reference, extractor, options or FigureOptions(), source),
        "notes": deviations(reference, extractor, source, fewest, ws),
        "points": sorted(points, key=lambda point: -1.0 if point["w"] is None else point["w"]),
        "images": images or {},
    }


def _commit() -> str | None:
    """The commit of the source tree that runs, with "+" where it was changed; None for an installed package."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        tracked = subprocess.run(["git", "-C", str(here), "ls-files", "--error-unmatch", __file__], capture_output=True)
        if tracked.returncode:
            return None
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def write_result(result: Result, path: Path) -> None:
    """Write a result file, whole or not at all."""
    with replaced(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_result(path: Path) -> Result:
    """A result file.

    Raises:
        UserError: if it is missing, damaged, or no result of ours.
    """
    if not path.is_file():
        raise UserError(f"there is no result file {path}; make one with `t2h evaluate`.")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no result file, or a damaged one ({error}).") from error
    if not isinstance(result, dict) or result.get("format") != "t2h-result":
        raise UserError(f"{path} is no result file of `t2h evaluate`.")
    if result.get("version") != 1:
        raise UserError(f"{path} has version {result.get('version')}; this t2h reads version 1. Update t2h.")
    if sampler := result["protocol"].get("sampler"):
        sampler.setdefault("mixed_precision", "no")  # all that there was, before it was written down
        sampler.setdefault("eta", 0.0)
    return result
