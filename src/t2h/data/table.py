"""What every image source yields: images, labels and class names."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from t2h.errors import UserError, check_class_names, check_labels

MEMORY_BUDGET = 4 << 30
"""Bytes of decoded images that are kept in memory, and on the device in training; more are decoded when needed."""


@runtime_checkable
class Images(Protocol):
    """Images that are indexed by an array of positions: a uint8 array (N, C, H, W), or a lazy reader of that shape.

    A lazy reader has a method ``rows(index)``, which returns the reader of these rows alone. In training they may be
    latents of an autoencoder: a float16 array (N, 1, C, H, W), or (N, 2, C, H, W) with those of the mirrored images.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, index: Int[np.ndarray, " n"], /) -> UInt8[np.ndarray, "n c h w"]: ...


def check_text(text: str, what: str) -> None:
    """Raises `UserError` unless a name can be printed and written: UTF-8, not empty, without control characters."""
    if not text or any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise UserError(f"{text!a}: {what} must be UTF-8, not empty, and without control characters; rename it.")


@dataclass(frozen=True, eq=False)
class ImageTable:
    """Labelled images, before anything random has happened to them.

    Args:
        images: uint8 (N, C, H, W); C is 1 (grey) or 3 (RGB). An array, a memory map or a lazy reader; see `Images`.
        labels: int64 (N,), from 0 to K-1. A class may be empty: it keeps its index.
        class_names: the K names, in the order of the labels.
        split: which part of the data set this is ("train", "test", ...).
        name: what the data set is called in results and titles.

    Raises:
        UserError: if the shapes disagree, a label is outside 0 ... K-1, or a name cannot be printed or is there twice.
    """

    images: Images
    labels: Int[np.ndarray, " n"]
    class_names: tuple[str, ...]
    split: str = "train"
    name: str = "images"

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if len(shape) != 5 and (len(shape) != 4 or shape[1] not in (1, 3)):
            raise UserError(f"{self.name}: images have shape {shape}; (N, C, H, W) with C = 1 or 3 is needed.")
        for text in (self.name, *self.class_names):
            check_text(text, f"the name of a class of {self.name!a}")
        check_class_names(self.class_names, f"{self.name}: ")
        if shape[0] != len(self.labels):
            raise UserError(f"{self.name}: {shape[0]} images but {len(self.labels)} labels; give one label per image.")
        check_labels(f"{self.name}: labels", self.labels, self.num_classes)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return int(self.images.shape[-3])

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels, or of latents."""
        return int(self.images.shape[-2]), int(self.images.shape[-1])

    @property
    def class_counts(self) -> Int[np.ndarray, " k"]:
        """Number of images of each class, int64 (K,)."""
        return np.bincount(self.labels, minlength=self.num_classes).astype(np.int64)

    def select(self, indices: Int[np.ndarray, " m"] | Sequence[int]) -> ImageTable:
        """The table of these rows, in this order; all classes keep their index."""
        index = np.asarray(indices, dtype=np.int64)
        narrowed = getattr(self.images, "rows", self.images.__getitem__)  # a lazy reader stays lazy
        return replace(self, images=narrowed(index), labels=self.labels[index])
