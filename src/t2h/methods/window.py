"""The chance that T2H moves an aim, by t and the number of references, from the data alone: before any training.

T2H's paper (Figure 7) finds this chance to rise from 0 to 1 in a window of t, and transfers inside it to work best. The
window moves with the number of references and of pixels; given as bounds on the chance it means the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from t2h.errors import UserError
from t2h.methods.gates import acceptance
from t2h.methods.posterior import half_squares, reference_posterior
from t2h.process import Process


@dataclass(frozen=True)
class TransferChances:
    """The chance that an aim moves to another image, by t, for one number of references.

    Attributes:
        references: how many, the image itself included.
        t: times, in [0, T].
        within, across: the chance at each t that the aim is another image of the same class, or of another.
    """

    references: int
    t: tuple[float, ...]
    within: tuple[float, ...]
    across: tuple[float, ...]

    def window(self, low: float, high: float) -> tuple[int, int]:
        """t_min and t_max: from where the chance across classes is ``low`` until it first exceeds ``high``."""
        steps = [*self.t, 2 * self.t[-1] - self.t[-2]]
        begins = next((i for i, chance in enumerate(self.across) if chance >= low), len(self.t))
        ends = next((i for i, chance in enumerate(self.across) if chance > high and i >= begins), len(self.t))
        return round(steps[begins]), round(steps[ends])


def transfer_chances(
    draw: Callable[[int], tuple[Tensor, Tensor]],
    class_counts: Int[Tensor, " k"],
    process: Process,
    references: int,
    rounds: int = 8,
    points: int = 51,
) -> TransferChances:
    """The mean chances over batches drawn as training draws them, with T2H's gate, the references being the batch.

    Args:
        draw: gives n training images in [-1, 1], (n, C, H, W), and their classes, (n,).
        class_counts: images of each class, (K,).
        process: the noise process.
        references: how many images are drawn, at least 2, of which up to 128 are noised.
        rounds: how many times.
        points: how many times t.

    Raises:
        UserError: for fewer than two references.
    """
    if references < 2:
        raise UserError(f"{references} references; give at least 2, the image itself included.")
    generator = torch.Generator().manual_seed(0)
    gate = acceptance("hard", "t2h", class_counts)
    t = torch.linspace(0, process.num_timesteps, points + 1)[:-1]
    chances = torch.zeros(2, points, dtype=torch.float64)
    for _ in range(rounds):
        x0, y = draw(references)
        n, halves = min(references, 128), half_squares(x0)
        same = y[:n, None] == y
        for k, time in enumerate(t.tolist()):
            eps = torch.randn(x0[:n].shape, generator=generator)
            p = reference_posterior(x0[:n], eps, x0, torch.full((n,), time), process, halves=halves)
            moved = p.fill_diagonal_(0) * gate[y[:n]][:, y]
            chances[:, k] += torch.stack([(moved * same).sum(), (moved * ~same).sum()]).double() / (n * rounds)
    return TransferChances(references, tuple(t.tolist()), _numbers(chances[0]), _numbers(chances[1]))


def _numbers(row: Tensor) -> tuple[float, ...]:
    return tuple(row.tolist())
