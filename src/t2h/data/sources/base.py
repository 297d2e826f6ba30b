"""What every source is asked for, and what they share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from t2h.data.decode import EncodedImages
from t2h.data.table import Images
from t2h.errors import UserError, unknown_name

DEFAULT_ROOT = Path("data")


@dataclass(frozen=True)
class Request:
    """A part of a data set, in a size and in channels.

    Raises:
        UserError: for an image size below 1, or channels other than 1 and 3.
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

    def __post_init__(self) -> None:
        if self.image_size is not None and self.image_size < 1:
            raise UserError(f"image_size {self.image_size}: it is the height and width in pixels, 1 or more.")
        if self.channels not in (None, 1, 3):
            raise UserError(f"channels {self.channels}: 1 (grey) or 3 (RGB) is needed.")

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

    def check_split(self, allowed: Sequence[str]) -> None:
        """Raises `UserError` unless the split is one of these."""
        if self.split not in allowed:
            raise unknown_name(f"split of {self.data}", self.split, allowed)

    def converted(self, images: UInt8[np.ndarray, "n c h w"]) -> Images:
        """An array in the size and channels that are wanted: itself, or a lazy reader of it."""
        _, c, h, w = images.shape
        size = (h, w) if self.image_size is None else (self.image_size, self.image_size)
        channels = self.channels or c
        if (channels, *size) == (c, h, w):
            return images
        return EncodedImages(images, size, channels, np.arange(len(images)))
