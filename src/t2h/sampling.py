"""Many images with exact labels, one seed per image, resumable.

Image k of class c is drawn with a seed made of (seed, c, k): it is the same whatever the batch size, however many
images are drawn beside it, and wherever the drawing was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import SchedulerMixin
from diffusers.utils import logging as diffusers_logging
from jaxtyping import Float, Int, UInt8
from PIL import Image
from tqdm import tqdm

from t2h.errors import UserError, unknown_name
from t2h.files import replaced
from t2h.grid import sample_grid
from t2h.pipeline import T2HPipeline
from t2h.randomness import derive_seed
from t2h.schedule import NoiseSchedule

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "ddpm-small": "DDPMScheduler",
    "dpm-solver++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
}


def make_scheduler(name: str, schedule: NoiseSchedule | None = None) -> SchedulerMixin:
    """A scheduler by its short name (`SCHEDULERS`) or diffusers' class name, on our noise schedule.

    "ddim", "ddpm" and "ddpm-small" (variance fixed_small) are the official samplers exactly. The others take the
    schedule and x_0 unclipped, and else their defaults.

    Raises:
        UserError: for a name that is neither.
    """
    schedule = schedule or NoiseSchedule()
    if name == "ddim":
        return schedule.ddim_scheduler()
    if name in ("ddpm", "ddpm-small"):
        return schedule.ddpm_scheduler("fixed_large" if name == "ddpm" else "fixed_small")
    found: Any = getattr(diffusers, SCHEDULERS.get(name, name), None)
    usable = isinstance(found, type) and issubclass(found, SchedulerMixin)
    if not usable:
        raise unknown_name("scheduler", name, SCHEDULERS)
    return found.from_config(schedule.ddpm_scheduler().config)


@dataclass(frozen=True)
class Sampling:
    """How images are drawn: all that decides what image k of class c looks like, but for the network."""

    guidance_scale: float = 2.5
    """1 + w of ε_c + w (ε_c - ε_∅); 1 is no guidance."""
    scheduler: str = "ddim"
    """ddim, ddpm, ddpm-small, dpm-solver++, unipc, deis, pndm, euler, euler-ancestral, heun, or a diffusers class."""
    steps: int = 100
    """Denoising steps."""
    seed: int = 0
    """Of the images; image k of class c has its own, made of this one."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UserError(f"steps is {self.steps}; it must be at least 1.")

    @property
    def w(self) -> float:
        """guidance_scale - 1."""
        return self.guidance_scale - 1


