"""How many aims were moved to other images, by t, inside a class and across classes: Figure 7 of T2H's paper."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from t2h.methods.base import Batch

BINS = 50  # over t
UNIT = 2**20  # counts are integers of 1/UNIT: an expectation moves a part of an aim, and float32 would stop at 2^24


def moved(batch: Batch, mass: Float[Tensor, "b n"]) -> Float[Tensor, "2 b"]:
    """How much of each aim is another image of the same class, and of another; i aims at j with ``mass[i, j]``."""
    others = mass.scatter(1, batch.own.unsqueeze(1), 0.0)
    all_ = others.sum(dim=1)
    within = others.mul_(batch.y.unsqueeze(1) == batch.reference_y).sum(dim=1)
    return torch.stack([within, (all_ - within).clamp(min=0)])


class TransferCounter(nn.Module):
    """Counts, on the device of the training, all aims and those that moved."""

    counted: Tensor

    def __init__(self, num_timesteps: int) -> None:
        super().__init__()
        self.num_timesteps = num_timesteps
        self.register_buffer("counted", torch.zeros(3, BINS, dtype=torch.int64))  # all, within class, across classes

    def add(self, batch: Batch, mass: Float[Tensor, "b n"]) -> None:
        """Count a batch, as `moved`."""
        parts = moved(batch, mass)
        bins = (batch.t * BINS // self.num_timesteps).long()
        counts = torch.zeros(3, BINS, device=mass.device)
        counts.index_add_(1, bins, torch.cat([torch.ones_like(parts[:1]), parts]).float())
        self.counted += (counts * UNIT).round().long()

    def statistics(self) -> dict[str, object]:
        """{"transfer": {"t_edges" (bins + 1), "total", "transferred", "within_class", "across_class" (bins)}}."""
        total, within, across = (self.counted.cpu().double() / UNIT).tolist()
        return {
            "transfer": {
                "t_edges": [-(-i * self.num_timesteps // BINS) for i in range(BINS + 1)],
                "total": total,
                "transferred": [a + b for a, b in zip(within, across, strict=True)],
                "within_class": within,
                "across_class": across,
            }
        }
