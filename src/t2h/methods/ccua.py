"""CCUA: "Can Contrastive Learning Improve Class-Imbalanced Diffusion Model?", arXiv 2507.09052, 2025.

Contrastive conditional-unconditional alignment: the loss gains

    α (t/T) InfoNCE(h) + γ (t/T) ‖ε_θ(x_t, y) - ε_θ(x_t, ∅)‖²
    InfoNCE_i = -log( exp(h_i·h_i/τ) / Σ_j exp(h_i·h_j/τ) ),   τ = 0.1

h is the flattened bottleneck of the *unconditional* pass; each sample is its own positive and the others are negatives,
so that images repel each other; no stop-gradient anywhere. For U-Nets α = γ = 1, for DiTs .05. The authors resample
batches on ImageNet-LT and TinyImageNet-LT, not on CIFAR-LT.

Our reading, where we know no better: h is normalised to length 1 (as the temperature suggests); j runs over the whole
batch, i included; the alignment is skipped where the label is dropped, since both its sides are then unconditional.

Cost: two network passes instead of one, both with gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from t2h.errors import UserError
from t2h.methods.base import (
    BottleneckDenoiser,
    Context,
    Denoiser,
    NoisedBatch,
    Parts,
    Prediction,
    Regulariser,
    full_precision,
)


def info_nce(h: Float[Tensor, "b d"], temperature: float) -> Float[Tensor, " b"]:
    """InfoNCE_i of every sample, each its own positive.

    Args:
        h: vectors of any length, (B, D).
        temperature: τ, above 0.
    """
    h = F.normalize(h, dim=1)
    with full_precision(h):
        similarity = h @ h.T
    return -(similarity / temperature).log_softmax(dim=1).diagonal()


class Alignment(Regulariser):
    """Unconditional bottlenecks repel each other, and conditional predictions come nearer to the unconditional ones.

    Args:
        null_label: K.
        num_timesteps: T.
        options: the weights.
    """

    name = "ccua"
    passes = 1

    def __init__(self, null_label: int, num_timesteps: int, options: CCUA) -> None:
        super().__init__()
        self.null_label, self.num_timesteps, self.options = null_label, num_timesteps, options

    def forward(self, denoiser: Denoiser, batch: NoisedBatch, prediction: Prediction) -> Float[Tensor, ""]:
        """Both terms."""
        assert isinstance(denoiser, BottleneckDenoiser)
        nothing = torch.full_like(batch.y, self.null_label)
        unconditional, h = denoiser.with_bottleneck(batch.xt, batch.t, nothing)
        share = batch.t / self.num_timesteps
        contrast = info_nce(h.float().flatten(1), self.options.temperature)
        distance = (prediction.eps.float() - unconditional.float()).square().flatten(1).mean(dim=1)
        alignment = torch.where(batch.dropped, 0.0, distance)
        return (share * (self.options.alpha * contrast + self.options.gamma * alignment)).mean()


@dataclass(frozen=True)
class CCUA:
    """CCUA (arXiv 2507.09052): contrast of unconditional bottlenecks, and conditional-unconditional alignment."""

    alpha: float = 1.0
    """Weight of the contrast (the authors' for U-Nets; .05 for DiTs)."""
    gamma: float = 1.0
    """Weight of the alignment (the authors' for U-Nets; .05 for DiTs)."""
    temperature: float = 0.1
    """τ of the contrast."""

    def __post_init__(self) -> None:
        if self.temperature <= 0 or min(self.alpha, self.gamma) < 0:
            raise UserError("ccua: temperature must be above 0, alpha and gamma at least 0.")

    def parts(self, context: Context) -> Parts:
        """Its regulariser."""
        null_label = context.labels_for("ccua")
        return Parts(regularisers=(Alignment(null_label, context.schedule.num_timesteps, self),))
