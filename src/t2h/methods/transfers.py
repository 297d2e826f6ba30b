"""How many aims were moved to other images, by t, inside a class and across classes: Figure 7 of T2H's paper."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from t2h.methods.base import Batch

BINS = 50  # over t
UNIT = 2**20  # counts are integers of 1/UNIT: an expectation moves a part of an aim, and float32 would stop at 2^24


class TransferCounter(nn.Module):
    """Counts, on the device of the training, all aims and those that moved.

    Args:
        num_timesteps: T.
    """

    counted: Tensor

    def __init__(self, num_timesteps: int) -> None:
        super().__init__()
        self.num_timesteps = num_timesteps
        self.register_buffer("counted", torch.zeros(3, BINS, dtype=torch.int64))  # all, within class, across classes

    def add(self, batch: Batch, mass: Float[Tensor, "b n"]) -> None:
        """Count a batch, of which sample i aims at reference j with weight ``mass[i, j]``."""
        own = batch.offset + torch.arange(len(batch.y), device=mass.device)
        others = mass.scatter(1, own.unsqueeze(1), 0.0)
        same_class = batch.y.unsqueeze(1) == batch.reference_y.unsqueeze(0)
        within, across = (others * same_class).sum(dim=1), (others * ~same_class).sum(dim=1)
        bins = (batch.t * BINS // self.num_timesteps).long()
        counts = torch.zeros(3, BINS, device=mass.device)
        counts.index_add_(1, bins, torch.stack([torch.ones_like(within), within, across]).float())
        self.counted += (counts * UNIT).round().long()


def transfer_statistics(counted: Int[Tensor, "3 bins"], num_timesteps: int) -> dict[str, object]:
    """{"transfer": {"t_edges" (bins + 1), "total", "transferred", "within_class", "across_class" (bins)}}."""
    total, within, across = (counted.cpu().double() / UNIT).tolist()
    return {
        "transfer": {
            "t_edges": [-(-i * num_timesteps // BINS) for i in range(BINS + 1)],
            "total": total,
            "transferred": [a + b for a, b in zip(within, across, strict=True)],
            "within_class": within,
            "across_class": across,
        }
    }
