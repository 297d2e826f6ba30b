"""What the explorer shows, as pictures and texts; it knows nothing of the page."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from t2h.data.config import load
from t2h.data.groups import head_to_tail
from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.evaluation.copies import class_copies, copies_table
from t2h.evaluation.nearest import run_data
from t2h.features.base import FeatureExtractor, extract
from t2h.metrics.neighbours import nearest
from t2h.pipeline import T2HPipeline
from t2h.results.table import Table
from t2h.samples.draw import Wanted, draw, draw_float, load_pipeline
from t2h.samples.grid import enlarged, picture
from t2h.samples.read import SampleSet
from t2h.samples.store import facts_of, write_archive
from t2h.sampling import Sampling

BATCH = 8
"""Images a pass: they appear, and a drawing can be stopped, between passes."""
TILE, FRAME = 48, 256
"""Pixels that an image is high at least, in a grid and step by step."""
Images = UInt8[np.ndarray, "n h w c"]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Images, and how they were drawn: ``labels`` (n,) are class ids, -1 without label."""

    wanted: Wanted
    sampling: Sampling
    images: Images
    seconds: float

    @property
    def progress(self) -> str:
        """ "24 of 60 images, 31 images/s, 1 s left"."""
        there, all_ = len(self.images), len(self.wanted)
        if there == all_:
            return f"{all_} images in {self.seconds:.1f} s"
        rate = there / max(self.seconds, 1e-9)
        return f"{there} of {all_} images, {rate:.1f} images/s, {(all_ - there) / rate:.0f} s left"


