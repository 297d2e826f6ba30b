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

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

Direction = Literal["t2h", "h2t", "full"]
Gate = Literal["hard", "strict", "soft", "within", "shrinkage"]


def acceptance(
    gate: Gate, direction: Direction, class_counts: Int[Tensor, " k"], gamma: float = 1.0, kappa: float = 20.0
) -> Float[Tensor, "k k"]:
    """The chance, float32 in [0, 1], that a sample of class i (row) accepts a reference of class j (column).

    Args:
        gate, direction: as above.
        class_counts: n, (K,).
        gamma: γ, at least 0.
        kappa: κ, at least 0.
    """
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
