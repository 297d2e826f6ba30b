"""Whole evaluations: a curve over w from a run, or points from stored samples; resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from t2h.errors import UserError
from t2h.evaluation.choice import Candidate, choose
from t2h.evaluation.judge import Judge
from t2h.evaluation.nearest import nearest_examples, training_images
from t2h.evaluation.point import judged, seen
from t2h.evaluation.protocol import FULL, Provenance, make_result
from t2h.features.base import pixels_sha256
from t2h.files import read_object, reading
from t2h.results.comparable import differing_factors
from t2h.results.point import Choice, Point
from t2h.results.result import Result, read_result, write_result
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
class PendingPoint:
    """A point to come: its guidance, how many images, and how to get them; the fingerprint is that of stored images."""

    w: float | None
    num_images: int
    samples: Callable[[], SampleSet]
    fingerprint: str | None = None


def evaluate_stored(
    paths: Sequence[Path], judge: Judge, out: Path, name: str | None = None, progress: bool = True
) -> Result:
    """Judge stored samples, a folder or `.npz` for each guidance weight, into one result file.

    Raises:
        UserError: as `read_samples` and `evaluate_arrays`; for images that cannot be read, all of them by name; or if
            the samples are of different networks or samplers, or two of the same w.
    """
    sets = [read_samples(path, judge.reference.class_names).checked() for path in paths]
    sources = [Provenance.of(samples, judge.reference.num_classes, name) for samples in sets]
    first, *others = (make_result(source, judge, []) for source in sources)
    for path, other in zip(paths[1:], others, strict=True):
        if (other.run, other.data, other.protocol) != (first.run, first.data, first.protocol):
            raise UserError(f"{path} comes from another network or sampler than {paths[0]}; judge them one by one.")
    if len({samples.w for samples in sets}) < len(sets):
        raise UserError("two sets of samples have the same (or no) w; judge them one by one.")
    pending = [
        PendingPoint(samples.w, samples.images.shape[0], partial(sets.__getitem__, i), pixels_sha256(samples.images))
        for i, samples in enumerate(sets)
    ]
    return _evaluate(pending, sources[0], judge, out, progress)


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

    They are drawn as the run's own sampling says, but for what ``drawing`` replaces; without ``ws``, at its w. To
    choose w per class (`MetricOptions.w_per`), points that are there are drawn again.

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
    reference.check(judge.extractor, pipeline.image_shape)
    per_class = drawing.per_class or -(-FULL // (classes or 1))
    wanted = Wanted.per_class([-1] if classes is None else range(classes), per_class)
    labels = None if classes is None else wanted.labels
    own = pipeline.sampling.overridden(drawing.sampling)

    file, config = run / "config.yaml", None
    if file.is_file():
        with reading(file, "configuration of a run", f"judge the weights alone, {run / 'pipeline'}"):
            config = read_object(file)
    facts = facts_of(pipeline, own)
    image_path = "float" if drawing.float_images else "8-bit"
    source = Provenance(name or run.name, facts, config, "none" if labels is None else "exact", image_path)

    def drawn(w: float) -> SampleSet:
        drawer = draw_float if drawing.float_images else draw
        images = np.concatenate(list(drawer(pipeline, wanted, replace(own, w=w), drawing.batch_size, progress)))
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
        return SampleSet(run, images, labels, tuple(pipeline.config["class_names"]), facts | {"w": w})

    pending = [PendingPoint(w, len(wanted), partial(drawn, w)) for w in ws or (own.w,)]
    return _evaluate(pending, source, judge, out, progress, drawing.pictures)


def _evaluate(
    pending: Sequence[PendingPoint],
    source: Provenance,
    judge: Judge,
    out: Path,
    progress: bool,
    pictures: bool = False,
) -> Result:
    empty = make_result(source, judge, [])
    result = _earlier(out, empty, [point.num_images for point in pending]) if out.exists() else empty
    counts = source.facts.get("class_counts") or judge.reference.train_counts
    counts = None if counts is None else np.array(counts)
    missing = [ahead for ahead in pending if not any(_is_done(point, ahead, judge) for point in result.points)]
    choosing = _choosing(pending, source, judge, None if missing else result.choice, counts is not None)

    def written(points: Sequence[Point], choice: Choice | None) -> Result:
        made = replace(make_result(source, judge, points, dict(result.images)), choice=choice)
        write_result(made, out)
        return made

    training, curve = None, []
    for ahead in pending if choosing else missing:
        started, stored = time.monotonic(), ahead.fingerprint is not None
        samples = ahead.samples()
        seconds = None if stored else time.monotonic() - started
        found = seen(samples.images, samples.labels, judge, progress, cached=stored or choosing)
        if choosing and ahead.w is not None:
            drawn = Sampling.of(samples.facts | {"w": ahead.w})
            weights = drawn.weights(samples.class_names, samples.facts.get("class_counts"))
            curve.append(Candidate(ahead.w, found, weights))
        if ahead not in missing:
            continue
        point = replace(judged(found, judge, counts, ahead.w), seconds=seconds, samples_sha256=ahead.fingerprint)
        if pictures and source.config and samples.labels is not None:
            training = training or training_images(source.config)
            if training:
                shown = nearest_examples((samples.images, samples.labels), training, judge.extractor)
                result.images[f"{ahead.w:g}"] = shown
        others = [other for other in result.points if other.w != ahead.w]
        replaced = len(others) < len(result.points)  # then its features are no longer those that chose
        result = written([*others, point], None if replaced else result.choice)
    if choosing:
        result = written(result.points, choose(curve, judge, samples.class_names, counts, progress))
    return result


def _choosing(
    pending: Sequence[PendingPoint], source: Provenance, judge: Judge, choice: Choice | None, counted: bool
) -> bool:
    """Whether the w of each class is to be chosen; ``choice`` is what was chosen of all these points.

    Raises a `UserError` if there is nothing to choose among, or for.
    """
    per, ws = judge.options.w_per, [point.w for point in pending]
    if per is None or (choice is not None and choice.per == per and set(choice.ws) == set(ws)):
        return False
    if source.labels == "none" or None in ws or len(ws) < 2:
        raise UserError("--w-per chooses among weights for each class: give two or more, of a network with labels.")
    if per == "group" and not counted:
        raise UserError("--w-per group: the training images of each class are not known; take --w-per class.")
    return True


def _earlier(out: Path, empty: Result, sizes: Sequence[int]) -> Result:
    """The result that is being continued; a `UserError` if it is of another protocol or network."""
    earlier = read_result(out)
    names = list(differing_factors(earlier, empty))
    hashes = [key for key in ("weights_sha256", "guide_sha256") if earlier.run.get(key) != empty.run[key]]
    names += [key.removesuffix("_sha256") for key in hashes]
    if any(point.num_images not in sizes for point in earlier.points):
        names.append("number of images")
    if names:
        raise UserError(
            f"{out} holds a result that was measured otherwise ({', '.join(names)}); "
            "remove it, or write to another file with --out."
        )
    return earlier


def _is_done(point: Point, ahead: PendingPoint, judge: Judge) -> bool:
    same = point.w == ahead.w and point.num_images == ahead.num_images
    return same and point.samples_sha256 == ahead.fingerprint and judge.keys() <= point.metrics.keys()
