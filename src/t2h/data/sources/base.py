"""What every source is asked for, and what they share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from t2h.data.decode import eight_bit
from t2h.data.encoded import EncodedImages
from t2h.data.table import Images, check_text
from t2h.errors import UserError, unknown_name

DEFAULT_ROOT = Path("data")
LARGEST_SIZE = 4096
SPLITS = ("train", "val", "test")
_SPELLINGS = re.compile(
    r"(?:(train(?:ing)?)|(val(?:id(?:ation)?)?|dev)|(test(?:ing)?|eval(?:uation)?|hold-?out))"
    r"(?:[-_ ]?(?:set|split|images|data|\d+))?",
    re.IGNORECASE,
)


def usual_split(name: str) -> str:
    """``train``, ``val`` or ``test`` for each of their usual spellings, as TrainSet and val2017; other names as is."""
    match = _SPELLINGS.fullmatch(name)
    return name if match is None else SPLITS[int(match.lastindex or 1) - 1]


@dataclass(frozen=True)
class Request:
    """A part of a data set, in a size and in channels.

    Raises:
        UserError: for a value that is out of range, or a path that is no text.
    """

    data: str = "digits"
    """digits, cifar10, cifar100, fashion-mnist, tiny-imagenet-200, hub:DATASET, or a path: a folder or an .npz."""
    root: Path | None = None
    """Directory or file that holds the data. Default: $T2H_DATA, else data/."""
    split: str = "train"
    """Part of the data set: train, test, val, all, as the source has them."""
    image_size: int | None = None
    """Height and width in pixels; images are resized and their centre is kept. Default: as they are."""
    channels: int | None = None
    """1 (grey) or 3 (RGB). Default: as the images are."""
    download: bool = False
    """Fetch what is missing (cifar10, cifar100, fashion-mnist) from its official address."""
    white: int | None = None
    """The value that is white: 4095 for 12-bit data in 16-bit files, say. Default: 255, or 65535 of 16-bit files."""

    def __post_init__(self) -> None:
        for text in (self.data, *([] if self.root is None else [str(self.root)])):
            check_text(text, "the path of data")
        if self.image_size is not None and not 1 <= self.image_size <= LARGEST_SIZE:
            raise UserError(f"image_size {self.image_size}: height and width in pixels are in 1 ... {LARGEST_SIZE}.")
        if self.channels not in (None, 1, 3):
            raise UserError(f"channels {self.channels}: 1 (grey) or 3 (RGB) is needed.")
        if self.white is not None and not 1 <= self.white <= 65535:
            raise UserError(f"white {self.white}: the value that is white is in 1 ... 65535.")

    @property
    def folder(self) -> Path:
        """``root``; without one $T2H_DATA, else ``data`` in the working directory."""
        return self.root or Path(os.environ.get("T2H_DATA") or DEFAULT_ROOT)

    def required_root(self, what: str) -> Path:
        """``root``, which this source cannot do without."""
        if self.root is None:
            raise UserError(f"{self.data}: no root given; give {what} as root (--root PATH).")
        if not self.root.exists():
            raise UserError(f"{self.root}: no such file or directory; give {what}.")
        return self.root

    def split_of(self, there: Iterable[str]) -> str:
        """The split that is asked for, as those that are there spell it.

        Raises:
            UserError: unless one of them is meant.
        """
        names = list(there)
        meant = [name for name in names if usual_split(name) == usual_split(self.split)]
        if self.split in names or len(meant) == 1:
            return self.split if self.split in names else meant[0]
        if meant:
            raise UserError(f"{self.data}: {' and '.join(meant)} may both be the split {self.split}; give one of them.")
        raise unknown_name(f"split of {self.data}", self.split, names)

    def converted(self, images: Integer[np.ndarray, "n c h w"]) -> Images:
        """An array as uint8 in the size and channels that are wanted: itself, or a lazy reader of it."""
        if self.white is not None or images.dtype != np.uint8:
            images = eight_bit(images, self.white or 255)
        _, c, h, w = images.shape
        size = (h, w) if self.image_size is None else (self.image_size, self.image_size)
        channels = self.channels or c
        if (channels, *size) == (c, h, w):
            return images
        return EncodedImages(images, size, channels, np.arange(len(images)))
