"""DiffROP, our reading: Yan et al., "Training Class-Imbalanced Diffusion Model Via Overlap Optimization", 2024.

The paper (arXiv 2402.10821) pushes the reverse distributions p_θ(x_{t-1} | x_t, c_i) and p_θ(x_{t-1} | x_t, c_j) of two
classes apart at the same x_t, with a weight over time and a hinge. It has no public code, and we read it so:

    D_i = KL_t ‖f(x_t, y) - f(x_t, c)‖²/dim,   c ≠ y drawn by the training frequencies
    + λ max(0, m - D_i)

with f the network's output and KL_t what makes D_i the divergence of the two steps per dimension, whatever the network
predicts (`Process.step_divergence`): for ε it is β_t/(2 α_t (1-ᾱ_t)).

*Ours* are: the weight over time, that of the Kullback-Leibler divergence of two Gaussian steps with variance β_t (Ho et
al. 2020): 0.5 at t = 0 and 0.01 at t = T-1 for ε and the usual schedule; how c is drawn; the values of λ and of the
margin m; that both outputs get gradients; and that samples without label are skipped. The sign is
opposite to CBDM's, so the two are refused together. A rectified flow is refused: its reverse steps are not random.

Cost: two network passes instead of one, both with gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from t2h.errors import UserError
from t2h.methods.base import Batch, Context, Denoiser, Loss, Method, Term
from t2h.process import Images, Process


class OverlapPenalty(Term):
    """Reverse steps of different classes move apart, up to a margin.

    Args:
        class_frequency: q, (K,).
        process: gives the divergence of two steps.
        strength: λ.
        margin: m.
    """

    name = "diffrop"
    passes = 1
    other_share: Tensor

    def __init__(self, class_frequency: Float[Tensor, " k"], process: Process, strength: float, margin: float) -> None:
        super().__init__()
        self.process, self.strength, self.margin = process, strength, margin
        others = class_frequency.float().expand(len(class_frequency), -1).clone().fill_diagonal_(0)
        self.register_buffer("other_share", others, persistent=False)

    def draw(self, batch: Batch) -> Int[Tensor, " b"]:
        """c, a class other than y for each sample."""
        return torch.multinomial(self.other_share[batch.y], 1, generator=batch.generator).squeeze(1)

    def forward(self, denoiser: Denoiser, batch: Batch, output: Images, bottleneck: Tensor | None = None) -> Loss:
        other = denoiser(batch.xt, batch.t, self.draw(batch))
        distance = (output.float() - other.float()).square().flatten(1).mean(dim=1)
        overlap = (self.margin - self.process.step_divergence(batch.t, torch.float32) * distance).clamp(min=0)
        return self.strength * torch.where(batch.dropped, 0.0, overlap).mean()


@dataclass(frozen=True)
class DiffROP(Method):
    """DiffROP (arXiv 2402.10821; our reading): outputs under different labels move apart."""

    strength: float = 0.1
    """λ (ours)."""
    margin: float = 0.05
    """Divergence per dimension from which two classes count as apart (ours)."""

    def __post_init__(self) -> None:
        if self.strength < 0 or self.margin <= 0:
            raise UserError("diffrop: strength must be at least 0, and margin above 0.")

    def term(self, context: Context) -> Term:
        context.labels_for("diffrop")
        context.process.step_divergence(torch.zeros(1, dtype=torch.int64))  # a process without one is refused here
        if int((context.class_counts > 0).sum()) < 2:
            raise UserError("diffrop compares classes; it needs images of at least two.")
        return OverlapPenalty(context.class_frequency, context.process, self.strength, self.margin)
