"""Official checkpoints <-> pipeline folders.

The official T2H and CBDM trainers save `ckpt_N.pt`: `net_model`, `ema_model`, `sched`, `optim`, `step`, `fixed_x_T`.
Their U-Net is diffusers' `UNet2DModel` under other names, so the weights are renamed, not approximated:

* The official time table interleaves sin and cos, diffusers' has all sines first: the columns of the first time
  layer are permuted.
* "No label" adds nothing there: the class embedding gets one more row, zero.
* Attention's 1×1 convolutions become linear layers.
* The augmentation embedding has no bias, and its parameters are zero when sampling: leaving it out is exact. Whoever
  wants to go on with it finds it in `augmented_unet`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import nn

from t2h.backbones import freeze_null_label
from t2h.convert.checkpoint import OfficialCheckpoint, read_official, write_official
from t2h.convert.unet import Architecture, from_diffusers, to_diffusers
from t2h.errors import UserError
from t2h.files import recover, replaced
from t2h.network import UNetDenoiser
from t2h.pipeline import T2HPipeline
from t2h.process import NoiseSchedule, Process

__all__ = ["augmented_unet", "from_official", "read_official", "save_pipeline", "to_official"]


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
    if image_size is None and checkpoint.image_size is None:
        raise UserError(f"{path} does not tell the image size (it has no fixed_x_T); give --image-size, such as 32.")
    training: dict[str, Any] = {"Converted from": f"{Path(path).name} of the official code, EMA weights"}
    if checkpoint.step is not None:
        training["Training steps"] = checkpoint.step
    return T2HPipeline(
        _unet_of(checkpoint, image_size),
        NoiseSchedule(checkpoint.architecture.num_timesteps).ddim_scheduler(),
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
        UserError: if the official U-Net cannot be this network (it predicts ε, has 3 channels and 32 groups).
    """
    if (prediction := Process.of(pipeline.scheduler).prediction) != "epsilon":
        raise UserError(
            f"the official code predicts epsilon; this network predicts {prediction}, which it cannot draw."
        )
    if not isinstance(pipeline.unet, UNet2DModel):
        raise UserError(f"the official code has U-Nets alone; this network is a {type(pipeline.unet).__name__}.")
    config = dict(pipeline.unet.config)
    down = config["down_block_types"]
    architecture = Architecture(
        channels=tuple(config["block_out_channels"]),
        attention=tuple(level for level, name in enumerate(down) if name.startswith("Attn")),
        blocks=config["layers_per_block"],
        num_classes=pipeline.num_classes,
        num_timesteps=pipeline.scheduler.config["num_train_timesteps"],
    )
    for key, official in architecture.config(config["sample_size"]).items():
        given = tuple(config[key]) if isinstance(official, tuple) else config[key]
        if key != "dropout" and given != official:
            raise UserError(f"the official U-Net cannot be this network: its {key} is {official}, not {given}.")
    write_official(from_diffusers(pipeline.unet.state_dict(), architecture), path, step, pipeline.image_shape)


def _unet_of(checkpoint: OfficialCheckpoint, image_size: int | None = None) -> UNet2DModel:
    height, width = (image_size, image_size) if image_size else checkpoint.image_size or (32, 32)
    size = height if height == width else (height, width)
    with torch.device("meta"):
        unet = UNet2DModel(**checkpoint.architecture.config(size))
    unet.load_state_dict(to_diffusers(checkpoint.weights, checkpoint.architecture), assign=True)
    freeze_null_label(unet)
    return unet.eval()


def augmented_unet(path: str | os.PathLike[str]) -> UNetDenoiser:
    """The network of an official checkpoint that was trained with `--augm`, with its augmentation embedding.

    Raises:
        UserError: if the file is no official checkpoint, or has no such embedding.
    """
    checkpoint = read_official(path)
    if checkpoint.augmentation is None:
        raise UserError(f"{path} has no augmentation embedding; it was trained without --augm.")
    size, parameters = checkpoint.augmentation.shape
    embedding = nn.Linear(parameters, size, bias=False)
    embedding.load_state_dict({"weight": checkpoint.augmentation.float()})
    return UNetDenoiser(_unet_of(checkpoint), embedding).eval()


def save_pipeline(pipeline: T2HPipeline, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write the pipeline folder, whole or not at all.

    Args:
        pipeline: what to write.
        folder: where to; made if missing.
        overwrite: replace the pipeline folder that is there.

    Raises:
        UserError: if there is something else, or a pipeline and ``overwrite`` is False.
    """
    out = recover(Path(folder))
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        if not (out / "model_index.json").is_file():
            raise UserError(f"{out} exists and is no pipeline folder; give another place, it will not be replaced.")
        if not overwrite:
            raise UserError(f"{out} already holds a pipeline; give another place, or --overwrite to replace it.")
    with replaced(out) as temporary:
        pipeline.save_pretrained(temporary)
