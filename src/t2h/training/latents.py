"""Latents in place of images: every image is encoded once, before training, and the result is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from diffusers import ModelMixin
from tqdm import tqdm

from t2h.data.batches import scaled
from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.features.base import chunks, pixels_sha256
from t2h.features.cache import Tensors, cached, state_sha256
from t2h.pipeline.autoencoder import encode, factor

_PIXELS = 1 << 20  # that are encoded at once


def encoded(table: ImageTable, autoencoder: ModelMixin, mirror: bool, device: torch.device) -> ImageTable:
    """The table with latents for images: float16 (N, 1, C, H, W), or (N, 2, C, H, W) with those of the mirrored images.

    They are kept by the sha256 of images and autoencoder, in the cache of features.

    Raises:
        UserError: if the images do not suit the autoencoder, or it makes latents that float16 lacks.
    """
    channels, (height, width), down = autoencoder.config["in_channels"], table.image_size, factor(autoencoder)
    if table.channels != channels:
        raise UserError(
            f"the autoencoder takes images of {channels} channel(s), and {table.name} has {table.channels}; give "
            f"--channels {channels}."
        )
    if height % down or width != height:
        raise UserError(
            f"images are {height}×{width}; the autoencoder needs square ones of a multiple of {down} px. Give "
            f"--image-size {max(round(height / down), 1) * down}."
        )

    def make() -> Tensors:
        parts = []
        network = autoencoder.to(device)
        with tqdm(total=len(table), desc=f"{table.name}: encoding", unit=" images", leave=False, disable=None) as bar:
            for pixels in chunks(table.images, min(256, max(1, _PIXELS // (height * width)))):
                x = scaled(torch.from_numpy(pixels).to(device))
                both = [encode(network, way) for way in ([x, x.flip(-1)] if mirror else [x])]
                parts.append(torch.stack(both, dim=1).to(torch.float16).cpu().numpy())
                bar.update(len(pixels))
        return {"latents": np.concatenate(parts)}

    weights, config = state_sha256(autoencoder.state_dict()), dict(autoencoder.config)
    factors = [config.get(name) for name in ("scaling_factor", "shift_factor")]
    key = "|".join(map(str, [pixels_sha256(table.images), type(autoencoder).__name__, weights, factors, mirror]))
    latents = cached("latents", key, make)["latents"]
    if not np.isfinite(latents).all():
        raise UserError(f"the autoencoder makes latents of {table.name} that are no numbers in float16; give another.")
    return replace(table, images=latents)
