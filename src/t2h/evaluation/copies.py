"""Are they copies? Samples of each class beside the training images of that class, in pixels, without a reference."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from t2h.data.config import DataConfig, long_tail_rows
from t2h.data.groups import head_to_tail
from t2h.data.sources import open_images
from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.features.base import chunks, shape_text
from t2h.metrics.memorisation import NearCopies, near_copies
from t2h.results.statistics import proportion_interval
from t2h.results.table import Cell, Table, table
from t2h.samples.read import SampleSet, read_samples

SIDE = 64
"""Larger images are compared as means over squares, so that no side is longer than this."""
FIRST_LOOK = 8_000_000
"""Pixels of training images that `first_look` compares: 7,800 images of 32×32."""


@dataclass(frozen=True, eq=False)
class ClassCopies:
    """What was found of one class.

    Args:
        label: the class; None of samples without labels, which are compared with all training images.
        name: its name.
        rows: its samples (n,), as rows of the sample set.
        training: its training images (m,), as rows of the table.
        found: see `NearCopies`; None with fewer than three different training images.
    """

    label: int | None
    name: str
    rows: Int[np.ndarray, " n"]
    training: Int[np.ndarray, " m"]
    found: NearCopies | None

    @property
    def copies(self) -> int:
        """How many of the samples are near copies."""
        return 0 if self.found is None else int(self.found.near.sum())

    @property
    def more_than_fresh(self) -> bool:
        """Whether there are more near copies than chance explains (Wilson's 95 % interval)."""
        if self.found is None:
            return False
        return proportion_interval(self.copies, len(self.rows))[0] > self.found.expected


def class_copies(
    samples: SampleSet, data: ImageTable, per_class: int = 500, classes: Sequence[int] | None = None
) -> list[ClassCopies]:
    """Every class that has samples, or these classes, from head to tail.

    Args:
        samples: labelled or not; of each class the first ``per_class`` are looked at.
        data: the training images.

    Raises:
        UserError: if the images have different sizes or channels, or the classes have other numbers of images than the
            samples say.
    """
    ours, theirs = tuple(samples.images.shape[1:]), tuple(data.images.shape[1:])
    if ours != theirs:
        raise UserError(
            f"{samples.path}: the samples are {shape_text(ours)}, the training images {shape_text(theirs)}; "
            "give the data that the network was trained on (--data, --image-size, --channels)."
        )
    counts = samples.facts.get("class_counts")
    if counts and samples.labels is not None and list(counts) != data.class_counts.tolist():
        raise UserError(
            f"{samples.path}: its network was trained on {sum(counts):,} images of {len(counts)} classes, these "
            f"are {len(data):,} of {data.num_classes}, or other ones; give its data (--data, --imbalance, --counts)."
        )
    if samples.labels is None:
        everything = np.arange(min(per_class, samples.images.shape[0])), np.arange(len(data))
        return [_compared(None, "all classes", *everything, samples, data)]
    chosen = head_to_tail(data.class_counts).tolist() if classes is None else classes
    return [
        _compared(c, data.class_names[c], rows[:per_class], np.flatnonzero(data.labels == c), samples, data)
        for c in chosen
        if len(rows := np.flatnonzero(samples.labels == c))
    ]


def _compared(
    label: int | None, name: str, rows: np.ndarray, training: np.ndarray, samples: SampleSet, data: ImageTable
) -> ClassCopies:
    found, ours, theirs = None, _small(samples.images, rows), _small(data.images, training)
    with suppress(UserError):  # too few
        found = near_copies(ours, theirs)
    return ClassCopies(label, name, rows, training, found)


def _small(images: Any, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n c a b"]:
    """Images in [0, 1], no side longer than `SIDE`; decoded part by part."""
    height, width = images.shape[2:]
    by = -(-max(height, width) // SIDE)
    parts = []
    for index in chunks(rows, 256):
        part = images[index]
        part = part.astype(np.float32) / (255 if part.dtype == np.uint8 else 1)
        a, b = height // by, width // by
        parts.append(part[..., : a * by, : b * by].reshape(*part.shape[:2], a, by, b, by).mean((3, 5)))
    return np.concatenate(parts) if parts else np.empty((0, images.shape[1], 1, 1), np.float32)


def copies_table(found: Sequence[ClassCopies]) -> Table:
    """A row for each class: training images, samples, near copies and those expected of fresh images, distance."""
    head = [
        "class",
        Cell("training images", ("training_images",)),
        "samples",
        Cell("near copies", ("near_copies", "share")),
        Cell("of fresh at most", ("expected_share",)),
        "distance",
    ]
    rows = []
    for each in found:
        n, of = len(each.rows), each.found
        row: list[Any] = [each.name, len(each.training), n]
        if of is None:
            row += [Cell("—", (None, None)), Cell("—", (None,)), Cell("—", (None,))]
        else:
            share = each.copies / n
            row += [
                Cell(f"{each.copies:,} ({share:.0%})", (each.copies, share)),
                Cell(f"{of.expected:.0%}", (of.expected,)),
            ]
            row += [Cell(f"{of.distance:.2f}", (of.distance,))]
        rows.append(row)
    remarks = [
        "near copy: a sample as close to one training image, by itself and against the next ones, as only 5 % of the "
        "training images are to each other (in pixels, mirror images included)",
        "of fresh at most: the largest share to expect of unseen images of the class",
        "distance to the nearest training image: 0 of copies, 1 of images like the training images",
    ]
    lists = {
        "more near copies than fresh images would have": [each for each in found if each.more_than_fresh],
        "far from the training images, neither copies nor like them": [e for e in found if e.found and e.found.far],
        "too few training images to tell": [each for each in found if each.found is None],
    }
    remarks += [f"{', '.join(each.name for each in of)}: {what}" for what, of in lists.items() if of]
    return table(head, rows, remarks=remarks)


def first_look(place: Path, data: DataConfig) -> str | None:
    """A line about near copies among stored samples of the rarest classes, up to three, at small cost; None if the data
    is not here or nothing can be said.
    """
    with suppress(UserError, OSError):
        whole = open_images(data)
        rows = long_tail_rows(whole, data)
        training = whole if rows is None else whole.select(rows)
        samples, counts = read_samples(place, training.class_names), training.class_counts
        if samples.labels is None:
            return None
        rarest = [c for c in head_to_tail(counts)[::-1].tolist() if counts[c] > 2 and (samples.labels == c).any()][:3]
        enough = np.cumsum(counts[rarest]) * np.prod(training.image_size) <= FIRST_LOOK
        found = class_copies(samples, training, 100, [c for c, few in zip(rarest, enough, strict=True) if few])
        shown = [f"{each.name}: {each.copies} of {len(each.rows)}" for each in found if each.more_than_fresh]
        if shown:
            return f"{', '.join(shown)} are near copies of training images; t2h inspect samples {place} shows them"
        if found:
            names = ", ".join(each.name for each in found)
            return f"rarest classes ({names}): no more near copies of training images than fresh images would have"
    return None
