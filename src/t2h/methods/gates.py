"""Between which classes an aim may move: the gates of T2H, as tables over classes.

With n_i and n_j the training images of the sample's class and the reference's, and r = n_j/n_i (n_i/n_j for H2T,
unbounded for full), the chance that a drawn reference is accepted is

    hard        1 where r >= 1, else 0                        official
    strict      1 where r > 1, else 0                         no transfer between equal counts, nor inside the class
    soft        min(1, r^γ)                                   between full (γ = 0) and hard (γ → ∞)
    within      1 inside the class, else 0                    changes no class: less variance without that bias
    shrinkage   1 inside the class, κ/(κ + n_i) where r >= 1  a class with images enough keeps to itself

Apart from hard they are *ours*.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from t2h.methods.base import Batch, Context
from t2h.methods.window import Window

Direction = Literal["t2h", "h2t", "full"]
Gate = Literal["hard", "strict", "soft", "within", "shrinkage"]
DroppedTarget = Literal["same", "plain", "h2t"]


def acceptance(
    gate: Gate, direction: Direction, class_counts: Int[Tensor, " k"], gamma: float = 1.0, kappa: float = 20.0
) -> Float[Tensor, "k k"]:
    """The chance, float32 in [0, 1], that a sample of class i (row) accepts a reference of class j (column)."""
    n = class_counts.double().clamp(min=1)  # a class without images is in no row or column that is used
    n_i, n_j = n.unsqueeze(1), n.unsqueeze(0)
    ratio = {"t2h": n_j / n_i, "h2t": n_i / n_j, "full": torch.full_like(n_j / n_i, torch.inf)}[direction]
    same = torch.eye(len(n), dtype=torch.bool, device=n.device)
    table = {
        "hard": ratio >= 1,
        "strict": ratio > 1,
        "soft": ratio.clamp(max=1) ** gamma,
        "within": same,
        "shrinkage": torch.where(same, 1.0, (ratio >= 1) * kappa / (kappa + n_i)),
    }[gate]
    return table.float()


class ClassGate(nn.Module):
    """g_ij: the chance with which each sample of a batch accepts each reference, by the options of `T2H`.

    Attributes:
        prior: β log q(y), (K,); None without β.
    """

    accepted: Tensor
    prior: Tensor | None

    def __init__(self, options: Any, context: Context) -> None:
        super().__init__()
        self.window = Window(options, context.process.num_timesteps)
        gate: Gate = options.gate or "hard"
        official_prior = options.beta is not None and options.gate is None
        self.draws = gate in ("soft", "shrinkage")

        def table(direction: Direction) -> Float[Tensor, "k k"]:
            return acceptance(gate, direction, context.class_counts, options.gamma, options.kappa)

        kept = table("full" if official_prior else options.direction)
        dropped = {"same": kept, "plain": torch.zeros_like(kept), "h2t": table("h2t")}[options.dropped_target]
        self.register_buffer("accepted", torch.stack([kept, dropped]), persistent=False)
        prior = None if options.beta is None else (options.beta * context.class_frequency.log()).float()
        self.register_buffer("prior", prior, persistent=False)

    def forward(self, batch: Batch) -> Float[Tensor, "b n"]:
        accepted = self.accepted[batch.dropped.long(), batch.y]
        return (accepted * self.window(batch.t).unsqueeze(1))[:, batch.reference_y]

    def keeps(self, chance: Float[Tensor, "b k"], generator: torch.Generator) -> Bool[Tensor, "b k"]:
        """Whether each of k drawn references is kept, of these chances; those of 0 and 1 alone need no draw."""
        if not self.draws:
            return chance == 1
        return torch.rand(chance.shape, generator=generator, device=chance.device) < chance
