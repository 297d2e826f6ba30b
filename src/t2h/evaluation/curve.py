"""Whole evaluations: a curve over w from a run, or points from stored samples; resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from t2h.errors import UserError
from t2h.evaluation.figures import Judge
from t2h.evaluation.nearest import beside_training_images
from t2h.evaluation.point import Point, Setting, evaluate_arrays
from t2h.features.base import pixels_sha256
from t2h.results.compare import differing_factors
from t2h.results.result import Provenance, Result, label_kind, make_result, read_result, write_result
from t2h.samples.read import SampleSet, read_samples
from t2h.sampling import CurveFlags, Sampling


@dataclass(frozen=True)
class Drawing:
    """How samples are drawn from a run.

    Args:
        per_class: images of each class; None for 50,000 in all.
        sampling: what replaces the run's own sampling, beside the guidance, which is that of each point.
        batch_size: images a pass; it does not change their noise.
        device: where the network runs.
        float_images: judge the images as they leave the network, not rounded to 8 bits (as the official code does).
        pictures: keep samples of the rarest classes beside their nearest training images in the result.
    """

    per_class: int | None = None
    sampling: CurveFlags = field(default_factory=CurveFlags)
    batch_size: int = 250
    device: str = "cpu"
    float_images: bool = False
    pictures: bool = True


@dataclass(frozen=True, eq=False)
class Planned:
    """A point to come: its guidance, how many images, a fingerprint of them, and how to get them."""

    w: float | None
    num_images: int
    fingerprint: str | None
    images: Callable[[], SampleSet]


def evaluate_stored(
    paths: Sequence[Path], judge: Judge, out: Path, name: str | None = None, progress: bool = True
) -> Result:
    """Judge stored samples, a folder or `.npz` for each guidance weight, into one result file.

    Raises:
        UserError: as `read_samples` and `evaluate_arrays`; for images that cannot be read, all of them by name; or if
            the samples are of different networks or samplers, or two of the same w.
    """
    sets = [read_samples(path, judge.reference.class_names).checked() for path in paths]
    sources = [source_of(samples, judge.reference.num_classes, name) for samples in sets]
    for path, other in zip(paths, sources, strict=True):
        if replace(other, name="") != replace(sources[0], name=""):
            raise UserError(f"{path} comes from another network or sampler than {paths[0]}; judge them one by one.")
    if len({other.w for other in sets}) < len(sets):
        raise UserError("two sets of samples have the same (or no) w; judge them one by one.")
    planned = [Planned(s.w, s.images.shape[0], pixels_sha256(s.images), partial(_itself, s)) for s in sets]
    return _evaluate(planned, sources[0], judge, out, progress)


def evaluate_run(
    run: Path,
    ws: Sequence[float],
    judge: Judge,
    out: Path,
    drawing: Drawing | None = None,
    name: str | None = None,
    progress: bool = True,
) -> Result:
    """Draw samples of a run at each w and judge them, into one result file; the samples are not stored.

    They are drawn as the run's own sampling says, but for what ``drawing`` replaces; without ``ws``, at its w.

    Raises:
        UserError: as `evaluate_arrays`, or if there is no pipeline, or it has other classes than the reference.
    """
    from t2h.samples.draw import Wanted, draw, draw_float, load_pipeline
    from t2h.samples.store import facts_of

    drawing = drawing or Drawing()
    pipeline = load_pipeline(run).to(drawing.device)
    pipeline.set_progress_bar_config(disable=True)
    classes, reference = pipeline.num_classes, judge.reference
    if classes is not None and reference.num_classes not in (0, classes):
        raise UserError(f"{run} has {classes} classes, the reference {reference.name} {reference.num_classes}.")
    if reference.image_shape not in (None, pipeline.image_shape):
        reference.check(judge.extractor, reference.statistics.dim, pipeline.image_shape)
    per_class = drawing.per_class or -(-50_000 // (classes or 1))
    wanted = Wanted.unlabelled(per_class) if classes is None else Wanted.per_class(range(classes), per_class)
    labels = None if classes is None else wanted.labels
    own = pipeline.sampling.overridden(drawing.sampling)
    ws = ws or (own.w,)

    config_file = run / "config.yaml"
    config = yaml.safe_load(config_file.read_text("utf-8")) if config_file.is_file() else None
    facts = facts_of(pipeline, own)
    image_path = "float" if drawing.float_images else "8-bit"
    source = provenance(facts, name or run.name, "exact" if labels is not None else "none", image_path, config)

    def drawn(w: float) -> SampleSet:
        drawer = draw_float if drawing.float_images else draw
        images = np.concatenate(list(drawer(pipeline, wanted, replace(own, w=w), drawing.batch_size, progress)))
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return SampleSet(run, images, labels, tuple(pipeline.config["class_names"]), facts | {"w": w})

    planned = [Planned(w, len(wanted), None, partial(drawn, w)) for w in ws]
    return _evaluate(planned, source, judge, out, progress, config if drawing.pictures else None)


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
    sampler = None
    if all(key in facts for key in ("scheduler", "steps", "seed")):
        drawn = Sampling.of(facts)
        sampler = {key: getattr(drawn, key) for key in ("scheduler", "steps", "seed", "eta", "mixed_precision")}
        sampler["clipping"] = "every step" if drawn.clip_sample else "final"
    return Provenance(
        name=name,
        method=facts.get("method"),
        images_seen=facts.get("images_seen"),
        weights_sha256=facts.get("weights_sha256"),
        config=config,
        seed=None if config is None else config.get("learning", {}).get("seed"),
        class_counts=facts.get("class_counts"),
        sampler=sampler,
        labels=labels,
        image_path=image_path,
    )


def _itself(samples: SampleSet) -> SampleSet:
    return samples


def _evaluate(
    planned: Sequence[Planned], source: Provenance, judge: Judge, out: Path, progress: bool, config: Any = None
) -> Result:
    def result_of(points: Sequence[Point], images: dict[str, Any]) -> Result:
        return make_result(source, judge.reference, judge.extractor, points, judge.options, images)

    points, pictures = _earlier(out, result_of([], {}), [plan.num_images for plan in planned])
    result = result_of(points, pictures)
    for plan in planned:
        if any(_is_done(point, plan, judge) for point in points):
            continue
        started = time.monotonic()
        samples = plan.images()
        seconds = time.monotonic() - started if plan.fingerprint is None else None
        counts = None if source.class_counts is None else np.array(source.class_counts)
        setting = Setting(plan.w, seconds)
        point = evaluate_arrays(
            samples.images, samples.labels, judge.reference, judge.extractor, counts, setting, judge, progress
        )
        point["samples_sha256"] = plan.fingerprint
        points = [other for other in points if other["w"] != plan.w] + [point]
        if config is not None and samples.labels is not None:
            pictures[f"{plan.w:g}"] = beside_training_images(samples.images, samples.labels, config, judge.extractor)
        result = result_of(points, pictures)
        write_result(result, out)
    return result


def _earlier(out: Path, planned: Result, nums: Sequence[int]) -> tuple[list[Point], dict[str, Any]]:
    """Points and pictures of a result that is being continued.

    Raises:
        UserError: if the file is of another protocol or network.
    """
    if not out.exists():
        return [], {}
    earlier = read_result(out)
    differing = differing_factors(earlier, planned)
    differing.pop("num_images", None)
    names = [*differing, *(["weights"] if earlier["run"]["weights_sha256"] != planned["run"]["weights_sha256"] else [])]
    if any(point["num_images"] not in nums for point in earlier["points"]):
        names.append("number of images")
    if names:
        raise UserError(
            f"{out} holds a result that was measured otherwise ({', '.join(names)}); "
            "remove it, or write to another file with --out."
        )
    return earlier["points"], earlier["images"]


def _is_done(point: Point, plan: Planned, judge: Judge) -> bool:
    same = point["w"] == plan.w and point["num_images"] == plan.num_images
    return same and point.get("samples_sha256") == plan.fingerprint and set(judge.names()) <= set(point["figures"])
