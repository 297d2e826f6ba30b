"""Files of the official trainers, read without running what is in them."""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from t2h.convert.unet import Architecture, Weights, infer_architecture
from t2h.errors import UserError
from t2h.files import replaced

XZ = b"\xfd7zXZ\x00"


@dataclass(frozen=True)
class OfficialCheckpoint:
    """What an official checkpoint holds that is worth keeping.

    Attributes:
        weights: the network's (the EMA, unless asked otherwise), under their official names.
        architecture: inferred from them.
        step: the training step after which it was saved.
        image_size: height and width, from `fixed_x_T`.
        augmentation: weight of the augmentation embedding.
    """

    weights: Weights
    architecture: Architecture
    step: int | None
    image_size: tuple[int, int] | None
    augmentation: Float[Tensor, "embedding parameters"] | None


def read_official(path: str | os.PathLike[str], network: str = "ema_model") -> OfficialCheckpoint:
    """Read an official checkpoint; of its two networks the EMA, or "net_model".

    Raises:
        UserError: if the file is no such checkpoint.
    """
    loaded = load_file(Path(path))
    ema = loaded.get(network) if isinstance(loaded, Mapping) else None
    if not isinstance(ema, Mapping) or not all(isinstance(weight, Tensor) for weight in ema.values()):
        found = ", ".join(map(str, list(loaded)[:4])) if isinstance(loaded, Mapping) else type(loaded).__name__
        raise UserError(
            f"{path} is no official checkpoint: it holds {found or 'nothing'}, but net_model, ema_model, step and "
            "fixed_x_T are needed. Give a ckpt_N.pt that the official T2H or CBDM code saved."
        )
    weights = {str(key).removeprefix("module."): weight for key, weight in ema.items()}  # DataParallel's prefix
    augmentation = weights.pop("augm_embedding.weight", None)
    try:
        architecture = infer_architecture(weights)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    step, noise = loaded.get("step"), loaded.get("fixed_x_T")
    size = (noise.shape[2], noise.shape[3]) if isinstance(noise, Tensor) and noise.ndim == 4 else None
    return OfficialCheckpoint(weights, architecture, step if isinstance(step, int) else None, size, augmentation)


def load_file(path: Path) -> Any:
    """Whatever is in the file; no code of it is run."""
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


def write_official(
    weights: Weights, path: str | os.PathLike[str], step: int, image_shape: tuple[int, int, int]
) -> None:
    """Write an official checkpoint with these weights as both of its networks, whole or not at all."""
    noise = torch.randn((64, *image_shape), generator=torch.Generator().manual_seed(0))
    content = {"net_model": weights, "ema_model": weights, "sched": {}, "optim": {}, "step": step, "fixed_x_T": noise}
    with replaced(Path(path)) as temporary:
        torch.save(content, temporary)
