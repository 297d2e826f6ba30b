"""The protocol that a result records, and a note for each way in which it leaves the default one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from t2h.evaluation.judge import Judge
from t2h.results.point import Point, in_order_of_w
from t2h.results.result import PAPER_W, Provenance, Result, label_kind
from t2h.samples.read import SampleSet
from t2h.sampling import Sampling
from t2h.version import __version__

FULL = 50_000
"""Images that published results use."""


def source_of(samples: SampleSet, num_classes: int, name: str | None = None) -> Provenance:
    """Where stored samples come from, called ``name``, else by their method, folder or file."""
    float_images = isinstance(samples.images, np.ndarray) and samples.images.dtype != np.uint8
    labels = label_kind(samples.labels, num_classes)
    name = name or samples.facts.get("method") or samples.path.stem
    return provenance(samples.facts, name, labels, "float" if float_images else "8-bit")


def provenance(
    facts: dict[str, Any], name: str, labels: str, image_path: str = "8-bit", config: dict[str, Any] | None = None
) -> Provenance:
    """What `samples.json` (or the pipeline itself) says about the samples; unknown where it says nothing."""
    known = all(key in facts for key in ("scheduler", "steps", "seed"))
    return Provenance(
        name=name,
        method=facts.get("method"),
        images_seen=facts.get("images_seen"),
        weights_sha256=facts.get("weights_sha256"),
        config=config,
        seed=None if config is None else config.get("learning", {}).get("seed"),
        class_counts=facts.get("class_counts"),
        sampler=_sampler(Sampling.of(facts)) if known else None,
        labels=labels,
        image_path=image_path,
    )


def _sampler(drawn: Sampling) -> dict[str, Any]:
    """How samples are drawn, beside the guidance. The seed is recorded, but no factor to agree on."""
    values = {key: getattr(drawn, key) for key in ("scheduler", "steps", "seed", "eta")}
    clipping = "every step" if drawn.clip_sample else "final"
    return values | {"clipping": clipping, "mixed_precision": drawn.mixed_precision}


def protocol(source: Provenance, judge: Judge) -> dict[str, Any]:
    """Every factor that two results must share to be comparable."""
    reference, extractor, options = judge.reference, judge.extractor, judge.options
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
        "seed": options.metric_seed,
    }


def deviations(source: Provenance, judge: Judge, num_images: int, ws: Sequence[float | None]) -> list[str]:
    """One note for each way in which the result leaves the default protocol; published results keep to all of it."""
    reference, extractor = judge.reference, judge.extractor
    notes = []
    if num_images < FULL:
        notes.append(f"{num_images:,} images instead of {FULL:,}: not comparable with published results")
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
        notes.append("the samples have no labels: no metrics per class")
    notes += _sampler_notes(source.sampler)
    if (source.config or {}).get("learning", {}).get("dropout_unit") == "batch":
        notes.append("labels were dropped for whole batches in training, not per sample")
    if source.class_counts is None and reference.train_counts is None:
        notes.append("the training counts are not known: no head, medium and tail")
    elif source.class_counts is not None and reference.train_counts not in (None, list(source.class_counts)):
        notes.append(
            "the run was trained on other class counts than the reference's training rows: memorisation misleads"
        )
    if ws and ws != [None] and PAPER_W not in ws:
        notes.append(f"w = {PAPER_W:g}, the value of the paper, is not among the points")
    return notes + list(source.notes)


def _sampler_notes(sampler: dict[str, Any] | None) -> list[str]:
    if sampler is None:
        return ["the sampler is not known"]
    different = [
        f"{key.replace('_', ' ')} {sampler.get(key)}"
        for key, default in _sampler(Sampling()).items()
        if key != "seed" and sampler.get(key) not in (None, default)
    ]
    return [f"sampler: {', '.join(different)}, not DDIM with 100 steps"] if different else []


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
    counts = source.class_counts if source.class_counts is not None else reference.train_counts
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
            "method": source.method,
            "images_seen": source.images_seen,
            "weights_sha256": source.weights_sha256,
            "config": source.config,
            "seed": source.seed,
        },
        protocol=protocol(source, judge),
        notes=tuple(deviations(source, judge, fewest, [point.w for point in points])),
        images=images or {},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        package={"version": __version__, "commit": _commit()},
    )


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
