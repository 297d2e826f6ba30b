"""T2H, oriented calibration: Zhang et al., "Long-tailed Diffusion Models with Oriented Calibration", ICLR 2024.

A noisy image x_t of sample i could have come from any image j of a reference set. With x̃_i = x_t/a_t and σ_t =
b_t/a_t:

    posterior   p_ij = softmax_j( -‖x̃_i - x_0^j‖² / (2 σ_t²) )     over the references, i itself included
    draw        j ~ p_i
    gate        T2H   keeps j where q(y_j) >= q(y_i), else i        a noisy tail image may aim at a clean head image
                H2T   keeps j where q(y_j) <= q(y_i), else i
                full  keeps j
    aim         x̂_0^i = x_0^j, while the label stays y_i

Variants. The prior form multiplies p_ij by q(y_j)^β and has no gate (`transfer_tr_tau` in the official code); β = -1
*with* a gate makes the classes alike and keeps T2H's direction (ours). Other gates stand in `gates.py`. A time window
moves aims only where t_min <= t < t_max (the official cut time is t_max). k draws are averaged; the expectation is
their limit, Σ_j g_ij p_ij x_0^j + (1 - Σ_j g_ij p_ij) x_0^i, with less variance (Xu et al., ICLR 2023).

References: `ranks`, the batch of all processes and what `--references` adds to it; `batch`, that of this process alone
(official); or `bank`, the image itself and the N of `--references N`, which are drawn anew every step from the whole
training set: the method then depends neither on the batch nor on the number of processes. No network pass.

Only σ enters, so every process has the same method: a rectified flow has σ = s/(1-s), with s = t/T.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from t2h.errors import UserError, unknown_name
from t2h.methods.base import Aim, Batch, Context, Method
from t2h.methods.gates import Direction, Gate, acceptance
from t2h.methods.posterior import reference_posterior
from t2h.methods.references import References, counting
from t2h.methods.transfers import TransferCounter, transfer_statistics
from t2h.process import Images

DroppedTarget = Literal["same", "plain", "h2t"]
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
    """Candidates: the batches of all processes and the N of --references N (ranks), the batch of this process (batch),
    or the image itself and those N (bank)."""
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
        choices = {"dropped_target": DroppedTarget, "estimate": Estimate, "references": References, "gate": Gate}
        for name, allowed in (choices | {"direction": Direction}).items():
            if (given := getattr(self, name)) not in (*get_args(allowed), *([None] if name == "gate" else [])):
                raise unknown_name(f"t2h.{name}", given, get_args(allowed))
        if self.draws < 1 or min(self.gamma, self.kappa) < 0:
            raise UserError("t2h: draws must be at least 1, gamma and kappa at least 0.")

    def aim(self, context: Context) -> Aim:
        return OrientedAim(self, context)


class OrientedAim(Aim):
    """The clean image that the noisy image may have come from, as far as the gate allows."""

    accepted: Tensor
    log_q: Tensor

    def __init__(self, options: T2H, context: Context) -> None:
        super().__init__()
        self.options, self.process, steps = options, context.process, context.process.num_timesteps
        self.t_min, self.t_max = options.t_min or 0, steps if options.t_max is None else options.t_max
        if self.t_min >= self.t_max:
            raise UserError(f"the time window {self.t_min} <= t < {self.t_max} is empty; t_min must be below t_max.")

        def table(direction: Direction) -> Float[Tensor, "k k"]:
            return acceptance(options.gate or "hard", direction, context.class_counts, options.gamma, options.kappa)

        official_prior = options.beta is not None and options.gate is None
        kept = table("full" if official_prior else options.direction)
        dropped = {"same": kept, "plain": torch.zeros_like(kept), "h2t": table("h2t")}[options.dropped_target]
        self.register_buffer("accepted", torch.stack([kept, dropped]), persistent=False)
        self.register_buffer("log_q", context.class_frequency.log().float(), persistent=False)
        self.counter = TransferCounter(steps)

    def forward(self, batch: Batch) -> Images:
        x0, references = batch.x0, batch.reference_x0
        p = reference_posterior(x0, batch.eps, references, batch.t, self.process, self.log_prior(batch))
        gate = self.gate(batch)
        if self.options.estimate == "expectation":
            mass = p * gate
            stays = 1 - mass.sum(dim=1, keepdim=True)
            aim = (mass @ references.flatten(1) + stays * x0.flatten(1)).view_as(x0)
        else:
            drawn = torch.multinomial(p, self.options.draws, replacement=True, generator=batch.generator)
            chance = gate.gather(1, drawn)
            keeps = chance == 1  # a gate that is 0 or 1 needs no draw of its own
            if self.options.gate in ("soft", "shrinkage"):
                keeps = torch.rand(chance.shape, generator=batch.generator, device=p.device) < chance
            mass = torch.zeros_like(p).scatter_add_(1, drawn, keeps / self.options.draws)
            aims = torch.where(keeps[..., None, None, None], references[drawn], x0.unsqueeze(1))
            aim = aims.mean(dim=1)  # of one draw that image, bit for bit
        if self.options.count:
            self.counter.add(batch, mass)
        return aim

    def log_prior(self, batch: Batch) -> Float[Tensor, "... n"] | None:
        """β log q(y_j), and -inf for references that do not count."""
        prior = None if self.options.beta is None else self.options.beta * self.log_q[batch.reference_y]
        counts = counting(self.options.references, batch)
        return prior if counts is None else torch.where(counts, 0.0 if prior is None else prior, -torch.inf)

    def gate(self, batch: Batch) -> Float[Tensor, "b n"]:
        """g_ij: the chance with which each sample accepts each reference."""
        accepted = self.accepted[batch.dropped.long(), batch.y]
        inside = (batch.t >= self.t_min) & (batch.t < self.t_max)
        return (accepted * inside.unsqueeze(1))[:, batch.reference_y]

    def counts(self) -> dict[str, Tensor]:
        return {"transfer": self.counter.counted} if self.options.count else {}

    def statistics(self, counts: Mapping[str, Tensor]) -> dict[str, object]:
        return transfer_statistics(counts["transfer"], self.process.num_timesteps) if counts else {}
