"""T2H, oriented calibration: Zhang et al., "Long-tailed Diffusion Models with Oriented Calibration", ICLR 2024.

A noisy image x_t of sample i could have come from any image j of a reference set. With x̃_i = x_t/a_t and σ_t = b_t/a_t:

    posterior   p_ij = softmax_j( -‖x̃_i - x_0^j‖² / (2 σ_t²) )     over the references, i itself included
    draw        j ~ p_i                                             one
    gate        T2H   keeps j where q(y_j) >= q(y_i), else i        a noisy tail image may aim at a clean head image
                H2T   keeps j where q(y_j) <= q(y_i), else i
                full  keeps j
    aim         x̂_0^i = x_0^j, while the label stays y_i

Variants: the prior form multiplies p_ij by q(y_j)^β and has no gate (`transfer_tr_tau` in the official code); a time
window moves aims only where t_min <= t < t_max (the official cut time is t_max); the expectation replaces the draw by
its mean, Σ_j g_ij p_ij x_0^j + (1 - Σ_j g_ij p_ij) x_0^i, with less variance (Xu et al., ICLR 2023).

The reference set is the training batch, as in the official code, and what `--references` adds to it. No network pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from t2h.errors import UserError, unknown_name
from t2h.methods.base import Aim, Batch, Context, Method
from t2h.methods.posterior import reference_posterior
from t2h.methods.transfers import TransferCounter, transfer_statistics

Direction = Literal["t2h", "h2t", "full"]
DroppedTarget = Literal["same", "plain", "h2t"]
Estimate = Literal["draw", "expectation"]


@dataclass(frozen=True)
class T2H(Method):
    """Oriented calibration (Zhang et al., ICLR 2024): a noisy tail image may aim at a clean head image."""

    direction: Direction = "t2h"
    """Aims that are kept: at classes at least as frequent (t2h), at most as frequent (h2t), or all (full)."""
    beta: float | None = None
    """Exponent of the prior form: weigh references by q(y)^beta and drop the gate (the official tr_tau)."""
    t_min: int | None = None
    """Move aims only from this timestep on."""
    t_max: int | None = None
    """Move aims only below this timestep (the official cut_time)."""
    dropped_target: DroppedTarget = "same"
    """Samples without label: as the others (same, official), their own image (plain), or the h2t direction."""
    estimate: Estimate = "draw"
    """One draw from the posterior (the paper), or its gated expectation (less variance)."""
    count: bool = True
    """Count moved aims by t, inside a class and across classes."""

    def __post_init__(self) -> None:
        choices = {"direction": Direction, "dropped_target": DroppedTarget, "estimate": Estimate}
        for name, allowed in choices.items():
            if getattr(self, name) not in get_args(allowed):
                raise unknown_name(f"t2h.{name}", getattr(self, name), get_args(allowed))

    def aim(self, context: Context) -> Aim:
        if (self.t_min or 0) >= (context.process.num_timesteps if self.t_max is None else self.t_max):
            raise UserError(f"the time window {self.t_min} <= t < {self.t_max} is empty; t_min must be below t_max.")
        return OrientedAim(self, context)


class OrientedAim(Aim):
    """The clean image that the noisy image may have come from, as far as the gate allows."""

    class_counts: Tensor

    def __init__(self, options: T2H, context: Context) -> None:
        super().__init__()
        self.options, self.process = options, context.process
        self.register_buffer("class_counts", context.class_counts, persistent=False)
        self.counter = TransferCounter(context.process.num_timesteps)

    def forward(self, batch: Batch) -> Float[Tensor, "b c h w"]:
        x0, references, prior = batch.x0, batch.reference_x0, self.log_prior(batch)
        p = reference_posterior(x0, batch.eps, references, batch.t, self.process, prior)
        gate = self.gate(batch)
        if self.options.estimate == "draw":
            drawn = torch.multinomial(p, 1, generator=batch.generator)
            mass = torch.zeros_like(p).scatter_(1, drawn, 1.0) * gate
            kept = gate.gather(1, drawn).reshape(-1, 1, 1, 1)
            aim = torch.where(kept, references[drawn.squeeze(1)], x0)
        else:
            mass = p * gate
            stays = 1 - mass.sum(dim=1, keepdim=True)
            aim = (mass @ references.flatten(1) + stays * x0.flatten(1)).view_as(x0)
        if self.options.count:
            self.counter.add(batch, mass)
        return aim

    def log_prior(self, batch: Batch) -> Float[Tensor, " n"] | None:
        """β log q(y_j) of the prior form."""
        q = self.class_counts / self.class_counts.sum()
        return None if self.options.beta is None else self.options.beta * q.log()[batch.reference_y]

    def gate(self, batch: Batch) -> Bool[Tensor, "b n"]:
        """g_ij, which references each sample may aim at."""
        q_i, q_j = self.class_counts[batch.y].unsqueeze(1), self.class_counts[batch.reference_y].unsqueeze(0)
        gates = {"t2h": q_j >= q_i, "h2t": q_j <= q_i, "full": torch.ones_like(q_j >= q_i)}
        gates["same"] = gates["full" if self.options.beta is not None else self.options.direction]
        gates["plain"] = ~gates["full"]
        gate = torch.where(batch.dropped.unsqueeze(1), gates[self.options.dropped_target], gates["same"])
        if self.options.t_min is not None:
            gate = gate & (batch.t >= self.options.t_min).unsqueeze(1)
        if self.options.t_max is not None:
            gate = gate & (batch.t < self.options.t_max).unsqueeze(1)
        return gate

    def counts(self) -> dict[str, Tensor]:
        return {"transfer": self.counter.counted} if self.options.count else {}

    def statistics(self, counts: Mapping[str, Tensor]) -> dict[str, object]:
        return transfer_statistics(counts["transfer"], self.process.num_timesteps) if counts else {}
