"""CCUA: "Can Contrastive Learning Improve Class-Imbalanced Diffusion Model?", arXiv 2507.09052, 2025.

Contrastive conditional-unconditional alignment: with f the network's output (in the paper ε), the loss gains

    α (t/T) InfoNCE(h) + γ (t/T) ‖f(x_t, y) - f(x_t, ∅)‖²
    InfoNCE_i = -log( exp(h_i·h_i/τ) / Σ_j exp(h_i·h_j/τ) ),   τ = 0.1

h is the flattened bottleneck of the *unconditional* pass; each sample is its own positive and the others are negatives,
so that images repel each other; no stop-gradient anywhere. For U-Nets α = γ = 1, for DiTs .05. The authors resample
batches on ImageNet-LT and TinyImageNet-LT, not on CIFAR-LT.

As in the released code (CCUA-DDPM, baff9de): h is normalised to length 1 and not projected; j runs over the whole
batch, i included; where labels are dropped the contrast stays and the alignment is 0. The contrast grows with the
images that it sees: the released script spreads a batch of 128 over 4 devices, each of which sees 32; here each process
sees its part. Of a transformer of N blocks, h is the tokens after block ⌊N/4⌋ + 1.

With a rectified flow f is the velocity and t/T the share of noise: the terms grow towards noise, as in the paper's
abstract and its code for DDPM. The released code for flows (CCUA-SiT) weighs by the share of the *image* instead, and
also trains a variant of DiffROP, here `--diffrop.form ccua`.

Cost: two network passes instead of one, both with gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from t2h.errors import check_ranges
from t2h.methods.base import Batch, Context, Denoiser, Loss, Method, Term, bottleneck_channels
from t2h.process import Images, Process


def info_nce(h: Float[Tensor, "b d"], temperature: float) -> Float[Tensor, " b"]:
    """InfoNCE_i of every sample, each its own positive; the vectors h may have any length."""
    h = F.normalize(h, dim=1)
    with torch.autocast(h.device.type, enabled=False):
        similarity = h @ h.T
    return -(similarity / temperature).log_softmax(dim=1).diagonal()


class Alignment(Term):
    """Unconditional bottlenecks repel each other, and conditional outputs come nearer to the unconditional ones."""

    name = "ccua"
    passes = 1

    def __init__(self, null_label: int, process: Process, options: CCUA) -> None:
        super().__init__()
        self.null_label, self.process, self.options = null_label, process, options

    def attach(self, denoiser: nn.Module) -> None:
        bottleneck_channels(denoiser, "ccua")

    def forward(self, denoiser: Denoiser, batch: Batch, output: Images, bottleneck: Tensor | None = None) -> Loss:
        nothing = torch.full_like(batch.y, self.null_label)
        unconditional, h = denoiser.with_bottleneck(batch.xt, batch.t, nothing)  # type: ignore[attr-defined]
        share = self.process.time_share(batch.t)
        contrast = info_nce(h.float().flatten(1), self.options.temperature)
        distance = (output.float() - unconditional.float()).square().flatten(1).mean(dim=1)
        alignment = torch.where(batch.dropped, 0.0, distance)
        return (share * (self.options.alpha * contrast + self.options.gamma * alignment)).mean()


@dataclass(frozen=True)
class CCUA(Method):
    """CCUA (arXiv 2507.09052): contrast of unconditional bottlenecks, and conditional-unconditional alignment."""

    alpha: float = 1.0
    """Weight of the contrast (the authors' for U-Nets; .05 for DiTs)."""
    gamma: float = 1.0
    """Weight of the alignment (the authors' for U-Nets; .05 for DiTs)."""
    temperature: float = 0.1
    """τ of the contrast."""

    def __post_init__(self) -> None:
        check_ranges(self, "ccua.", alpha="[0, inf)", gamma="[0, inf)", temperature="(0, inf)")

    def term(self, context: Context) -> Term:
        return Alignment(context.labels_for("ccua"), context.process, self)
