"""Images that are decoded on access, and the look at every one of them before anything begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Int, UInt8
from PIL import UnidentifiedImageError
from tqdm import tqdm

from t2h.data.decode import decode, opened
from t2h.data.table import MEMORY_BUDGET, ImageTable
from t2h.errors import UserError, notice

THREADS = min(16, os.cpu_count() or 1)
CHUNK = 64  # images a thread takes at once
DARK = 65  # of 255: more than 14-bit values have in 16-bit files
_GREY_MODES = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_ORIENTATION = 0x0112  # EXIF tag
Items: TypeAlias = Sequence[Path | BytesIO | str]


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """A lazy reader (`Images`): the items at these positions, decoded on access to one shape.

    An item is a path, an open file, or an image of an array.
    """

    items: Items | UInt8[np.ndarray, "n c h w"]
    size: tuple[int, int]
    channels: int
    index: Int[np.ndarray, " rows"]
    white: int | None = None

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
        with opened(self.items[int(self.index[i])]) as image:
            return decode(image, self.size, self.channels, self.white)


_RESIZE = "choose one with image_size (--image-size 32, say): each image is resized and its centre kept"


def encoded(
    items: Items,
    what: str,
    image_size: int | None = None,
    channels: int | None = None,
    white: int | None = None,
    remedy: str = _RESIZE,
) -> EncodedImages:
    """The lazy reader of all items. What is not given follows from the headers: the size that all images share, and RGB
    unless all are grey. ``remedy`` is what to do if they share no size.

    Raises:
        UserError: if no header can be read, or the sizes differ and none was given.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        headers = list(pool.map(lambda i: _header(items, i), range(len(items)), chunksize=CHUNK))
    read = [header for header in headers if not isinstance(header, str)]
    if not read:
        raise _unreadable([header for header in headers if isinstance(header, str)], len(items))
    sizes = {header[0] for header in read}
    if image_size is None and len(sizes) > 1:
        (h0, w0), (h1, w1) = min(sizes), max(sizes)
        raise UserError(f"{what}: images of {len(sizes)} sizes, from {w0}x{h0} to {w1}x{h1} pixels; {remedy}.")
    small = [header[0] for header in read if image_size is not None and min(header[0]) < image_size]
    if small:
        least = min(small, key=min)
        notice(f"{what}: {len(small):,} images are enlarged, the smallest from {least[1]}x{least[0]} pixels")
    if films := sum(header[2] for header in read):
        notice(f"{what}: {films:,} images have several frames; the first is taken")
    size = min(sizes) if image_size is None else (image_size, image_size)
    channels = channels or (1 if all(is_grey for _, is_grey, _ in read) else 3)
    return EncodedImages(items, size, channels, np.arange(len(items)), white)


def _header(items: Items, i: int) -> tuple[tuple[int, int], bool, bool] | str:
    """(height, width) of the image, upright; whether it is grey, and has several frames; or what is wrong with it."""
    try:
        with opened(items[i]) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            film = image.format != "MPO" and getattr(image, "is_animated", False)  # phones add previews to photos
            return (image.size if turned else image.size[::-1]), image.mode in _GREY_MODES, film
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
        if isinstance(lazy, np.ndarray):
            _say_if_dark(table.name, int(lazy.max(initial=0)), 255)
        return table
    keep = int(np.prod(lazy.shape)) <= budget
    pixels = np.empty(lazy.shape if keep else (0,), np.uint8)

    def read(start: int) -> tuple[list[str], tuple[int, int]]:
        """Fill a chunk of ``pixels``; what is wrong with its images, and the largest value in them, with its row."""
        problems, brightest = [], (0, 0)
        for i in range(start, min(start + CHUNK, len(table))):
            try:
                image = lazy.decode(i)
                brightest = max(brightest, (int(image.max()), i))
                if keep:
                    pixels[i] = image
            except Exception as error:
                problems.append(_problem(lazy.items, int(lazy.index[i]), error))
        return problems, brightest

    what = f"{table.name}: {'reading' if keep else 'checking'}"
    with ThreadPoolExecutor(THREADS) as pool:
        chunks = pool.map(read, range(0, len(table), CHUNK))
        total = -(-len(table) // CHUNK)
        progress = tqdm(chunks, what, total, leave=False, unit_scale=CHUNK, unit=" images", disable=None)
        found = list(progress)
    if problems := [problem for named, _ in found for problem in named]:
        raise _unreadable(problems, len(table))
    brightest, row = max((brightest for _, brightest in found), default=(255, 0))
    if brightest < DARK:
        with opened(lazy.items[int(lazy.index[row])]) as image:
            deep = image.mode[0] == "I"
            _say_if_dark(table.name, *((image.getextrema()[1], lazy.white or 65535) if deep else (brightest, 255)))
    return replace(table, images=pixels) if keep else table


def _say_if_dark(name: str, high: int, white: int) -> None:
    """12-bit data in 16-bit files, class numbers as colours, and 0 ... 1 as 8-bit images are all but black."""
    if high * 255 < DARK * white:
        text = f"no value is above {high:,} where {white:,} is white, so all images are nearly black"
        notice(f"{name}: {text}; --white says what is white in data")


def _problem(items: Items | np.ndarray, i: int, error: Exception) -> str:
    name = str(items[i]) if isinstance(items[i], Path) else f"row {i}"
    name = name if name.isprintable() else ascii(name)
    if isinstance(error, UnidentifiedImageError):
        return f"{name}: not an image"
    return f"{name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"


def _unreadable(problems: Sequence[str], total: int) -> UserError:
    listing = "\n  ".join(problems)
    return UserError(f"{len(problems)} of {total} images cannot be read; replace or remove them:\n  {listing}")
