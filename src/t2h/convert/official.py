"""An official checkpoint, read without running code in it."""

from __future__ import annotations

import lzma
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from diffusers import UNet2DModel
from jaxtyping import Float
from torch import Tensor

from t2h.backbones import freeze_null_label
from t2h.convert.unet import Weights, infer_config, to_diffusers
from t2h.errors import UserError
from t2h.files import reading

XZ = b"\xfd7zXZ\x00"
_XZ_RATIO = 20  # weights hardly compress: what grows more than this is a bomb
_OFFICIAL = ("official checkpoint", "give a ckpt_N.pt that the official T2H or CBDM code saved")


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
        return step if isinstance(step, int) and step >= 0 else None

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
    content = read_torch(Path(path))
    if isinstance(content, Mapping) and content.get("format") == "t2h-checkpoint":
        raise UserError(f"{path} is a checkpoint of `t2h train`; give its run, or the file where it lies in its run.")
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
    with reading(Path(path), *_OFFICIAL):
        checkpoint = OfficialCheckpoint(weights, infer_config(weights), augmentation, content)
        _ = checkpoint.unet()  # shapes that do not fit
        return checkpoint


def merged(weights: Weights) -> Weights:
    """The plain network's weights: CM's low-rank parts are added to theirs, and CORAL's heads are left behind."""
    plain = {key: weight for key, weight in weights.items() if not key.startswith(("mean_proj.", "logvar_proj."))}
    for layer in [key.removesuffix(".lora_A") for key in plain if key.endswith(".lora_A")]:
        if {f"{layer}.weight", f"{layer}.lora_B"} <= plain.keys():
            part = plain.pop(f"{layer}.lora_B") @ plain.pop(f"{layer}.lora_A")
            plain[f"{layer}.weight"] = plain[f"{layer}.weight"] + part.view_as(plain[f"{layer}.weight"])
    return plain


def read_torch(path: Path) -> Any:
    """What torch.save wrote; tensors and plain values only, no code is run."""
    if not path.is_file():
        raise UserError(f"there is no file {path}; give a ckpt_N.pt that the official code saved.")
    try:
        with path.open("rb") as file:
            compressed = file.read(len(XZ)) == XZ
            file.seek(0)
            stream: Any = BytesIO(_unpacked(path)) if compressed else file
            with warnings.catch_warnings(action="ignore"):  # about pickles that are refused
                return torch.load(stream, map_location="cpu", weights_only=True)
    except (PermissionError, MemoryError):
        raise
    except UnpicklingError as error:
        code = re.search(r"(?:GLOBAL|global) `?([\w.]+)", str(error))
        what = f"it holds {code[1]}, which is code and was not run" if code else "it is not written by torch.save"
        raise UserError(f"{path} is no checkpoint: {what}; {_OFFICIAL[1]}.") from error
    except Exception as error:  # a damaged file makes torch.load raise almost anything
        raise UserError(f"{path} cannot be read: it is damaged, cut short, or no checkpoint at all.") from error


def _unpacked(path: Path) -> bytes:
    largest = _XZ_RATIO * path.stat().st_size + (1 << 24)
    with lzma.open(path) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ValueError("it unpacks to far more than weights do")
    return content