@dataclass(frozen=True)
class Wanted:
    """Which images to draw: image ``index[i]`` of class ``labels[i]``; label -1 is none (unconditional)."""

    labels: Int[np.ndarray, " n"]
    index: Int[np.ndarray, " n"]

    @classmethod
    def per_class(cls, classes: Sequence[int], count: int) -> Wanted:
        """``count`` images of each of these classes, class by class."""
        return cls(np.repeat(np.asarray(classes, dtype=np.int64), count), np.tile(np.arange(count), len(classes)))

    @classmethod
    def of_labels(cls, labels: Int[np.ndarray, " n"]) -> Wanted:
        """One image for each label, in this order."""
        seen: dict[int, int] = {}
        index = np.zeros(len(labels), dtype=np.int64)
        for i, label in enumerate(labels.tolist()):
            index[i] = seen.get(label, 0)
            seen[label] = index[i] + 1
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
) -> Iterator[Float[np.ndarray, "b h w c"]]:
    """Draw images batch by batch, in the order of ``wanted``, as float32 in [0, 1], (b, H, W, C).

    Args:
        pipeline: whose network draws; of its scheduler only the noise schedule is used.
        wanted: which images.
        sampling: how.
        batch_size: images a pass; it does not change them.
        progress: show a bar with images/s and time left.

    Raises:
        UserError: for an unknown scheduler or a class that is not there.
    """
    before = pipeline.scheduler
    scheduler = make_scheduler(sampling.scheduler, NoiseSchedule.of(before))
    pipeline.scheduler = scheduler
    training = pipeline.unet.training
    pipeline.unet.eval()
    pipeline.set_progress_bar_config(disable=True)
    try:
        with tqdm(total=len(wanted), unit="img", desc=f"w = {sampling.w:g}", disable=not progress) as bar:
            for start in range(0, len(wanted), batch_size):
                part = wanted.part(slice(start, start + batch_size))
                pairs = zip(part.labels.tolist(), part.index.tolist(), strict=True)
                seeds = [derive_seed(sampling.seed, "sample", label + 1, index) for label, index in pairs]
                output: Any = pipeline(
                    None if part.labels[0] < 0 else part.labels,
                    guidance_scale=sampling.guidance_scale,
                    num_inference_steps=sampling.steps,
                    generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                    output_type="np",
                    batch_size=len(part),
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
        yield (images * 255).round().astype(np.uint8)


def draw_array(
    pipeline: T2HPipeline, wanted: Wanted, sampling: Sampling, batch_size: int = 250, progress: bool = True
) -> UInt8[np.ndarray, "n h w c"]:
    """All images of `draw`, in one array."""
    return np.concatenate(list(draw(pipeline, wanted, sampling, batch_size, progress)))


def draw_grid(
    pipeline: T2HPipeline, guidance_scale: float, seed: int, rows: int = 10, columns: int = 10, steps: int = 50
) -> Image.Image:
    """A grid of samples with row labels, head to tail; of more than ``rows`` classes, evenly spread ones."""
    counts = pipeline.config["class_counts"]
    sampling = Sampling(guidance_scale, "ddim", steps, seed)
    if pipeline.num_classes is None:
        wanted = Wanted(np.full(rows * columns, -1), np.arange(rows * columns))
        images = draw_array(pipeline, wanted, sampling, progress=False)
        return sample_grid(images, np.arange(len(images)) // columns, ["samples"] * rows, [1] * rows, columns, False)
    counts = counts or [1] * pipeline.num_classes
    order = np.argsort(-np.asarray(counts), kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(rows, len(order))).round().astype(int))]
    wanted = Wanted.per_class(chosen.tolist(), columns)
    images = draw_array(pipeline, wanted, sampling, progress=False)
    return sample_grid(images, wanted.labels, pipeline.config["class_names"], counts, columns)


def load_pipeline(source: Path) -> T2HPipeline:
    """The pipeline of a run folder, of a pipeline folder, or of an official checkpoint file.

    Raises:
        UserError: where there is none.
    """
    if source.is_file():
        from t2h.convert import from_official

        return from_official(source)
    for folder in (source / "pipeline", source):
        if (folder / "model_index.json").exists():
            return _quietly(folder)
    state = "does not exist" if not source.exists() else "holds no pipeline/ (no checkpoint was written yet?)"
    raise UserError(f"{source} {state}; give the folder of a run, a pipeline folder, or an official checkpoint.")


def _quietly(folder: Path) -> T2HPipeline:
    """`from_pretrained` without diffusers' own progress bar, which says nothing for two small parts."""
    shown = diffusers_logging.is_progress_bar_enabled()
    diffusers_logging.disable_progress_bar()
    try:
        return T2HPipeline.from_pretrained(folder)
    finally:
        if shown:
            diffusers_logging.enable_progress_bar()


