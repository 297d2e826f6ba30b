"""CBDM, class balancing: Qin et al., "Class-Balancing Diffusion Models", CVPR 2023.

With f the network's output (in the paper ε), y' drawn once per sample and sg = stop-gradient, the loss gains

    τ (t/T) ( ‖f(x_t, y) - sg f(x_t, y')‖² + ¼ ‖sg f(x_t, y) - f(x_t, y')‖² )

where the label is kept; a sample whose label is dropped gets nothing.

The paper and its code write the weight differently: the paper has τ = 0.001 with the raw t, the code τ = 1 with t/T,
which is the same for T = 1000. We follow the code. There y' follows the long-tailed training frequencies, and is
uniform over all classes when fine-tuning only; `labels` chooses. With a rectified flow (not in the paper) f is the
velocity and t/T the share of noise.

Cost: two network passes instead of one, both with gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from t2h.errors import check_choices, check_ranges
from t2h.methods.base import Batch, Context, Denoiser, Loss, Method, Term
from t2h.process import Images, Process, Times

COMMITMENT = 0.25


class ClassBalancing(Term):
    """Outputs under the true and another label come nearer, the more the noisier the image.

    ``label_share`` is how often each class is drawn as y', (K,); it need not sum to 1.
    """

    name = "cbdm"
    passes = 1
    label_share: Tensor

    def __init__(self, label_share: Float[Tensor, " k"], process: Process, tau: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("label_share", label_share.float(), persistent=False)
        self.process, self.tau = process, tau

    def draw(self, batch: Batch) -> Int[Tensor, " b"]:
        """y', one for each sample."""
        return torch.multinomial(self.label_share, len(batch.y), replacement=True, generator=batch.generator)

    def equation(self, output: Images, other: Images, t: Times) -> Images:
        """The term, for every element: output = f(x_t, y), other = f(x_t, y')."""
        pull = (output - other.detach()).square()
        commitment = (output.detach() - other).square()
        return self.tau * self.process.time_share(t).reshape(-1, 1, 1, 1) * (pull + COMMITMENT * commitment)

    def forward(self, denoiser: Denoiser, batch: Batch, output: Images, bottleneck: Tensor | None = None) -> Loss:
        other = denoiser(batch.xt, batch.t, self.draw(batch))
        kept = (~batch.dropped).reshape(-1, 1, 1, 1)
        return (kept * self.equation(output.float(), other.float(), batch.t)).mean()


@dataclass(frozen=True)
class CBDM(Method):
    """Class balancing (Qin et al., CVPR 2023): outputs under the true and under another label agree."""

    tau: float = 1.0
    """Strength, with t/T (the paper's 0.001 with the raw t)."""
    labels: Literal["training", "uniform"] = "training"
    """How the other label is drawn: as often as in training, or uniform (the authors' setting when fine-tuning)."""

    def __post_init__(self) -> None:
        check_choices(self, "cbdm")
        check_ranges(self, "cbdm.", tau="[0, inf)")

    def term(self, context: Context) -> Term:
        context.labels_for("cbdm")
        q = context.class_frequency
        return ClassBalancing(q if self.labels == "training" else torch.ones_like(q), context.process, self.tau)
