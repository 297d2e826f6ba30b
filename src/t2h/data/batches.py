"""Batches of training images, on the device, in an order that follows from the seed alone.

The images of a run form one endless sequence: epoch after epoch of shuffled (or resampled) rows. A process takes its
slice of each batch, so the order does not depend on how many processes there are, and a resumed run continues it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from t2h.data.table import MEMORY_BUDGET, Images, ImageTable
from t2h.errors import UserError
from t2h.randomness import derive_seed, generator


@dataclass(frozen=True)
class Share:
    """A process's share of each batch: ``size`` images a process, ``world`` processes, this one being ``rank``."""

    size: int
    rank: int = 0
    world: int = 1

    def offset(self, k: int) -> int:
        """Where this process's part of batch k begins in the sequence."""
        return (k * self.world + self.rank) * self.size


class Order:
    """The endless sequence of row numbers that training sees.

    Args:
        labels: classes of the rows, int64 (N,).
        seed: of the shuffles.
        power: q of p(class) ∝ n_c^q. 1 shuffles the rows, epoch by epoch; any other q draws rows with replacement,
            0.5 being square-root and 0 class-balanced sampling.

    Raises:
        UserError: if there is no image.
    """

    def __init__(self, labels: Int[np.ndarray, " n"], seed: int, power: float = 1.0) -> None:
        if len(labels) == 0:
            raise UserError("the training set has no image; check the data folder and the long-tail options.")
        self.labels, self.seed, self.power = labels, seed, power
        self._epochs: dict[int, Int[np.ndarray, " n"]] = {}

    def _epoch(self, epoch: int) -> Int[np.ndarray, " n"]:
        if epoch not in self._epochs:
            n = len(self.labels)
            random = np.random.Generator(np.random.PCG64(derive_seed(self.seed, "order", epoch)))
            if self.power == 1:
                rows = random.permutation(n)
            else:
                weight = np.bincount(self.labels)[self.labels] ** (self.power - 1.0)
                rows = random.choice(n, size=n, p=weight / weight.sum())
            last = dict(list(self._epochs.items())[-1:])  # a batch may reach from one epoch into the next
            self._epochs = last | {epoch: rows}
        return self._epochs[epoch]

    def rows(self, start: int, count: int) -> Int[np.ndarray, " count"]:
        """Row numbers of positions start ... start+count-1 of the sequence."""
        n, parts = len(self.labels), []
        while count > 0:
            epoch, offset = divmod(start, n)
            parts.append(self._epoch(epoch)[offset : offset + count])
            start, count = start + len(parts[-1]), count - len(parts[-1])
        return np.concatenate(parts)


class _Batches(Dataset):
    """Batch k of one process's share, decoded by a worker."""

    def __init__(self, images: Images, order: Order, start: int, share: Share) -> None:
        self.images, self.order, self.start, self.share = images, order, start, share

    def __getitem__(self, k: int) -> tuple[Tensor, Tensor]:
        rows = self.order.rows(self.start + self.share.offset(k), self.share.size)
        return torch.from_numpy(self.images[rows]), torch.from_numpy(self.order.labels[rows])


def scaled(images: Tensor) -> Float[Tensor, "n c h w"]:
    """uint8 as float32 in [-1, 1]."""
    return images.to(torch.float32).mul_(2 / 255).sub_(1)


def both_ways(images: Tensor) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n c h w"]]:
    """Rows of a table's images, and the same mirrored left to right, as training sees them: pixels in [-1, 1], or
    latents as they are.
    """
    if images.ndim == 5:
        return images[:, 0].float(), images[:, -1].float()
    x0 = scaled(images)
    return x0, x0.flip(-1)


