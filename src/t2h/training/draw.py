"""A batch as a process of a training sees it."""

from __future__ import annotations

import torch
from torch import Tensor

from t2h.data.augment import augment
from t2h.methods.base import Batch
from t2h.randomness import derive_seed, generator
from t2h.training.setup import Training


def draw_batch(training: Training, x0: Tensor, y: Tensor, part: int = 0) -> Batch:
    """A part of the batch as this process sees it, augmented and noised, with its references."""
    learning, share = training.config.learning, training.share
    rank, position = share.rank, training.images_seen + part * share.size * share.world

    def augmented(x0: Tensor, purpose: str, *numbers: int) -> tuple[Tensor, Tensor | None]:
        draws = generator(x0.device, learning.seed, purpose, *numbers)
        return augment(x0, learning.augment, draws) if learning.augment else (x0, None)

    x0, augmentation = augmented(x0, "augmentation", rank, position)
    dropout = learning.label_dropout
    if learning.dropout_unit == "batch":  # the whole batch alike, whatever its parts and processes
        coin = torch.rand((), generator=generator("cpu", learning.seed, "label dropout", training.images_seen))
        dropout = float(coin < dropout)
    draws = generator(x0.device, learning.seed, "noise", rank, position)
    batch = Batch.noised(training.process, x0, y, draws, training.null_label, dropout, augmentation)
    if training.references is not None:
        batch = training.references.of(batch, position, augmented)
    torch.manual_seed(derive_seed(learning.seed, "dropout", rank, position))  # of the network
    return batch


def calibrate(training: Training) -> None:
    """Show the first batches to the aim, which may learn from them; what it learns is part of every checkpoint."""

    def first(images: int) -> list[Batch]:
        batches = training.stream.batches(0, training.share)
        return [draw_batch(training, *next(batches), part) for part in range(-(-images // training.share.size))]

    if training.objective.aim is not None:
        training.objective.aim.calibrate(first, lambda values: training.accelerator.reduce(values, "mean"))
