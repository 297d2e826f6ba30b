"""One image, as it lies in a file or as bytes, to a uint8 array of a given shape, with Pillow."""

from __future__ import annotations

import functools
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageOps

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")
"""Pillow's names of what is read; not PostScript, for which Pillow would run another program."""
LARGEST = 50_000_000
"""Pixels of an image that are decoded, after what JPEG can skip."""


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def suffixes() -> frozenset[str]:
    """The suffixes of files that are read, in lower case."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in _formats())


def opened(item: Path | BytesIO | str | UInt8[np.ndarray, "c h w"]) -> Image.Image:
    """The image, maybe only its header; reading it may still fail later."""
    if isinstance(item, np.ndarray):
        return Image.fromarray(item[0] if len(item) == 1 else np.ascontiguousarray(item.transpose(1, 2, 0)))
    return Image.open(item, formats=_formats())


def decode(
    image: Image.Image, size: tuple[int, int], channels: int, white: int | None = None
) -> UInt8[np.ndarray, "c h w"]:
    """An opened image as uint8 (C, H, W): turned upright as its EXIF says, on white where it is transparent, 16-bit
    grey brought to 8 bits, its shorter side brought to ``size`` (height, width) by Lanczos, its centre kept.

    ``white`` is the value that becomes 255; by default the largest that the file can hold.

    Raises:
        OSError, ValueError, SyntaxError: as Pillow does, for what cannot be read; for more than `LARGEST` pixels.
    """
    height, width = size
    image.draft(None, (3 * max(size), 3 * max(size)))  # lets JPEG skip detail that resizing would throw away
    if image.width * image.height > LARGEST:
        raise ValueError(f"{image.width}x{image.height} pixels; {LARGEST // 10**6} million are the limit")
    image.load()
    image = ImageOps.exif_transpose(image)
    deep = image.mode[0] in "IF"
    image = _opaque(_shallow(image, white or 65535) if deep else image, channels)
    if white is not None and not deep:
        values = np.arange(256) * (257 if white > 255 else 1)  # of 16-bit colours Pillow reads the upper 8 bits
        image = image.point(eight_bit(values, white).tolist() * channels)
    pixels = np.asarray(_fitted(image, height, width))
    return pixels[None].copy() if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def eight_bit(values: Integer[np.ndarray, "*shape"], white: int) -> UInt8[np.ndarray, "*shape"]:
    """Integers from 0 to 65535, scaled so that ``white`` and what is above become 255."""
    return np.minimum((values.astype(np.uint32) * 255 + white // 2) // white, 255).astype(np.uint8)


def _shallow(image: Image.Image, white: int) -> Image.Image:
    grey = np.asarray(image)
    if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
        raise ValueError("grey values that are no integers from 0 to 65535")
    return Image.fromarray(eight_bit(grey, white))


def _opaque(image: Image.Image, channels: int) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def _fitted(image: Image.Image, height: int, width: int) -> Image.Image:
    if image.size == (width, height):
        return image
    scale = min(image.width / width, image.height / height)
    across, down = min(width * scale, image.width), min(height * scale, image.height)
    left, top = (image.width - across) / 2, (image.height - down) / 2
    box = (left, top, min(left + across, image.width), min(top + down, image.height))
    return image.resize((width, height), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
