"""The interface of a feature network, and the one loop that runs it: in batches, once, cached by content."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from t2h.errors import UserError
from t2h.features.cache import cached

PART, PART_BYTES = 8192, 1 << 28
"""Images, and bytes of images, whose features are kept together."""
Pixels = UInt8[Tensor, "n c h w"] | Float[Tensor, "n c h w"]


@runtime_checkable
class FeatureExtractor(Protocol):
    """A network that turns images into feature vectors, and says exactly which network it is.

    Attributes:
        name: network, variant and layer, as results print it.
        sha256: of the weights, 64 hexadecimal digits.
        dim: D, the length of a feature vector.
        resize: what is done to the size of an image: "none", "bilinear-half-pixel", ...
        image_shape: (C, H, W) that the images must have, or None where any size and grey or RGB will do.
    """

    name: str
    sha256: str
    dim: int
    resize: str
    image_shape: tuple[int, int, int] | None = None

    def __call__(self, images: Pixels) -> Float[Tensor, "n d"]:
        """Float32 features (N, D) of images (N, C, H, W), uint8 or float in [0, 1], whatever device they are on."""

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"] | None:
        """Class scores (N, K) from features, or None where the network has no classifier layer."""
        return None


def unit_range(images: Pixels, device: torch.device | str) -> Float[Tensor, "n c h w"]:
    """Images as float32 in [0, 1] on a device; uint8 is divided by 255."""
    images = images.to(device)
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def file_sha256(path: Path) -> str:
    """The sha256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def chunks(images: Any, size: int) -> Iterator[np.ndarray]:
    """The images in order, `size` at a time, decoded only then."""
    for start in range(0, images.shape[0], size):
        yield np.ascontiguousarray(images[np.arange(start, min(start + size, images.shape[0]))])


def pixels_sha256(images: Any) -> str:
    """The sha256 of images: number and shape, type and bytes, in order."""
    digest = hashlib.sha256(str(tuple(images.shape)).encode())
    for chunk in chunks(images, 1024):
        digest.update(chunk.dtype.str.encode())
        digest.update(chunk.data)
    return digest.hexdigest()


def shape_text(shape: tuple[int, ...]) -> str:
    """(3, 32, 32) as "RGB of 32x32 pixels"."""
    channels, height, width = shape
    return f"{'grey' if channels == 1 else 'RGB'} of {height}x{width} pixels"


def extract(
    images: Any, extractor: FeatureExtractor, batch_size: int = 64, progress: bool = False, first: int = 0
) -> Float[np.ndarray, "n d"]:
    """Features of images, float32 (N, D); which images share a batch makes no difference beyond float32 rounding.

    Args:
        images: (N, C, H, W), uint8 or float in [0, 1]: an array, a memory map or a lazy reader.
        extractor: the network.
        batch_size: images that go through it at once.
        progress: show a bar with images/s.
        first: the number of the first image, for messages.

    Raises:
        UserError: if the images do not suit the network, or a feature is not finite.
    """
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise UserError(f"images have shape {shape}; (N, C, H, W) with C = 1 (grey) or 3 (RGB) is needed.")
    if shape[0] == 0:
        raise UserError("there is no image to judge; give at least one.")
    if extractor.image_shape not in (None, shape[1:]):
        raise UserError(
            f"images are {shape_text(shape[1:])}, but {extractor.name} is for {shape_text(extractor.image_shape)}; "
            "use images of that size, or other features (--features inception)."
        )
    parts = []
    disable = None if progress else True
    with tqdm(total=shape[0], desc=extractor.name, unit=" images", disable=disable, leave=False) as bar:
        for chunk in chunks(images, batch_size):
            parts.append(extractor(torch.from_numpy(chunk)).cpu().numpy())
            bar.update(len(chunk))
    features = np.concatenate(parts)
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():
        raise UserError(
            f"{int(bad.sum())} of {len(bad)} images have NaN or infinite features in {extractor.name} "
            f"(the first: image {first + int(bad.argmax())}); look at these images, and at the weights."
        )
    return features


def extract_cached(
    images: Any, extractor: FeatureExtractor, batch_size: int = 64, progress: bool = False, cache: Path | None = None
) -> Float[np.ndarray, "n d"]:
    """`extract`, done once: the same pixels through the same network are read back from `cache`.

    They are kept in parts, as they are made, so that an interrupted extraction goes on.
    """

    def features(first: int, part: np.ndarray) -> Float[np.ndarray, "n d"]:
        key = "|".join([pixels_sha256(part), extractor.name, extractor.sha256, extractor.resize])
        kept = cached(
            "features", key, lambda: {"features": extract(part, extractor, batch_size, progress, first)}, cache
        )
        return kept["features"]

    size = batch_size * max(1, min(PART // batch_size, PART_BYTES // (batch_size * int(np.prod(images.shape[1:])))))
    starts = itertools.count(step=size)
    return np.concatenate([features(*part) for part in zip(starts, chunks(images, size), strict=False)])
