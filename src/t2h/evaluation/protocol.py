"""The protocol that a result records, and a note for each way in which it leaves the default one."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from t2h.evaluation.judge import Judge
from t2h.features.inception import RESIZES
from t2h.results.point import Point, in_order_of_w
from t2h.results.result import PAPER_W, Result
from t2h.samples.read import SampleSet
from t2h.sampling import Sampling
from t2h.version import __version__

FULL = 50_000
"""Images that published results use."""


@dataclass(frozen=True)
class Provenance:
    """Where samples come from.

    Args:
        name: what the row is called in tables.
        facts: what samples.json says, as far as it is known: "method", "images_seen", "weights_sha256",
            "class_counts" (training images of each class), and the fields of `t2h.sampling.Sampling`.
        config: the run's configuration.
        labels: "exact" (so many of each class), "random" or "none".
        image_path: "8-bit" or "float".
    """

    name: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None
    labels: str = "exact"
    image_path: str = "8-bit"

    @classmethod
    def of(cls, samples: SampleSet, num_classes: int, name: str | None = None) -> Provenance:
        """Of stored samples, called ``name``, else by their method, folder or file."""
        floats = isinstance(samples.images, np.ndarray) and samples.images.dtype != np.uint8
        labels = "none"
        if samples.labels is not None:
            counts = np.bincount(samples.labels, minlength=num_classes)
            labels = "exact" if counts.min() == counts.max() else "random"
        name = name or samples.facts.get("method") or samples.path.stem
        return cls(name, samples.facts, None, labels, "float" if floats else "8-bit")

    @property
    def learning(self) -> Mapping[str, Any]:
        """How the network was trained, as far as that is known."""
        learning = (self.config or {}).get("learning")
        return learning if isinstance(learning, dict) else {}

    @property
    def sampler(self) -> dict[str, Any] | None:
        """How the samples were drawn, but for w; None where that is not known."""
        if any(self.facts.get(key) is None for key in ("scheduler", "steps", "seed")):
            return None
        return _sampler(Sampling.of(self.facts))


def _sampler(drawn: Sampling) -> dict[str, Any]:
    """How samples are drawn, beside the guidance. The seed is recorded, but no factor to agree on."""
    values = {key: getattr(drawn, key) for key in ("scheduler", "steps", "seed", "eta")}
    clipping = "every step" if drawn.clip_sample else "final"
    return values | {"clipping": clipping, "mixed_precision": drawn.mixed_precision, "guidance": drawn.guidance}


def protocol(source: Provenance, judge: Judge) -> dict[str, Any]:
    """Every factor that two results must share to be comparable."""
    reference, extractor, options = judge.reference, judge.extractor, judge.options
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
        "label_dropout": source.learning.get("label_dropout"),
        "dropout_unit": source.learning.get("dropout_unit"),
        "images_seen": source.facts.get("images_seen"),
        "ks": list(options.ks),
        "kid": {"subsets": options.kid_subsets, "subset_size": options.kid_subset_size, "kernel": "cubic, unbiased"},
        "prd": {"clusters": "20 per class", "runs": options.prd_runs},
        "is": {"splits": options.is_splits, "shuffled": True},
        "memorisation": {"quantile": options.quantile},
        "groups": {"thirds": "i*C//3 by training count", "shots": [100, 20]},
        "seed": options.metric_seed,
    }


def deviations(source: Provenance, judge: Judge, num_images: int, ws: Sequence[float | None]) -> list[str]:
    """One note for each way in which the result leaves the default protocol; published results keep to all of it."""
    reference, extractor = judge.reference, judge.extractor
    balance, own = reference.class_counts or [1], source.facts.get("class_counts")
    foreign, inception = reference.seen_by is None, extractor.name.startswith("inception-")
    drawn, default = source.sampler or {}, _sampler(Sampling())
    other = [f"{key} {drawn[key]}".replace("_", " ") for key in drawn if drawn[key] != default[key] and key != "seed"]
    notes = {
        f"{num_images:,} images instead of {FULL:,}: not comparable with published results": num_images < FULL,
        f"the reference {reference.name} is a file of statistics: which network and resize made it is not known": (
            foreign
        ),
        f"the reference is {reference.name}, split {reference.split}, not the balanced training set": (
            not foreign and reference.split != "train"
        ),
        f"the reference is not balanced: {min(balance):,} to {max(balance):,} images in a class": (
            min(balance) * 1.25 < max(balance)
        ),
        f"features of {extractor.name}, not of the FID Inception: compare only with the same features": not inception,
        f"images resized by {extractor.resize}, not {RESIZES[0]}": inception and extractor.resize != RESIZES[0],
        "images judged as float, not as the 8-bit images that a user would store": source.image_path != "8-bit",
        "labels drawn at random, or classes of unequal size: not an exact number per class": source.labels == "random",
        "the samples have no labels: no metrics per class": source.labels == "none",
        "the sampler is not known": not drawn,
        f"sampler: {', '.join(other)}, not DDIM with 100 steps": bool(other),
        "labels were dropped for whole batches in training, not per sample": (
            source.learning.get("dropout_unit") == "batch"
        ),
        "the training counts are not known: no head, medium and tail": own is None and reference.train_counts is None,
        "the run was trained on other class counts than the reference's training rows: memorisation misleads": (
            own is not None and reference.train_counts not in (None, list(own))
        ),
        f"w = {PAPER_W:g}, the value of the paper, is not among the points": (
            any(w is not None for w in ws) and PAPER_W not in ws
        ),
    }
    return [text for text, holds in notes.items() if holds]


def make_result(
    source: Provenance, judge: Judge, points: Sequence[Point], images: dict[str, list[dict[str, Any]]] | None = None
) -> Result:
    """Points with everything that is known of how they were made.

    Args:
        source: where the samples come from.
        judge: that made the points.
        points: of `evaluate_arrays`, one per guidance weight.
        images: by w, samples of the rarest classes beside their nearest training images, for the page.
    """
    reference = judge.reference
    counts = source.facts.get("class_counts")
    counts = reference.train_counts if counts is None else counts
    fewest = min((point.num_images or 0 for point in points), default=0)
    return Result(
        name=source.name,
        points=in_order_of_w(points),
        data={
            "name": reference.name,
            "class_names": list(reference.class_names),
            "class_counts": None if counts is None else [int(n) for n in counts],
        },
        run={
            **{key: source.facts.get(key) for key in ("method", "images_seen", "weights_sha256", "guide_sha256")},
            "config": source.config,
            "seed": source.learning.get("seed"),
        },
        protocol=protocol(source, judge),
        notes=tuple(deviations(source, judge, fewest, [point.w for point in points])),
        images=images or {},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        package={"version": __version__, "commit": _commit()},
    )


@cache
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
