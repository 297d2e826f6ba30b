"""Official checkpoints <-> pipeline folders.

The official T2H and CBDM trainers save `ckpt_N.pt`: `net_model`, `ema_model`, `sched`, `optim`, `step`, `fixed_x_T`.
Their U-Net is diffusers' `UNet2DModel` under other names (`t2h.convert.unet`): the weights are renamed, not
approximated. The augmentation embedding has no bias, and its parameters are zero when sampling: leaving it out is
exact. `augmented_unet` keeps it.
"""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from diffusers import UNet2DModel
from jaxtyping import Float
from torch import Tensor, nn

from t2h.backbones import freeze_null_label
from t2h.convert.unet import GROUPS, TIME_TABLE, Weights, from_diffusers, infer_config, to_diffusers
from t2h.errors import UserError
from t2h.files import recover, replaced
from t2h.network import UNetDenoiser, unet_architecture
from t2h.pipeline import T2HPipeline
from t2h.process import NoiseSchedule, Process

__all__ = ["augmented_unet", "from_official", "read_official", "save_pipeline", "to_official"]

XZ = b"\xfd7zXZ\x00"


@dataclass(frozen=True)
class OfficialCheckpoint:
    """An official checkpoint: all it holds, and one of its networks.

    Attributes:
        weights: the network's, under their official names.
        config: of the `UNet2DModel` that they are, without the size of the images.
        augmentation: weight of the augmentation embedding.
        content: the whole file.
    """

    weights: Weights
    config: dict[str, Any]
    augmentation: Float[Tensor, "embedding parameters"] | None
    content: Mapping[str, Any]

    @property
    def step(self) -> int | None:
        """The training step after which it was saved."""
        step = self.content.get("step")
        return step if isinstance(step, int) else None

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width, from `fixed_x_T`."""
        noise = self.content.get("fixed_x_T")
        return (noise.shape[2], noise.shape[3]) if isinstance(noise, Tensor) and noise.ndim == 4 else None

    def unet(self, image_size: int | None = None) -> UNet2DModel:
        """The network in diffusers' form; for images of another size if one is given."""
        height, width = (image_size, image_size) if image_size else self.image_size or (32, 32)
        with torch.device("meta"):
            unet = UNet2DModel(sample_size=height if height == width else (height, width), **self.config)
        unet.load_state_dict(to_diffusers(self.weights, self.config), assign=True)
        freeze_null_label(unet)
        return unet.eval()


def read_official(path: str | os.PathLike[str], network: str = "ema_model") -> OfficialCheckpoint:
    """Read an official checkpoint without running code in it; of its two networks the EMA, or "net_model".

    Raises:
        UserError: if the file is no such checkpoint.
    """
    content = _load(Path(path))
    given = content.get(network) if isinstance(content, Mapping) else None
    if not isinstance(given, Mapping) or not all(isinstance(weight, Tensor) for weight in given.values()):
        found = ", ".join(map(str, list(content)[:4])) if isinstance(content, Mapping) else type(content).__name__
        raise UserError(
            f"{path} is no official checkpoint: it holds {found or 'nothing'}, but net_model, ema_model, step and "
            "fixed_x_T are needed. Give a ckpt_N.pt that the official T2H or CBDM code saved."
        )
    weights = {str(key).removeprefix("module."): weight for key, weight in given.items()}  # DataParallel's prefix
    weights = merged(weights)
    augmentation = weights.pop("augm_embedding.weight", None)
    try:
        return OfficialCheckpoint(weights, infer_config(weights), augmentation, content)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def merged(weights: Weights) -> Weights:
    """The plain network's weights: CM's low-rank parts are added to theirs, and CORAL's heads are left behind."""
    plain = {key: weight for key, weight in weights.items() if not key.startswith(("mean_proj.", "logvar_proj."))}
    for layer in [key.removesuffix(".lora_A") for key in plain if key.endswith(".lora_A")]:
        if {f"{layer}.weight", f"{layer}.lora_B"} <= plain.keys():
            part = plain.pop(f"{layer}.lora_B") @ plain.pop(f"{layer}.lora_A")
            plain[f"{layer}.weight"] = plain[f"{layer}.weight"] + part.view_as(plain[f"{layer}.weight"])
    return plain


def _load(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"there is no file {path}; give a ckpt_N.pt that the official code saved.")
    try:
        with path.open("rb") as file:
            compressed = file.read(len(XZ)) == XZ
            file.seek(0)
            stream = BytesIO(lzma.decompress(file.read())) if compressed else file
            return torch.load(stream, map_location="cpu", weights_only=True)
    except PermissionError:
        raise
    except UnpicklingError as error:
        code = re.search(r"(?:GLOBAL|global) `?([\w.]+)", str(error))
        what = f"it holds {code[1]}, which is code and was not run" if code else "it is not written by torch.save"
        raise UserError(f"{path} is no checkpoint: {what}. Give a ckpt_N.pt that the official code saved.") from error
    except Exception as error:  # a damaged file makes torch.load raise almost anything
        raise UserError(f"{path} cannot be read: it is damaged, cut short, or no checkpoint at all.") from error


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
        UserError: if the official U-Net cannot be this network (it predicts ε, has 3 channels and 32 groups).
    """
    if (prediction := Process.of(pipeline.scheduler).prediction) != "epsilon":
        raise UserError(
            f"the official code predicts epsilon; this network predicts {prediction}, which it cannot draw."
        )
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
    noise = torch.randn((64, *pipeline.image_shape), generator=torch.Generator().manual_seed(0))
    content = {"net_model": weights, "ema_model": weights, "sched": {}, "optim": {}, "step": step, "fixed_x_T": noise}
    with replaced(Path(path)) as temporary:
        torch.save(content, temporary)


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
    return UNetDenoiser(checkpoint.unet(), embedding).eval()


def save_pipeline(pipeline: T2HPipeline, folder: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write the pipeline folder, whole or not at all; ``overwrite`` replaces one that is there.

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
