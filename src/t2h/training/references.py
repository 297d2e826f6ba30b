"""The references of a batch: the kinds that `T2H.references` names, as a training has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from t2h.data.batches import BatchStream, Share
from t2h.errors import UserError
from t2h.methods.base import Batch, References
from t2h.methods.posterior import half_squares
from t2h.training.config import LearningConfig

Augmented = Callable[..., tuple[Tensor, Tensor | None]]


class ReferenceImages:
    """Gives batches their references. Those of kind "all" stay on the device: what is mirrored in training, twice.

    Raises:
        UserError: for a bank of no image, and for "all" of images that do not fit on the device or are augmented.
    """

    def __init__(
        self, kind: References, learning: LearningConfig, stream: BatchStream, share: Share, accelerator: Accelerator
    ) -> None:
        self.kind, self.count, self.stream, self.share = kind, learning.references, stream, share
        self.accelerator = accelerator
        if kind in ("bank", "balanced") and not self.count:
            raise UserError(f"--t2h.references {kind} draws the N images of --references N; give N, such as 1024.")
        if kind == "all":
            if learning.augment:
                raise UserError("--t2h.references all are the images as they are; leave out --augment, or take a bank.")
            self.x0, self.y = stream.everything()
            self.halves = half_squares(self.x0)

    def of(self, batch: Batch, position: int, augmented: Augmented) -> Batch:
        """The batch with its references, and where it is among them.

        Args:
            batch: this process's share of the images from ``position`` of the sequence on, or the first of them.
            position: a multiple of the images of all processes.
            augmented: makes of images, a purpose and numbers the augmented ones.
        """
        if self.kind == "all":
            own = self.stream.own(position, self.share)[: len(batch.y)]
            return replace(batch, reference_x0=self.x0, reference_y=self.y, own=own, halves=self.halves)
        x0, y, own, shared = batch.x0, batch.y, batch.own, 0
        if self.kind == "ranks" and self.share.world > 1:
            x0, y = self.accelerator.gather(x0), self.accelerator.gather(y)
            own = own + self.share.rank * self.share.size
        if self.kind != "batch" and self.count:
            k = position // (self.share.size * self.share.world)
            further, labels = self.stream.references(k, self.count, balanced=self.kind == "balanced")
            further, _ = augmented(further, "augmentation of others", k)
            shared = 0 if self.kind == "ranks" else len(y)
            x0, y = torch.cat([x0, further]), torch.cat([y, labels])
        return replace(batch, reference_x0=x0, reference_y=y, own=own, shared=shared)