def weights_sha256(pipeline: T2HPipeline) -> str:
    """The sha256 of a network's weights, in the order of their names: what a result was made with."""
    digest = hashlib.sha256()
    for name, value in sorted(pipeline.unet.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def protocol(pipeline: T2HPipeline, sampling: Sampling) -> dict[str, Any]:
    """What decides the images, and what is known of the network: the content of samples.json."""
    config = pipeline.config
    return {
        "format": "t2h-samples",
        **asdict(sampling),
        "w": sampling.w,
        "weights_sha256": weights_sha256(pipeline),
        "method": config["method"],
        "images_seen": config["images_seen"],
        "class_names": config["class_names"],
        "class_counts": config["class_counts"],
    }


def class_folder(label: int, name: str, num_classes: int) -> str:
    """The folder of a class: "07_horse"."""
    slug = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "class"
    return f"{label:0{len(str(max(num_classes - 1, 0)))}d}_{slug}"


def sample_to_folder(
    pipeline: T2HPipeline, wanted: Wanted, sampling: Sampling, out: Path, batch_size: int = 250, progress: bool = True
) -> int:
    """Write PNG images into a folder per class; what is there already is not drawn again.

    Returns:
        How many images were drawn now.

    Raises:
        UserError: if the folder holds samples of another network or another sampling.
    """
    made, note = protocol(pipeline, sampling), out / "samples.json"
    if note.exists():
        _same_samples(json.loads(note.read_text("utf-8")), made, out)
    elif out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no samples of ours; choose an empty or new folder.")
    with replaced(note) as file:
        file.write_text(json.dumps(made, indent=1, ensure_ascii=False), encoding="utf-8")
    names = made["class_names"]

    def path(label: int, index: int) -> Path:
        folder = class_folder(label, names[label], len(names)) if label >= 0 else "unconditional"
        return out / folder / f"{index:05d}.png"

    paths = [path(*pair) for pair in zip(wanted.labels.tolist(), wanted.index.tolist(), strict=True)]
    missing = np.asarray([i for i, p in enumerate(paths) if not p.exists()], dtype=np.int64)
    position = 0
    for images in draw(pipeline, wanted.part(missing), sampling, batch_size, progress):
        for image in images:
            with replaced(paths[missing[position]]) as file:
                Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, format="PNG")
            position += 1
    return position


def sample_to_npz(
    pipeline: T2HPipeline, wanted: Wanted, sampling: Sampling, out: Path, batch_size: int = 250, progress: bool = True
) -> int:
    """Write one .npz: `images` uint8 (N, H, W, C), `labels` int64 (N,), `class_names`, and `protocol` (JSON text).

    Parts are kept beside it until it is whole, so that an interrupted drawing goes on.

    Returns:
        How many images were drawn now.

    Raises:
        UserError: if the file holds samples of another network, another sampling, or other labels.
    """
    made = protocol(pipeline, sampling)
    if out.exists():
        with np.load(out) as file:
            _same_samples(json.loads(str(file["protocol"])) if "protocol" in file else {}, made, out)
            if np.array_equal(file["labels"], wanted.labels):
                return 0
        raise UserError(f"{out} holds other labels; choose another file, or remove it to draw anew.")
    parts = out.with_name(f".{out.name}.parts")
    key = hashlib.sha256(json.dumps([made, wanted.labels.tolist(), wanted.index.tolist()]).encode()).hexdigest()[:16]
    starts = range(0, len(wanted), batch_size)
    files = [parts / f"{key}_{batch_size}_{start:08d}.npy" for start in starts]
    missing = [i for i, file_of_part in enumerate(files) if not file_of_part.exists()]
    rows = [np.arange(starts[i], min(starts[i] + batch_size, len(wanted))) for i in missing]
    todo = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    for i, batch in zip(missing, draw(pipeline, wanted.part(todo), sampling, batch_size, progress), strict=True):
        with replaced(files[i]) as temporary, temporary.open("wb") as stream:
            np.save(stream, batch)
    with replaced(out) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            images=np.concatenate([np.load(file_of_part) for file_of_part in files]),
            labels=wanted.labels,
            class_names=np.asarray(made["class_names"]),
            protocol=np.asarray(json.dumps(made)),
        )
    shutil.rmtree(parts)
    return len(todo)


def _same_samples(old: dict[str, Any], new: dict[str, Any], where: Path) -> None:
    changed = [key for key in new if old.get(key) != new[key]]
    if changed:
        shown = "; ".join(f"{key}: {old.get(key)} -> {new[key]}" for key in changed if key != "class_counts")
        raise UserError(f"{where} holds samples that were drawn otherwise ({shown}); choose another place for these.")
