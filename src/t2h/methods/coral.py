"""CORAL: Rodriguez et al., "Disentangling Latent Representations in Long-Tailed Diffusion", NeurIPS 2025.

Classes are kept apart in the bottleneck of the network. With z the L2-normalised linear head (128 numbers) on the
pooled bottleneck of sample i, and P(i) the other samples of its class, the loss gains λ · SupCon (Khosla et al. 2020):

    SupCon_i = -1/|P(i)| Σ_{p∈P(i)} log( exp(z_i·z_p/τ_SC) / Σ_{a≠i} exp(z_i·z_a/τ_SC) )
    λ(t)     = w_s exp((1 - t/T)/τ_r)

As in the released code (62c9dfa): the mean runs over the samples whose SupCon_i is above 0, which leaves out those that
are alone in their class (of CIFAR100-LT 16 % at batch 128); the term is 0 where the batch has no two samples of one
class, or none of different classes; the head is linear, on the mean-pooled bottleneck of the pass with label.

The paper weighs every sample by its own λ(t_i); the code averages λ over the batch and multiplies by τ_SC too (with its
defaults, a tenth). The published numbers come from the code, which we follow; `form="paper"` is the paper's weighting.

The code skips the term on batches whose labels are dropped. *Ours*: where labels are dropped one by one, a sample
without label is neither anchor nor contrast.

With a rectified flow (not in the paper) t/T is the share of noise.

Of a transformer, the tokens after block ⌊N/4⌋ + 1 of N are pooled (ours).

The head is trained with the network and left behind when sampling. Cost: no network pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from t2h.errors import check_choices, check_ranges
from t2h.methods.base import Batch, Context, Denoiser, Loss, Method, Term, bottleneck_channels
from t2h.process import Images, Process


def supcon(
    z: Float[Tensor, "b d"], y: Int[Tensor, " b"], kept: Bool[Tensor, " b"], temperature: float
) -> Float[Tensor, " b"]:
    """SupCon_i of unit vectors: 0 for one not kept or alone in its class, and for all where there is one class."""
    others = kept.unsqueeze(0) & kept.unsqueeze(1) & ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    positives = others & (y.unsqueeze(0) == y.unsqueeze(1))
    # -inf would make NaN of a row without others; the lowest number leaves such rows finite, and they count nothing
    with torch.autocast(z.device.type, enabled=False):
        similarity = z @ z.T
    logits = (similarity / temperature).masked_fill(~others, torch.finfo(z.dtype).min)
    log_p = logits.log_softmax(dim=1)
    count = positives.sum(dim=1)
    losses = -torch.where(positives, log_p, 0.0).sum(dim=1) / count.clamp(min=1)
    return losses * (others & ~positives).any()


class ContrastiveBottleneck(Term):
    """SupCon on the bottleneck, stronger the less noise there is."""

    name = "coral"
    needs_bottleneck = True
    head: nn.Linear

    def __init__(self, process: Process, options: CORAL) -> None:
        super().__init__()
        self.process, self.options = process, options

    def attach(self, denoiser: nn.Module) -> None:
        """Make the head, as wide as the bottleneck."""
        self.head = nn.Linear(bottleneck_channels(denoiser, "coral"), self.options.dimensions)

    def forward(self, denoiser: Denoiser, batch: Batch, output: Images, bottleneck: Tensor | None = None) -> Loss:
        assert bottleneck is not None
        z = F.normalize(self.head(bottleneck.mean(dim=(2, 3))).float(), dim=1)
        return self.equation(z, batch)

    def equation(self, z: Float[Tensor, "b d"], batch: Batch) -> Loss:
        """λ · SupCon of unit vectors, the mean over the samples whose SupCon is above 0."""
        options = self.options
        losses = supcon(z, batch.y, ~batch.dropped, options.temperature)
        strength = options.weight * ((1 - self.process.time_share(batch.t)) / options.decay).exp()
        if options.form == "code":
            strength = strength.mean() * options.temperature
        return (strength * losses).sum() / (losses > 0).sum().clamp(min=1)


@dataclass(frozen=True)
class CORAL(Method):
    """CORAL (Rodriguez et al., NeurIPS 2025): supervised contrast keeps classes apart in the bottleneck."""

    weight: float = 0.5
    """w_s of the strength w_s exp((1 - t/T)/τ_r)."""
    decay: float = 0.3
    """τ_r of the strength."""
    temperature: float = 0.1
    """τ_SC of the contrast."""
    dimensions: int = 128
    """Length of the vectors that are compared."""
    form: Literal["code", "paper"] = "code"
    """The strength: averaged over the batch, times the temperature (code), or of each sample (paper)."""

    def __post_init__(self) -> None:
        check_choices(self, "coral")
        check_ranges(self, "coral.", weight="[0, inf)", decay="(0, inf)", temperature="(0, inf)", dimensions="(0, inf)")

    def term(self, context: Context) -> Term:
        return ContrastiveBottleneck(context.process, self)
