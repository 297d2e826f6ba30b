"""Which images, and how long their tail: the options that every verb which reads data shares."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from t2h.data.encoded import settled
from t2h.data.longtail import Profile, check_imbalance, long_tail_indices
from t2h.data.sources import open_images
from t2h.data.sources.base import Request
from t2h.data.table import ImageTable


@dataclass(frozen=True)
class DataConfig(Request):
    """Which images to take, and how to make them long-tailed."""

    imbalance: float = 1.0
    """Smallest class over largest class, in (0, 1]. 1 leaves the data as it is."""
    profile: Profile = "exp"
    """Form of the tail: exponential, step, pareto, or none (the data as it is)."""
    counts: tuple[int, ...] | None = None
    """Images of each class, in the order of the classes, instead of imbalance and profile."""
    long_tail_seed: int = 0
    """Seed that chooses the images of each class; the official subsets have 0."""


def load(config: DataConfig) -> ImageTable:
    """The images of a configuration, long-tailed. With imbalance 1 and no counts: all of them, in order.

    Raises:
        UserError: as `load_images` and `long_tail_indices`.
    """
    check_imbalance(config.imbalance)
    table = open_images(config)
    rows = long_tail_rows(table, config)
    return settled(table if rows is None else table.select(rows))


def load_whole(config: DataConfig, split: str | None = None) -> ImageTable:
    """All images of a split, by default of the configuration's own, whatever its long tail."""
    return settled(open_images(replace(config, split=split or config.split)))


def long_tail_rows(table: ImageTable, config: DataConfig) -> Int[np.ndarray, " n"] | None:
    """The rows of the whole table that a configuration keeps; None if it keeps all, as they are.

    Raises:
        UserError: as `long_tail_indices`.
    """
    if config.counts is None and (config.imbalance == 1 or config.profile == "none"):
        return None
    return long_tail_indices(
        table.labels, config.imbalance, config.profile, config.long_tail_seed, table.num_classes, config.counts
    )
