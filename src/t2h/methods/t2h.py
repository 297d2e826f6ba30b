"""T2H, oriented calibration: Zhang et al., "Long-tailed Diffusion Models with Oriented Calibration", ICLR 2024.

A noisy image x_t of sample i could have come from any image j of a reference set. With x̃_i = x_t/a_t and σ_t = b_t/a_t:

    posterior   p_ij = softmax_j( -‖x̃_i - x_0^j‖² / (2 σ_t²) )     over the references, i itself included
    draw        j ~ p_i
    gate        T2H   keeps j where q(y_j) >= q(y_i), else i        a noisy tail image may aim at a clean head image
                H2T   keeps j where q(y_j) <= q(y_i), else i
                full  keeps j
    aim         x̂_0^i = x_0^j, while the label stays y_i

Variants: the prior form multiplies p_ij by q(y_j)^β and has no gate (`transfer_tr_tau` in the official code); a time
window moves aims only where t_min <= t < t_max (the official cut time is t_max); the expectation replaces the draw by
its mean, Σ_j g_ij p_ij x_0^j + (1 - Σ_j g_ij p_ij) x_0^i, with less variance (Xu et al., ICLR 2023). The
references are the training batch, as in the official code, and what `--references` adds to it. No network pass.

Only σ enters, so every process has the same method: a rectified flow has σ = s/(1-s), with s = t/T.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool
from torch import Tensor

from t2h.errors import UserError, unknown_name
from t2h.methods.base import Aim, Batch, Context, Method
from t2h.methods.posterior import reference_posterior
from t2h.methods.transfers import TransferCounter, transfer_statistics
from t2h.process import Images

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
        for name, allowed in ("direction", Direction), ("dropped_target", DroppedTarget), ("estimate", Estimate):
            if (given := getattr(self, name)) not in get_args(allowed):
                raise unknown_name(f"t2h.{name}", given, get_args(allowed))

    def aim(self, context: Context) -> Aim:
        return OrientedAim(self, context)


class OrientedAim(Aim):
    """The clean image that the noisy image may have come from, as far as the gate allows."""

    class_counts: Tensor

    def __init__(self, options: T2H, context: Context) -> None:
        super().__init__()
        self.options, self.process, steps = options, context.process, context.process.num_timesteps
        self.t_min, self.t_max = options.t_min or 0, steps if options.t_max is None else options.t_max
        if self.t_min >= self.t_max:
            raise UserError(f"the time window {self.t_min} <= t < {self.t_max} is empty; t_min must be below t_max.")
        self.register_buffer("class_counts", context.class_counts, persistent=False)
        self.counter = TransferCounter(steps)

    def forward(self, batch: Batch) -> Images:
        x0, references, draws = batch.x0, batch.reference_x0, self.options.estimate == "draw"
        q = self.class_counts / self.class_counts.sum()
        prior = None if self.options.beta is None else self.options.beta * q.log()[batch.reference_y]
        p = reference_posterior(x0, batch.eps, references, batch.t, self.process, prior)
        if draws:
            p = torch.zeros_like(p).scatter_(1, torch.multinomial(p, 1, generator=batch.generator), 1.0)
        mass = p * self.gate(batch)
        if self.options.count:
            self.counter.add(batch, mass)
        stays = 1 - mass.sum(dim=1, keepdim=True)
        if draws:  # one image, bit for bit, whatever the precision of matrix products
            return torch.where(stays.reshape(-1, 1, 1, 1) > 0, x0, references[mass.argmax(dim=1)])
        return (mass @ references.flatten(1) + stays * x0.flatten(1)).view_as(x0)

    def gate(self, batch: Batch) -> Bool[Tensor, "b n"]:
        """g_ij: which references each sample may aim at."""
        q_i, q_j = self.class_counts[batch.y].unsqueeze(1), self.class_counts[batch.reference_y].unsqueeze(0)
        gates = {"t2h": q_j >= q_i, "h2t": q_j <= q_i, "full": torch.ones_like(q_j >= q_i)}
        gates["same"] = gates["full" if self.options.beta is not None else self.options.direction]
        gates["plain"] = ~gates["full"]
        gate = torch.where(batch.dropped.unsqueeze(1), gates[self.options.dropped_target], gates["same"])
        return gate & ((batch.t >= self.t_min) & (batch.t < self.t_max)).unsqueeze(1)

    def counts(self) -> dict[str, Tensor]:
        return {"transfer": self.counter.counted} if self.options.count else {}

    def statistics(self, counts: Mapping[str, Tensor]) -> dict[str, object]:
        return transfer_statistics(counts["transfer"], self.process.num_timesteps) if counts else {}