class Model:
    """A model that is looked at; ``source`` is a run, a pipeline folder, or a checkpoint."""

    def __init__(self, source: Path, device: torch.device | str = "cpu") -> None:
        self.source, self.pipeline = source, load_pipeline(source).to(device)
        config, self.unconditional = self.pipeline.config, self.pipeline.num_classes is None
        self.names: list[str] = ["all classes"] if self.unconditional else config["class_names"]
        self.counts: list[int] | None = None if self.unconditional else config["class_counts"]
        self.seconds_per_pass: float | None = None

    @property
    def name(self) -> str:
        return self.source.resolve().name.split(".")[0]

    @property
    def order(self) -> list[int]:
        return list(range(len(self.names))) if self.counts is None else head_to_tail(np.array(self.counts)).tolist()

    def title(self, label: int) -> str:
        """ "truck · 12 images"."""
        return self.names[label] + ("" if self.counts is None else f" · {self.counts[label]:,} images")

    def wanted(self, classes: Sequence[int], per_class: int, first: int = 0) -> Wanted:
        """Images ``first`` and following of each class."""
        ids = [-1] if self.unconditional else list(classes)
        wanted = Wanted.per_class(ids, per_class)
        return Wanted(wanted.labels, wanted.index + first)

    def seconds(self, images: int, sampling: Sampling) -> float | None:
        """How long a drawing is going to take, by the last one; None before the first."""
        rate = self.seconds_per_pass
        return None if rate is None else rate * images * sampling.steps * self._passes(sampling)

    def _passes(self, sampling: Sampling) -> float:
        low, high = sampling.w_interval
        guided = not self.unconditional and (sampling.w or sampling.w_table or sampling.guide)
        return 1 + (high - low) * bool(guided)

    def draw(self, wanted: Wanted, sampling: Sampling) -> Iterator[Drawn]:
        """Images as they come, a few at a time.

        Raises:
            UserError: as `t2h.samples.draw.draw`.
        """
        begun, images = time.perf_counter(), np.empty((0, 1, 1, 1), np.uint8)
        for batch in draw(self.pipeline, wanted, sampling, BATCH, progress=False):
            images = np.concatenate([images, batch]) if len(images) else batch
            seconds = time.perf_counter() - begun
            self.seconds_per_pass = seconds / (len(images) * sampling.steps * self._passes(sampling))
            yield Drawn(wanted, sampling, images, seconds)

    def grid(self, drawn: Drawn) -> Image.Image:
        """What is there of the images, a row for each class, from head to tail."""
        tiles, labels = enlarged(drawn.images, TILE), drawn.wanted.labels[: len(drawn.images)]
        there = [c for c in (self.order if labels[0] >= 0 else [-1]) if (labels == c).any()]
        return picture([tiles[labels == c] for c in there], [self.title(max(c, 0)) for c in there])

    def denoising(self, label: int, index: int, sampling: Sampling) -> list[tuple[float, Image.Image]]:
        """t and x_t after each step, from noise to the image; of the class's image ``index``."""
        frames: list[tuple[float, Image.Image]] = []

        def keep(pipeline: T2HPipeline, _i: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            image = pipeline.to_images(tensors["latents"])[0].permute(1, 2, 0).mul(255).round().byte().cpu().numpy()
            frames.append((float(t), Image.fromarray(enlarged(image[None], FRAME)[0])))
            return tensors

        for _ in draw_float(self.pipeline, self.wanted([label], 1, index), sampling, 1, False, keep):
            pass
        return frames

    @cached_property
    def training(self) -> ImageTable:
        """The training images.

        Raises:
            UserError: where the source does not say which, or they are not here.
        """
        if (data := run_data(self.source)) is None:
            raise UserError(f"{self.source} does not say which images it was trained on; give the folder of a run.")
        return load(data)

    def copies(self, drawn: Drawn, extractor: FeatureExtractor | None = None) -> tuple[Image.Image, Table]:
        """Each image above the training image of its class that is nearest to it, and the table of near copies.

        Args:
            drawn: images with labels.
            extractor: whose features measure the distance; None compares pixels, mirror images included.
        """
        images = np.ascontiguousarray(drawn.images.transpose(0, 3, 1, 2))
        labels = None if self.unconditional else drawn.wanted.labels[: len(images)]
        samples = SampleSet(self.source, images, labels, tuple(self.names), {})
        rows, texts = [], []
        found = class_copies(samples, self.training)
        for each in found:
            ours, theirs = images[each.rows], self.training.images[each.training]
            if extractor is not None:
                real = theirs[nearest(extract(ours, extractor), extract(theirs, extractor)).index]
            elif each.found is not None:
                real = theirs[each.found.index]
                real = np.where(each.found.mirrored[:, None, None, None], real[..., ::-1], real)
            else:
                continue
            rows += [enlarged(ours, TILE), enlarged(real, TILE)]
            texts += [each.name if each.label is None else self.title(each.label), "nearest real"]
        if not rows:
            raise UserError("these classes have fewer than three different training images: nothing can be told.")
        return picture(rows, texts), copies_table(found)


def command(model: Model, classes: Sequence[int], per_class: int, sampling: Sampling) -> str:
    """The command line that draws the same images."""
    words = ["t2h", "sample", str(model.source), "--per-class", str(per_class)]
    if not model.unconditional and len(classes) < len(model.names):
        words += ["--classes", *(model.names[c] for c in classes)]
    own = model.pipeline.sampling
    for entry in fields(Sampling):
        value = getattr(sampling, entry.name)
        if value == getattr(own, entry.name):
            continue
        values = [f"{name}={w:g}" for name, w in value.items()] if isinstance(value, dict) else value
        values = values if isinstance(values, list | tuple) else [values]
        words += [f"--{entry.name.replace('_', '-')}", *map(str, values)]
    return shlex.join([*words, "--out", f"{model.name}.npz"])


def save(model: Model, drawn: Drawn, out: Path) -> None:
    """Write the images that are there, as `.npz` (as `t2h sample` does) or as a grid in PNG, with their settings."""
    facts = facts_of(model.pipeline, drawn.sampling)
    if out.suffix == ".npz":
        write_archive(drawn.images, drawn.wanted.labels[: len(drawn.images)], facts, out)
        return
    about = PngInfo()
    about.add_itxt("t2h", json.dumps(facts, ensure_ascii=False))
    model.grid(drawn).save(out, pnginfo=about)


def guidance_grid(model: Model, columns: Sequence[Drawn]) -> Image.Image:
    """Classes × w: in each column the first image of each class at one w."""
    labels = columns[0].wanted.labels
    first = sorted(np.unique(labels, return_index=True)[1])
    rows = [enlarged(np.stack([column.images[i] for column in columns]), TILE) for i in first]
    return picture(rows, [model.title(max(int(labels[i]), 0)) for i in first])
