"""Autoencoders, whose latents stand in place of images (Rombach et al., "High-Resolution Image Synthesis with Latent
Diffusion Models", CVPR 2022).

    z = s (encode(x) - m)          x = decode(z/s + m)

with the configuration's s = `scaling_factor` and m = `shift_factor`. Where the encoder gives a normal distribution
(`AutoencoderKL`), its mean is taken: an image has one latent, and nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ModelMixin
from diffusers.utils import logging
from jaxtyping import Float
from torch import Tensor

from t2h.errors import UserError, notice
from t2h.files import reading

KINDS = {kind.__name__: kind for kind in (AutoencoderKL, AutoencoderTiny)}
HUB = "hub:"
_PIXELS = 1 << 20  # that are decoded at once


@contextmanager
def silent() -> Iterator[None]:
    """Inside, diffusers shows no bars and logs nothing: what is wrong is raised as well."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def load_autoencoder(source: str) -> ModelMixin:
    """An `AutoencoderKL` or `AutoencoderTiny` in evaluation mode; its weights must be safetensors.

    Args:
        source: a folder; or hub:OWNER/NAME or hub:OWNER/NAME/SUBFOLDER, which is fetched unless it is on this machine.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    place, options = source, dict[str, Any](local_files_only=True)
    if source.startswith(HUB):
        owner, *rest = source.removeprefix(HUB).split("/", 2)
        place, options = "/".join([owner, *rest[:1]]), {"subfolder": rest[1]} if rest[1:] else {}
        notice(f"the autoencoder {source} comes from the Hub, or from its cache on this machine")
    elif not (Path(source) / "config.json").is_file():
        raise UserError(
            f"the autoencoder {source} is no folder with a config.json; give one, or hub:OWNER/NAME to fetch it."
        )
    remedy = f"give an {' or '.join(KINDS)} with safetensors weights"
    with reading(source, "autoencoder of diffusers", remedy), silent():
        name = AutoencoderKL.load_config(place, **options).get("_class_name")
        if name not in KINDS:
            raise TypeError(f"its class is {name}")
        autoencoder: Any = KINDS[name].from_pretrained(place, use_safetensors=True, **options)
        if any(weight.is_meta for weight in autoencoder.parameters()):
            raise ValueError("weights are missing")
    return autoencoder.requires_grad_(False)


def factor(autoencoder: ModelMixin) -> int:
    """Height and width of images over those of latents."""
    config: Any = autoencoder.config
    return 2 ** (len(config.get("block_out_channels") or config["encoder_block_out_channels"]) - 1)


def _shift_and_scale(autoencoder: ModelMixin) -> tuple[float, float]:
    config: Any = autoencoder.config
    return config.get("shift_factor") or 0.0, config["scaling_factor"]


@torch.no_grad()
def encode(autoencoder: Any, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
    """Latents z of images in [-1, 1]."""
    shift, scale = _shift_and_scale(autoencoder)
    found = autoencoder.encode(images)
    return ((found.latents if hasattr(found, "latents") else found.latent_dist.mean) - shift) * scale


@torch.no_grad()
def decode(autoencoder: Any, latents: Float[Tensor, "b d i j"]) -> Float[Tensor, "b c h w"]:
    """Images, about in [-1, 1], of latents z; a few at once, and not in the arithmetic of an autocast around it."""
    shift, scale = _shift_and_scale(autoencoder)
    given = (latents.float() / scale + shift).to(autoencoder.dtype)
    at_once = max(1, _PIXELS // (given[0, 0].numel() * factor(autoencoder) ** 2))
    with torch.autocast(given.device.type, enabled=False):
        return torch.cat([autoencoder.decode(part).sample for part in given.split(at_once)])
