"""DiffROP: Yan et al., "Training Class-Imbalanced Diffusion Model Via Overlap Optimization", 2024.

The paper (arXiv 2402.10821) pushes the reverse distributions p_θ(x_{t-1} | x_t, c_i) and p_θ(x_{t-1} | x_t, c_j) of two
classes apart at the same x_t, with a weight over time and a hinge. Its repository holds no training code, and we read
the paper so (`form="paper"`):

    D_i = KL_t ‖f(x_t, y) - f(x_t, c)‖²/dim,   c ≠ y drawn by the training frequencies
    + λ max(0, m - D_i)

with f the network's output and KL_t what makes D_i the divergence of the two steps per dimension, whatever the network
predicts (`Process.step_divergence`): for ε it is β_t/(2 α_t (1-ᾱ_t)).

*Ours* are: the weight over time, that of the Kullback-Leibler divergence of two Gaussian steps with variance β_t (Ho et
al. 2020): 0.5 at t = 0 and 0.01 at t = T-1 for ε and the usual schedule; how c is drawn; the values of λ and of the
margin m; that both outputs get gradients; and that samples without label are skipped. The sign is
opposite to CBDM's, so the two are refused together. A rectified flow is refused: its reverse steps are not random.
Cost: two network passes instead of one, both with gradient.

The nearest to official code ships with CCUA's (CCUA-SiT, whose one recipe trains it; an author wrote both papers). It
is another method (`form="ccua"`): it pushes apart the outputs of *different images*, with one random permutation π,

    D = mean_i( (1 - t_i/T) 1[label_i ≠ label_π(i)] mean(f_i - f_π(i))² )
    + λ/(1 + D)

without hinge or divergence, with gradients on both sides, and with λ = 0.1. The clean end counts most. "No label" is a
class of its own. There f is a velocity and the batch is doubled with copies without label; here f is what the network
predicts, and the labels are those of the training. No network pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from t2h.errors import UserError, check_choices, check_ranges
from t2h.methods.base import Batch, Context, Denoiser, Loss, Method, Term
from t2h.process import Images, Process


class OverlapPenalty(Term):
    """Reverse steps of different classes move apart, up to a margin m; λ is the strength."""

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


class ImageOverlap(Term):
    """Outputs of images with different labels move apart: the variant that ships with CCUA."""

    name = "diffrop"

    def __init__(self, process: Process, strength: float) -> None:
        super().__init__()
        self.process, self.strength = process, strength

    def draw(self, batch: Batch) -> Int[Tensor, " b"]:
        """π, a permutation of the batch."""
        return torch.randperm(len(batch.y), generator=batch.generator, device=batch.y.device)

    def forward(self, denoiser: Denoiser, batch: Batch, output: Images, bottleneck: Tensor | None = None) -> Loss:
        assert batch.label is not None
        output, permuted = output.float(), self.draw(batch)
        distance = (output - output[permuted]).square().flatten(1).mean(dim=1)
        weight = (1 - self.process.time_share(batch.t)) * (batch.label != batch.label[permuted])
        return self.strength / (1 + (weight * distance).mean())


@dataclass(frozen=True)
class DiffROP(Method):
    """DiffROP (arXiv 2402.10821; our reading, or CCUA's): outputs under different labels move apart."""

    form: Literal["paper", "ccua"] = "paper"
    """Two labels at one x_t, with a hinge (paper, our reading), or different images (ccua, of CCUA's code)."""
    strength: float = 0.1
    """λ (ours for the paper's form; the shipped one for ccua)."""
    margin: float = 0.05
    """Divergence per dimension from which two classes count as apart (ours; of the paper's form)."""

    def __post_init__(self) -> None:
        check_choices(self, "diffrop")
        check_ranges(self, "diffrop.", strength="[0, inf)", margin="(0, inf)")

    def term(self, context: Context) -> Term:
        context.labels_for("diffrop")
        if self.form == "ccua":
            return ImageOverlap(context.process, self.strength)
        context.process.step_divergence(torch.zeros(1, dtype=torch.int64))  # a process without one is refused here
        if int((context.class_counts > 0).sum()) < 2:
            raise UserError("diffrop compares classes; it needs images of at least two.")
        return OverlapPenalty(context.class_frequency, context.process, self.strength, self.margin)
