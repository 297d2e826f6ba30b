"""Many images with exact labels, one seed per image, resumable.

Image k of class c is drawn with a seed made of (seed, c, k): its noise is the same whatever the batch size, however
many images are drawn beside it, and wherever the drawing was interrupted. So the image is the same up to rounding, for
a network adds in another order in a batch of another size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from tqdm import tqdm

from t2h.convert import from_checkpoint
from t2h.data.groups import head_to_tail
from t2h.device import autocast
from t2h.errors import UserError
from t2h.pipeline import T2HPipeline
from t2h.pipeline.guidance import pipeline_folder
from t2h.pipeline.read import read_folder
from t2h.process import Process
from t2h.randomness import derive_seed
from t2h.samples.grid import as_uint8, sample_grid
from t2h.sampling import Sampling


@dataclass(frozen=True)
class Wanted:
    """Which images to draw: image ``index[i]`` of class ``labels[i]``; label -1 is none (unconditional)."""

    labels: Int[np.ndarray, " n"]
    index: Int[np.ndarray, " n"]

    @classmethod
    def per_class(cls, classes: Sequence[int], count: int) -> Wanted:
        """``count`` images of each of these classes, class by class; [-1] is ``count`` images without label."""
        return cls(np.repeat(np.asarray(classes, dtype=np.int64), count), np.tile(np.arange(count), len(classes)))

    @classmethod
    def of_labels(cls, labels: Int[np.ndarray, " n"]) -> Wanted:
        """One image for each label, in this order."""
        index = np.zeros(len(labels), dtype=np.int64)
        for label in np.unique(labels):
            index[labels == label] = np.arange(np.sum(labels == label))
        return cls(labels, index)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, keep: Int[np.ndarray, " m"] | slice) -> Wanted:
        """Some of them."""
        return Wanted(self.labels[keep], self.index[keep])


def draw_float(
    pipeline: T2HPipeline,
    wanted: Wanted,
    sampling: Sampling,
    batch_size: int = 250,
    progress: bool = True,
    on_step_end: Any = None,
) -> Iterator[Float[np.ndarray, "b h w c"]]:
    """Draw images batch by batch, in the order of ``wanted``, as float32 in [0, 1], (b, H, W, C).

    Of the pipeline's scheduler only the noise schedule is used. ``batch_size``, the images a pass, does not change
    their noise. ``on_step_end`` is the pipeline's `callback_on_step_end`.

    Raises:
        UserError: for a scheduler or a number of steps that does not suit, a class that is not there, or an arithmetic
            that the device lacks.
    """
    before, training = pipeline.scheduler, pipeline.unet.training
    arithmetic = autocast(pipeline.device, sampling.mixed_precision)
    pipeline.scheduler = Process.of(before).scheduler(sampling.scheduler)
    pipeline.unet.eval()
    pipeline.set_progress_bar_config(disable=True)
    try:
        with tqdm(total=len(wanted), unit="img", desc=f"w = {sampling.w:g}", disable=not progress) as bar:
            for start in range(0, len(wanted), batch_size):
                part = wanted.part(slice(start, start + batch_size))
                labels = None if part.labels[0] < 0 else part.labels.tolist()
                pairs = zip(part.labels.tolist(), part.index.tolist(), strict=True)
                seeds = [derive_seed(sampling.seed, "sample", label + 1, index) for label, index in pairs]
                with arithmetic:
                    output: Any = pipeline(
                        labels,
                        guidance_scale=pipeline.guidance_scales(sampling, labels),
                        num_inference_steps=sampling.steps,
                        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                        output_type="np",
                        batch_size=len(part),
                        eta=sampling.eta,
                        clip_sample=sampling.clip_sample,
                        w_interval=sampling.w_interval,
                        guide=sampling.guide,
                        callback_on_step_end=on_step_end,
                    )
                if not np.isfinite(output.images).all():
                    raise UserError("the network draws values that are no numbers: its training has diverged.")
                yield output.images
                bar.update(len(part))
    finally:
        pipeline.scheduler = before
        pipeline.unet.train(training)


def draw(
    pipeline: T2HPipeline, wanted: Wanted, sampling: Sampling, batch_size: int = 250, progress: bool = True
) -> Iterator[UInt8[np.ndarray, "b h w c"]]:
    """As `draw_float`, rounded to 8 bits, as images are stored."""
    for images in draw_float(pipeline, wanted, sampling, batch_size, progress):
        yield as_uint8(images)


def draw_array(
    pipeline: T2HPipeline, wanted: Wanted, sampling: Sampling, batch_size: int = 250, progress: bool = True
) -> UInt8[np.ndarray, "n h w c"]:
    """All images of `draw`, in one array."""
    return np.concatenate(list(draw(pipeline, wanted, sampling, batch_size, progress)))


def draw_grid(
    pipeline: T2HPipeline, sampling: Sampling | None = None, rows: int = 10, columns: int = 10
) -> Image.Image:
    """A grid of samples with row labels, head to tail; of more than ``rows`` classes, evenly spread ones.

    Drawn as ``sampling`` says, by default the pipeline's own.
    """
    sampling, classes = sampling or pipeline.sampling, pipeline.num_classes
    if classes is None:
        images = draw_array(pipeline, Wanted.per_class([-1], rows * columns), sampling, progress=False)
        return sample_grid(images, np.arange(len(images)) // columns, ["samples"] * rows, [1] * rows, columns, False)
    counts = pipeline.config["class_counts"] or [1] * classes
    chosen = head_to_tail(counts)[np.unique(np.linspace(0, classes - 1, min(rows, classes)).round().astype(int))]
    wanted = Wanted.per_class(chosen.tolist(), columns)
    images = draw_array(pipeline, wanted, sampling, progress=False)
    return sample_grid(images, wanted.labels, pipeline.config["class_names"], counts, columns)


def load_pipeline(source: Path) -> T2HPipeline:
    """The pipeline of a run folder, of a pipeline folder, or of a checkpoint file, official or of a run.

    Raises:
        UserError: where there is none.
    """
    if source.is_file():
        return from_checkpoint(source)
    if folder := pipeline_folder(source):
        return read_folder(T2HPipeline, folder)
    state = "does not exist" if not source.exists() else "holds no pipeline/ (no checkpoint was written yet?)"
    raise UserError(f"{source} {state}; give the folder of a run, a pipeline folder, or a checkpoint.")
