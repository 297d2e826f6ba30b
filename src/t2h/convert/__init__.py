"""Official checkpoints <-> pipeline folders.

The official T2H and CBDM trainers save `ckpt_N.pt`: `net_model`, `ema_model`, `sched`, `optim`, `step`, `fixed_x_T`.
Their U-Net is diffusers' `UNet2DModel` under other names (`t2h.convert.unet`): the weights are renamed, not
approximated. The augmentation embedding has no bias, and its parameters are zero when sampling: leaving it out is
exact.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel

from t2h.convert.official import OfficialCheckpoint, merged, read_official
from t2h.convert.unet import GROUPS, TIME_TABLE, from_diffusers
from t2h.data.sources.base import LARGEST_SIZE
from t2h.errors import UserError
from t2h.files import check_place, recover, replaced
from t2h.network import unet_architecture
from t2h.pipeline import T2HPipeline
from t2h.pipeline.read import read_average
from t2h.process import NoiseSchedule, Process

__all__ = [
    "OfficialCheckpoint",
    "from_checkpoint",
    "from_official",
    "merged",
    "read_official",
    "save_pipeline",
    "to_official",
]


def from_checkpoint(path: Path) -> T2HPipeline:
    """The pipeline with the average weights of a checkpoint: RUN/checkpoints/*.pt of a run of ours, or an official one.

    Raises:
        UserError: as `from_official` and `read_average`.
    """
    folder = recover(path.absolute().parent.parent / "pipeline")
    ours = path.absolute().parent.name == "checkpoints" and folder.is_dir()
    return read_average(T2HPipeline, folder, path) if ours else from_official(path)


def from_official(
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    image_size: int | None = None,
    batch_size: int = 128,
    method: str = "official",
    w: float | None = None,
) -> T2HPipeline:
    """The pipeline of an official T2H or CBDM checkpoint (`ckpt_N.pt`, or the same compressed as `.pt.xz`).

    It holds the EMA's weights and the official DDIM sampler. No code in the file is run.

    Args:
        path: the checkpoint.
        class_names: one name per class; None numbers them.
        image_size: height and width in pixels; None takes them from the checkpoint's `fixed_x_T`.
        batch_size: images per training step, from which follows how many images the network has seen.
        method: what it was trained with; the file does not say.
        w: the guidance weight that the pipeline carries; None is the papers'.

    Raises:
        UserError: if the file is no such checkpoint, or the arguments contradict it.
    """
    checkpoint = read_official(path)
    size = image_size or min(checkpoint.image_size or (0,))
    halved = 2 ** (len(checkpoint.config["down_block_types"]) - 1)
    if size < 1:
        raise UserError(f"{path} does not tell the image size (it has no fixed_x_T); give --image-size, such as 32.")
    if size > LARGEST_SIZE:
        raise UserError(f"image_size {size}: height and width in pixels are in 1 ... {LARGEST_SIZE}.")
    if size % halved:
        raise UserError(f"{path} is a network for images whose size {halved} divides, not of {size} pixels.")
    training: dict[str, Any] = {"Converted from": f"{Path(path).name} of the official code, EMA weights"}
    if checkpoint.step is not None:
        training["Training steps"] = checkpoint.step
    return T2HPipeline(
        checkpoint.unet(image_size),
        NoiseSchedule(len(checkpoint.weights[TIME_TABLE])).ddim_scheduler(),
        class_names=class_names,
        method=method,
        w=w,
        images_seen=(checkpoint.step or 0) * batch_size,
        training=training,
    )


def to_official(pipeline: T2HPipeline, path: str | os.PathLike[str], step: int = 0) -> None:
    """Write the pipeline's network as an official checkpoint, which the official code loads.

    `net_model` and `ema_model` are the same weights, the states of optimiser and scheduler are empty.

    Raises:
        UserError: if the official U-Net cannot be this network (it predicts ε, has 3 channels of pixels and 32 groups).
    """
    check_place(Path(path))
    if (prediction := Process.of(pipeline.scheduler).prediction) != "epsilon":
        raise UserError(
            f"the official code predicts epsilon; this network predicts {prediction}, which it cannot draw."
        )
    if pipeline.vae is not None:
        raise UserError("the official code draws images; this network draws latents, which an autoencoder decodes.")
    if not isinstance(pipeline.unet, UNet2DModel):
        raise UserError(f"the official code has U-Nets alone; this network is a {type(pipeline.unet).__name__}.")
    config = dict(pipeline.unet.config)
    attention = [level for level, name in enumerate(config["down_block_types"]) if name.startswith("Attn")]
    channels, blocks = tuple(config["block_out_channels"]), config["layers_per_block"]
    same = unet_architecture(channels, tuple(attention), blocks, GROUPS, config["dropout"])
    for key, official in (same | {"in_channels": 3, "out_channels": 3}).items():
        given = tuple(config[key]) if isinstance(official, tuple) else config[key]
        if given != official:
            raise UserError(f"the official U-Net cannot be this network: its {key} is {official}, not {given}.")
    num_timesteps = pipeline.scheduler.config["num_train_timesteps"]
    weights = from_diffusers(pipeline.unet.state_dict(), config, num_timesteps)
    noise = torch.randn((64, *pipeline.noise_shape), generator=torch.Generator().manual_seed(0))
    content = {"net_model": weights, "ema_model": weights, "sched": {}, "optim": {}, "step": step, "fixed_x_T": noise}
    with replaced(Path(path)) as temporary:
        torch.save(content, temporary)


def save_pipeline(pipeline: T2HPipeline, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write the pipeline folder, whole or not at all; ``overwrite`` replaces one that is there.

    Raises:
        UserError: if there is something else, or a pipeline and ``overwrite`` is False.
    """
    out = recover(Path(folder))
    check_place(out / "model_index.json")
    if out.exists() and any(out.iterdir()):
        if not (out / "model_index.json").is_file():
            raise UserError(f"{out} exists and is no pipeline folder; give another place, it will not be replaced.")
        if not overwrite:
            raise UserError(f"{out} already holds a pipeline; give another place, or --overwrite to replace it.")
    with replaced(out) as temporary:
        pipeline.save_pretrained(temporary)
