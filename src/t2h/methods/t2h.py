"""T2H, oriented calibration: Zhang et al., "Long-tailed Diffusion Models with Oriented Calibration", ICLR 2024.

A noisy image x_t of sample i could have come from any image j of a reference set. With x̃_i = x_t/a_t and σ_t = b_t/a_t:

    posterior   p_ij = softmax_j( -‖x̃_i - x_0^j‖² / (2 σ_t²) )     over the references, i itself included
    draw        j ~ p_i
    gate        T2H   keeps j where q(y_j) >= q(y_i), else i        a noisy tail image may aim at a clean head image
                H2T   keeps j where q(y_j) <= q(y_i), else i
                full  keeps j
    aim         x̂_0^i = x_0^j, while the label stays y_i

The prior form multiplies p_ij by q(y_j)^β and has no gate (`transfer_tr_tau` in the official code); with a gate, β = -1
makes the classes alike (ours). k draws are averaged; their limit is the expectation (Xu et al., ICLR 2023), of less
variance: Σ_j g_ij p_ij x_0^j + (1 - Σ_j g_ij p_ij) x_0^i. `gates.py` holds other gates, `references.py` reference sets.
Only σ enters, so T2H is the same for every process: a rectified flow has σ = s/(1-s), s = t/T. No network pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from t2h.errors import UserError, check_choices
from t2h.methods.base import Aim, Batch, Context, Method
from t2h.methods.gates import ClassGate, Direction, DroppedTarget, Gate
from t2h.methods.posterior import reference_posterior
from t2h.methods.references import References, among
from t2h.methods.transfers import TransferCounter, transfer_statistics
from t2h.process import Images

Estimate = Literal["draw", "expectation"]


@dataclass(frozen=True)
class T2H(Method):
    """Oriented calibration (Zhang et al., ICLR 2024): a noisy tail image may aim at a clean head image."""

    direction: Direction = "t2h"
    """Aims that are kept: at classes at least as frequent (t2h), at most as frequent (h2t), or all (full)."""
    beta: float | None = None
    """Weigh references by q(y)^beta; without a --t2h.gate also drop the gate (the official tr_tau)."""
    gate: Gate | None = None
    """Which classes accept which: hard (>=, official), strict (>), soft, within the class, or shrinkage."""
    gamma: float = 1.0
    """Exponent of the soft gate: a rarer class is accepted with the ratio of counts to this power."""
    kappa: float = 20.0
    """Of the shrinkage gate: another class is accepted with kappa/(kappa + images of the own class)."""
    references: References = "ranks"
    """Of all processes and --references N (ranks), of this process (batch, official), or those N alone (bank)."""
    t_min: int | None = None
    """Move aims only from this timestep on."""
    t_max: int | None = None
    """Move aims only below this timestep (the official cut_time)."""
    dropped_target: DroppedTarget = "same"
    """Samples without label: as the others (same, official), their own image (plain), or the h2t direction."""
    estimate: Estimate = "draw"
    """Draw from the posterior (the paper), or take its gated expectation (less variance)."""
    draws: int = 1
    """Draws that are averaged (the paper: 1)."""
    count: bool = True
    """Count moved aims by t, inside a class and across classes."""

    def __post_init__(self) -> None:
        check_choices(self, "t2h")
        if self.draws < 1 or min(self.gamma, self.kappa) < 0:
            raise UserError("t2h: draws must be at least 1, gamma and kappa at least 0.")

    def aim(self, context: Context) -> Aim:
        return OrientedAim(self, context)


class OrientedAim(Aim):
    """The clean image that the noisy image may have come from, as far as the gate allows."""

    log_q: Tensor

    def __init__(self, options: T2H, context: Context) -> None:
        super().__init__()
        self.options, self.process, steps = options, context.process, context.process.num_timesteps
        self.gate = ClassGate(options, context.class_counts, steps)
        self.register_buffer("log_q", context.class_frequency.log().float(), persistent=False)
        self.counter = TransferCounter(steps)

    def forward(self, batch: Batch) -> Images:
        x0, references = batch.x0, batch.reference_x0
        beta = self.options.beta
        prior = among(self.options.references, batch, None if beta is None else beta * self.log_q[batch.reference_y])
        p = reference_posterior(x0, batch.eps, references, batch.t, self.process, prior)
        gate = self.gate(batch)
        if self.options.estimate == "expectation":
            mass = p * gate
            aim = (mass @ references.flatten(1) + (1 - mass.sum(dim=1, keepdim=True)) * x0.flatten(1)).view_as(x0)
        else:
            drawn = torch.multinomial(p, self.options.draws, replacement=True, generator=batch.generator)
            keeps = self.gate.keeps(gate.gather(1, drawn), batch.generator)
            mass = torch.zeros_like(p).scatter_add_(1, drawn, keeps / self.options.draws)
            aim = torch.where(keeps[..., None, None, None], references[drawn], x0.unsqueeze(1)).mean(dim=1)
        if self.options.count:
            self.counter.add(batch, mass)
        return aim

    def counts(self) -> dict[str, Tensor]:
        return {"transfer": self.counter.counted} if self.options.count else {}

    def statistics(self, counts: Mapping[str, Tensor]) -> dict[str, object]:
        return transfer_statistics(counts["transfer"], self.process.num_timesteps) if counts else {}