class BatchStream:
    """Draws (x0, y) on the device.

    Images that fit live there as one tensor; a larger set streams through a `DataLoader` with workers.

    Args:
        table: the training images.
        device: where the batches are wanted.
        seed: of order and flips.
        power: as in `Order`.
        flip: mirror each image left to right with probability 1/2.
        resident_bytes: sets up to this size are kept on the device.
        workers: of the loader, where the set is larger.
    """

    def __init__(
        self,
        table: ImageTable,
        device: torch.device,
        seed: int,
        power: float = 1.0,
        flip: bool = True,
        resident_bytes: int = MEMORY_BUDGET,
        workers: int = 4,
    ) -> None:
        self.table, self.device, self.seed, self.flip, self.workers = table, device, seed, flip, workers
        self.order = Order(table.labels, seed, power)
        # "others" was the first name of the references; another word here would give another sequence
        second = derive_seed(seed, "others")
        self._reference_order, self._balanced_order = (Order(table.labels, second, q) for q in (power, 0.0))
        width = getattr(table.images, "dtype", np.dtype(np.uint8)).itemsize
        self.bytes = width * int(np.prod(table.images.shape))
        self.resident_bytes, self.resident = resident_bytes, self.bytes <= resident_bytes
        if self.resident:
            images = table.images if isinstance(table.images, np.ndarray) else table.images[np.arange(len(table))]
            self._images = torch.from_numpy(np.require(images, requirements=("C", "W"))).to(device)
            self._labels = torch.from_numpy(table.labels).to(device)

    def describe(self) -> str:
        """One line that says how the images reach the device."""
        where = f"kept on {self.device}" if self.resident else f"streamed by {self.workers} workers"
        return f"{self.bytes / 2**20:,.0f} MiB of images {where}"

    def batches(self, start: int, share: Share) -> Iterator[tuple[Float[Tensor, "b c h w"], Int[Tensor, " b"]]]:
        """This process's batches from position ``start`` of the sequence on, endless: images or latents, and labels."""
        source = self._resident_batches(start, share) if self.resident else self._streamed_batches(start, share)
        for k, (images, labels) in enumerate(source):
            yield self._x0(images, "flip", share.rank, start + k * share.world * share.size), labels

    def references(
        self, k: int, count: int, balanced: bool = False
    ) -> tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]]:
        """``count`` reference images for batch ``k`` and their labels, the same for every process.

        They come from a second sequence, which is made as that of the batches, or of all classes alike.
        """
        order = self._balanced_order if balanced else self._reference_order
        images, labels = self._rows(order.rows(k * count, count))
        return self._x0(images, "flip of others", k), labels

    def everything(self) -> tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]]:
        """All images in the order of the table, and their labels; then all of them mirrored, where training mirrors.

        Raises:
            UserError: if they take more memory than images may on the device.
        """
        copies = 2 if self.flip else 1
        needed = 4 * copies * len(self.table) * self.table.channels * math.prod(self.table.image_size)
        if needed > self.resident_bytes:
            raise UserError(
                f"all references, as float32, take {needed / 2**30:.2g} GiB{' with their mirror images' * self.flip}; "
                f"--resident-gib allows {self.resident_bytes / 2**30:.2g}. Raise it, or draw a bank of references."
            )
        images, labels = self._rows(np.arange(len(self.table)))
        return torch.cat(both_ways(images)[:copies]), labels.repeat(copies)

    def own(self, start: int, share: Share) -> Int[Tensor, " b"]:
        """Where the images of this process's batch from position ``start`` are in `everything`, (B,)."""
        rows = torch.from_numpy(self.order.rows(start + share.offset(0), share.size)).to(self.device)
        return rows + len(self.table) * self._mirrored(len(rows), "flip", share.rank, start)

    def _x0(self, images: Tensor, purpose: str, *numbers: int) -> Float[Tensor, "b c h w"]:
        """In [-1, 1] or latents, mirrored at random."""
        x0, mirrored = both_ways(images)
        if self.flip:
            x0 = torch.where(self._mirrored(len(x0), purpose, *numbers).reshape(-1, 1, 1, 1), mirrored, x0)
        return x0

    def _mirrored(self, n: int, purpose: str, *numbers: int) -> Bool[Tensor, " n"]:
        if not self.flip:
            return torch.zeros(n, dtype=torch.bool, device=self.device)
        draws = generator(self.device, self.seed, purpose, *numbers)
        return torch.rand(n, generator=draws, device=self.device) < 0.5

    def _resident_batches(self, start: int, share: Share) -> Iterator[tuple[Tensor, Tensor]]:
        for k in itertools.count():
            yield self._rows(self.order.rows(start + share.offset(k), share.size))

    def _rows(self, rows: Int[np.ndarray, " n"]) -> tuple[Tensor, Tensor]:
        """Images and labels of rows, on the device."""
        if not self.resident:
            images = torch.from_numpy(np.asarray(self.table.images[rows])).to(self.device)
            return images, torch.from_numpy(self.table.labels[rows]).to(self.device)
        at = torch.from_numpy(rows).to(self.device, non_blocking=True)
        return self._images[at], self._labels[at]

    def _streamed_batches(self, start: int, share: Share) -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(
            _Batches(self.table.images, self.order, start, share),
            batch_size=None,
            sampler=itertools.count(),
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=self.workers > 0,
        )
        for images, labels in loader:
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
