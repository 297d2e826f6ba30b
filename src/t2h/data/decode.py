"""From images as they lie (files, bytes, arrays of another shape) to uint8 arrays of one shape, with Pillow."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from t2h.data.table import MEMORY_BUDGET, ImageTable
from t2h.errors import UserError

THREADS = min(16, os.cpu_count() or 1)
CHUNK = 64  # images a thread takes at once
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_ORIENTATION = 0x0112  # EXIF tag
Items: TypeAlias = Sequence[Path | BinaryIO | str]


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """A lazy reader (`Images`): the items at these positions, decoded on access to one shape.

    An item is a path, an open file, or an image of an array.
    """

    items: Items | UInt8[np.ndarray, "n c h w"]
    size: tuple[int, int]
    channels: int
    index: Int[np.ndarray, " rows"]

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.index), self.channels, *self.size)

    def __getitem__(self, index: Int[np.ndarray, " m"]) -> UInt8[np.ndarray, "m c h w"]:
        images = [self.decode(int(i)) for i in np.arange(len(self.index))[index]]
        return np.stack(images) if images else np.empty((0, *self.shape[1:]), np.uint8)

    def rows(self, index: Int[np.ndarray, " m"]) -> EncodedImages:
        """The reader of these rows alone."""
        return replace(self, index=self.index[index])

    def decode(self, i: int) -> UInt8[np.ndarray, "c h w"]:
        """Image i of this reader."""
        with _opened(self.items[int(self.index[i])]) as image:
            return decode(image, self.size, self.channels)


def _opened(item: Path | BinaryIO | str | UInt8[np.ndarray, "c h w"]) -> Image.Image:
    """The image, maybe only its header; reading it may still fail later."""
    if isinstance(item, np.ndarray):
        return Image.fromarray(item[0] if len(item) == 1 else np.ascontiguousarray(item.transpose(1, 2, 0)))
    return Image.open(item)


def decode(image: Image.Image, size: tuple[int, int], channels: int) -> UInt8[np.ndarray, "c h w"]:
    """An opened image as uint8 (C, H, W): turned upright as its EXIF says, on white where it is transparent, 16-bit
    grey brought to 8 bits, its shorter side brought to ``size`` (height, width) by Lanczos, its centre kept.

    Raises:
        OSError, ValueError, SyntaxError: as Pillow does, for what cannot be read.
    """
    height, width = size
    image.draft(None, (3 * max(size), 3 * max(size)))  # lets JPEG skip detail that resizing would throw away
    image.load()
    image = _fitted(_opaque(_eight_bit(ImageOps.exif_transpose(image)), channels), height, width)
    pixels = np.asarray(image)
    return pixels[None].copy() if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _eight_bit(image: Image.Image) -> Image.Image:
    if not image.mode.startswith("I"):
        return image
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise ValueError("grey values beyond 16 bits")
    return Image.fromarray(((grey + 128) // 257).astype(np.uint8))


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


_RESIZE = "choose one with image_size (--image-size 32, say): each image is resized and its centre kept"


def encoded(
    items: Items, what: str, image_size: int | None = None, channels: int | None = None, remedy: str = _RESIZE
) -> EncodedImages:
    """The lazy reader of all items. What is not given follows from the headers: the size that all images share, and RGB
    unless all are grey. ``remedy`` is what to do if they share no size.

    Raises:
        UserError: if no header can be read, or the sizes differ and none was given.
    """
    size = None if image_size is None else (image_size, image_size)
    if size is None or channels is None:
        with ThreadPoolExecutor(THREADS) as pool:
            headers = list(pool.map(lambda i: _header(items, i), range(len(items)), chunksize=CHUNK))
        read = [header for header in headers if not isinstance(header, str)]
        if not read:
            raise _unreadable([header for header in headers if isinstance(header, str)], len(items))
        sizes = {header[0] for header in read}
        if size is None and len(sizes) > 1:
            (h0, w0), (h1, w1) = min(sizes), max(sizes)
            raise UserError(f"{what}: images of {len(sizes)} sizes, from {w0}x{h0} to {w1}x{h1} pixels; {remedy}.")
        size = size or min(sizes)
        channels = channels or (1 if all(is_grey for _, is_grey in read) else 3)
    return EncodedImages(items, size, channels, np.arange(len(items)))


def _header(items: Items, i: int) -> tuple[tuple[int, int], bool] | str:
    """(height, width) of the image, upright, and whether it is grey; or what is wrong with it."""
    try:
        with _opened(items[i]) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            return (image.size if turned else image.size[::-1]), image.mode in _GREY_MODES
    except Exception as error:
        return _problem(items, i, error)


def settled(table: ImageTable, budget: int = MEMORY_BUDGET) -> ImageTable:
    """The table after every image was decoded once, so that nothing unreadable can stop a training later.

    Images that need no more than ``budget`` bytes stay in memory; more are decoded again on access.

    Raises:
        UserError: naming every image that cannot be read.
    """
    lazy = table.images
    if not isinstance(lazy, EncodedImages):
        return table
    keep = int(np.prod(lazy.shape)) <= budget
    pixels = np.empty(lazy.shape if keep else (0,), np.uint8)

    def read(start: int) -> list[str]:
        """Fill a chunk of ``pixels``, and say what is wrong with its images."""
        problems = []
        for i in range(start, min(start + CHUNK, len(table))):
            try:
                image = lazy.decode(i)
                if keep:
                    pixels[i] = image
            except Exception as error:
                problems.append(_problem(lazy.items, int(lazy.index[i]), error))
        return problems

    what = f"{table.name}: {'reading' if keep else 'checking'}"
    with ThreadPoolExecutor(THREADS) as pool:
        chunks = pool.map(read, range(0, len(table), CHUNK))
        total = -(-len(table) // CHUNK)
        progress = tqdm(chunks, what, total, leave=False, unit_scale=CHUNK, unit=" images", disable=None)
        problems = [problem for found in progress for problem in found]
    if problems:
        raise _unreadable(problems, len(table))
    return replace(table, images=pixels) if keep else table


def _problem(items: Items | np.ndarray, i: int, error: Exception) -> str:
    """Why an item cannot be read, in one line."""
    name = str(items[i]) if isinstance(items[i], Path) else f"row {i}"
    if isinstance(error, UnidentifiedImageError):
        return f"{name}: not an image"
    return f"{name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"


def _unreadable(problems: Sequence[str], total: int) -> UserError:
    """The error that names every image that cannot be read."""
    listing = "\n  ".join(problems)
    return UserError(f"{len(problems)} of {total} images cannot be read; replace or remove them:\n  {listing}")
