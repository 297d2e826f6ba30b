"""`ddpm_gen.py --eval` and `main.py --eval`: draw images with labels and keep them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from t2h.convert import from_official
from t2h.device import pick_device
from t2h.errors import UserError
from t2h.files import replaced
from t2h.official.flags import Flags
from t2h.pipeline import T2HPipeline
from t2h.process import NoiseSchedule
from t2h.samples.draw import Wanted
from t2h.samples.read import SampleSet, read_samples
from t2h.samples.store import write_samples
from t2h.sampling import Sampling
from t2h.training.run import RunFolder


@dataclass(frozen=True)
class Drawing:
    """What one call of an official script draws, and where it leaves it."""

    pipeline: T2HPipeline
    wanted: Wanted
    sampling: Sampling
    images: Path
    grid: Path
    batch_size: int


def find_pipeline(logdir: Path, step: int, image_size: int | None = None) -> T2HPipeline:
    """The network of a checkpoint: of one of our runs in ``logdir``, or of an official `ckpt_STEP.pt` there.

    Args:
        logdir: the folder.
        step: of the checkpoint; -1 is the official `ckpt.pt`, or our last one.
        image_size: replaces that of an official checkpoint.

    Raises:
        UserError: where there is none, with what there is.
    """
    name = "ckpt" if step < 0 else f"ckpt_{step}"
    for file in (logdir / f"{name}.pt", logdir / f"{name}.pt.xz"):
        if file.exists():
            return from_official(file, image_size=image_size)
    ours = RunFolder(logdir).checkpoints()
    if step in ours or (step < 0 and ours):
        return RunFolder(logdir).pipeline(None if step < 0 else step)
    there = [str(number) for number in ours] + sorted(file.name for file in logdir.glob("ckpt*.pt*"))
    raise UserError(
        f"{logdir} has no checkpoint {f'of step {step}' if step >= 0 else 'ckpt.pt'}, ours or official; "
        + (
            f"there are: {', '.join(there)}."
            if there
            else "train first: python main.py --train ... --logdir " + str(logdir)
        )
    )


def gen_drawing(flags: Flags) -> Drawing:
    """What `ddpm_gen.py --eval` draws."""
    if flags["ddim_skip_step"] < 1:
        raise UserError(f"--ddim_skip_step is {flags['ddim_skip_step']}; it must be at least 1.")
    if flags["T"] % flags["ddim_skip_step"]:
        print(
            f"notice: --ddim_skip_step {flags['ddim_skip_step']} does not divide {flags['T']}; steps are spaced evenly"
        )
    logdir, step = Path(flags["logdir"]), flags["ckpt_step"]
    pipeline = _pipeline(flags, logdir, step)
    _check_classes(flags, pipeline)
    steps = -(-flags["T"] // flags["ddim_skip_step"])
    method = _scheduler(flags, flags["sample_method"])
    only = flags["specific_class"]
    wanted = _labels(pipeline, flags, flags["conditional"], only if only >= 0 else None)
    w = flags["w"] if flags["conditional"] else 0.0
    sampling = Sampling(w=w, scheduler=method, steps=steps, seed=flags["seed"])
    name = f"samples_step{step}_{method}{steps}_w{flags['w']:g}_n{len(wanted)}"
    return Drawing(
        pipeline,
        wanted,
        sampling,
        images=logdir / f"{name}{'' if only < 0 else f'_class{only}'}.npz",
        grid=logdir / f"samples_ema_{only}.png",
        batch_size=flags["batch_size"],
    )


def main_drawing(flags: Flags) -> Drawing:
    """What `main.py --eval` draws: ancestral sampling in all T steps."""
    logdir, step, method = Path(flags["logdir"]), flags["ckpt_step"], flags["sample_method"]
    pipeline = _pipeline(flags, logdir, step)
    _check_classes(flags, pipeline)
    wanted = _labels(pipeline, flags, method != "uncond", None)
    w = flags["omega"] if method == "cfg" and flags["omega"] > 0 else 0.0
    sampling = Sampling(w=w, scheduler=_scheduler(flags, "ddpm"), steps=flags["T"], seed=flags["seed"])
    name = f"{flags['sample_name']}_N{len(wanted)}_STEP{step}"
    return Drawing(
        pipeline,
        wanted,
        sampling,
        images=logdir / f"{method}_{flags['omega']:g}_samples_ema_{name}.npz",
        grid=logdir / f"visual_ema_{method}_{flags['omega']:g}_{name}.png",
        batch_size=flags["batch_size"],
    )


def draw_images(drawing: Drawing, only_there: bool = False) -> SampleSet:
    """Draw what is missing, keep the images with their labels and a picture of the first 256, and return them.

    Args:
        drawing: what to draw.
        only_there: draw nothing (`--sampled`).

    Raises:
        UserError: if images are there that were drawn otherwise, or ``only_there`` and there are none.
    """
    if only_there and not drawing.images.exists():
        raise UserError(f"--sampled: there is no {drawing.images}; leave out --sampled to draw the images.")
    write_samples(drawing.pipeline, drawing.wanted, drawing.sampling, drawing.images, drawing.batch_size)
    samples = read_samples(drawing.images)
    first = np.asarray(samples.images[np.arange(min(256, len(drawing.wanted)))])
    with replaced(drawing.grid) as file:
        tiled(first.transpose(0, 2, 3, 1), columns=16).save(file, format="PNG")
    print(f"{len(drawing.wanted):,} images with labels  {drawing.images}\nthe first {len(first)}  {drawing.grid}")
    return samples


def tiled(images: UInt8[np.ndarray, "n h w c"], columns: int, gap: int = 2) -> Image.Image:
    """The images in rows, in their order, with black lines between."""
    n, height, width, channels = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = np.zeros((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = gap + i // columns * (height + gap), gap + i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return Image.fromarray(sheet.squeeze(-1) if channels == 1 else sheet)


def _pipeline(flags: Flags, logdir: Path, step: int) -> T2HPipeline:
    pipeline = find_pipeline(logdir, step, flags.get("img_size"))
    if pipeline.scheduler.config["num_train_timesteps"] != flags["T"]:
        raise UserError(
            f"--T {flags['T']}: the checkpoint has {pipeline.scheduler.config['num_train_timesteps']} steps."
        )
    prediction = NoiseSchedule.of(pipeline.scheduler).prediction
    pipeline.scheduler = NoiseSchedule(flags["T"], flags["beta_1"], flags["beta_T"], prediction).ddim_scheduler()
    return pipeline.to(pick_device())


def _check_classes(flags: Flags, pipeline: T2HPipeline) -> None:
    given, has = flags.get("num_class"), pipeline.num_classes
    if given and has is not None and given != has:
        raise UserError(f"--num_class {given:g}: the checkpoint has {has} classes; give --num_class {has}.")


def _scheduler(flags: Flags, method: str) -> str:
    return "ddpm-small" if method == "ddpm" and flags["var_type"] == "fixedsmall" else method


def _labels(pipeline: T2HPipeline, flags: Flags, conditional: bool, only: int | None) -> Wanted:
    """Labels drawn evenly over the classes, as in the official code; -1 where none is wanted."""
    count, classes = flags["num_images"], pipeline.num_classes
    if count < 1:
        raise UserError(f"--num_images is {count}; it must be at least 1.")
    if not conditional:
        return Wanted.unlabelled(count)
    if classes is None:
        raise UserError(
            "the network of this checkpoint is unconditional; without --conditional (main.py: --sample_method uncond)."
        )
    if only is not None:
        return Wanted.of_labels(np.asarray(pipeline.class_ids(only) * count, dtype=np.int64))
    return Wanted.of_labels(np.random.default_rng(flags["seed"]).integers(0, classes, count))
