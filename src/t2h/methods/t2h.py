"""T2H, oriented calibration: Zhang et al., "Long-tailed Diffusion Models with Oriented Calibration", ICLR 2024.

A noisy image x_t of sample i could have come from any image j of a reference set. With x̃_i = x_t/√ᾱ_t and
σ_t = √(1/ᾱ_t - 1):

    p_ij = softmax_j( -‖x̃_i - x_0^j‖² / (2 σ_t²) )          the posterior over the references, i itself included
    j ~ p_i                                                  one draw
    T2H   keeps j where q(y_j) >= q(y_i), else i             a noisy tail image may aim at a clean head image
    H2T   keeps j where q(y_j) <= q(y_i), else i
    full  keeps j
    ε̂_i = (x_t - √ᾱ_t x_0^j) / √(1-ᾱ_t)                     what the network regresses to; it is still told y_i

Variants: the prior form multiplies p_ij by q(y_j)^β and has no gate (`transfer_tr_tau` in the official code); a time
window transfers only where t_min <= t < t_max (the official cut time is t_max); the expectation replaces the draw by
its mean, E_i = Σ_j g_ij p_ij x_0^j + (1 - Σ_j g_ij p_ij) x_0^i, the lower-variance form (Xu et al., "Stable Target
Field", ICLR 2023).

The reference set is the training batch, as in the official code, and whatever `--references` adds to it. It costs no
network pass.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from t2h.errors import UserError, unknown_name
from t2h.methods.base import Context, NoisedBatch, Parts, Target
from t2h.methods.posterior import reference_posterior
from t2h.process import NoiseSchedule

__all__ = ["T2H", "OrientedCalibration", "reference_posterior"]

Direction = Literal["t2h", "h2t", "full"]
DroppedTarget = Literal["same", "plain", "h2t"]
Estimate = Literal["draw", "expectation"]

BINS = 50  # of the transfer shares over t


class OrientedCalibration(Target):
    """The target of T2H, H2T, full transfer and the prior form.

    Args:
        class_counts: number of training images of each class, int64 (K,); an empty class has 0.
        schedule: the noise schedule.
        direction: which transfers are kept: to classes at least as frequent ("t2h"), at most as frequent ("h2t"), or
            all.
        beta: exponent of the prior form; None uses the direction's gate, a number uses q(y_j)^β and no gate.
        t_min, t_max: transfer only where t_min <= t < t_max; None is no bound.
        dropped_target: what samples without label regress to: the "same" as the others (as the official code), the
            "plain" noise, or the "h2t" direction (the paper's finding for unconditional models).
        estimate: one "draw" (the paper), or its "expectation".
        count: keep the share of transfers by t, inside a class and across classes (the paper's Figure 7).

    Raises:
        UserError: for an unknown direction, dropped_target or estimate, or an empty time window.
    """

    class_counts: Tensor
    counted: Tensor

    def __init__(
        self,
        class_counts: Int[Tensor, " k"],
        schedule: NoiseSchedule,
        direction: str = "t2h",
        beta: float | None = None,
        t_min: int | None = None,
        t_max: int | None = None,
        dropped_target: str = "same",
        estimate: str = "draw",
        count: bool = True,
    ) -> None:
        super().__init__()
        for kind, given, allowed in (
            ("direction", direction, Direction),
            ("dropped_target", dropped_target, DroppedTarget),
            ("estimate", estimate, Estimate),
        ):
            if given not in get_args(allowed):
                raise unknown_name(kind, given, get_args(allowed))
        if (t_min or 0) >= (schedule.num_timesteps if t_max is None else t_max):
            raise UserError(f"the time window {t_min} <= t < {t_max} is empty; t_min must be below t_max.")
        self.schedule = schedule
        self.direction, self.beta = direction, beta
        self.t_min, self.t_max = t_min, t_max
        self.dropped_target, self.estimate = dropped_target, estimate
        self.count = count
        self.register_buffer("class_counts", class_counts, persistent=False)
        self.register_buffer("counted", torch.zeros(3, BINS))  # all, within class, across classes

    def forward(self, batch: NoisedBatch) -> Float[Tensor, "b c h w"]:
        """ε̂ (B, C, H, W)."""
        p = reference_posterior(
            batch.x0, batch.eps, batch.reference_x0, batch.t, self.schedule, self._log_prior(batch.reference_y)
        )
        kept = self._gate(batch)
        own = batch.offset + torch.arange(len(batch.y), device=p.device)
        if self.estimate == "draw":
            drawn = torch.multinomial(p, 1, generator=batch.generator)
            mass = torch.zeros_like(p).scatter_(1, drawn, 1.0) * kept
            aim = torch.where(kept.gather(1, drawn).squeeze(1), drawn.squeeze(1), own)
            x0_hat = batch.reference_x0[aim]
        else:
            mass = p * kept
            stays = 1 - mass.sum(dim=1, keepdim=True)
            x0_hat = (mass @ batch.reference_x0.flatten(1) + stays * batch.x0.flatten(1)).view_as(batch.x0)
        if self.count:
            self._count(batch, mass, own)
        # (x_t - √ᾱ_t x̂_0)/√(1-ᾱ_t), written so that it is exactly ε where nothing was transferred
        sigma = self.schedule.sigma(batch.t, batch.x0.dtype).reshape(-1, 1, 1, 1)
        return batch.eps + (batch.x0 - x0_hat) / sigma

    def _log_prior(self, reference_y: Int[Tensor, " n"]) -> Float[Tensor, " n"] | None:
        if self.beta is None:
            return None
        q = self.class_counts / self.class_counts.sum()
        return self.beta * q.log()[reference_y]

    def _gate(self, batch: NoisedBatch) -> Bool[Tensor, "b n"]:
        """Which references each sample may aim at; whatever it may not, it stays at itself."""
        q_i, q_j = self.class_counts[batch.y].unsqueeze(1), self.class_counts[batch.reference_y].unsqueeze(0)
        to_head, to_tail = q_j >= q_i, q_j <= q_i
        everywhere = torch.ones_like(to_head)
        gate = (
            everywhere
            if self.beta is not None
            else {"t2h": to_head, "h2t": to_tail, "full": everywhere}[self.direction]
        )
        dropped = batch.dropped.unsqueeze(1)
        if self.dropped_target == "plain":
            gate = gate & ~dropped
        elif self.dropped_target == "h2t":
            gate = torch.where(dropped, to_tail, gate)
        if self.t_min is not None:
            gate = gate & (batch.t >= self.t_min).unsqueeze(1)
        if self.t_max is not None:
            gate = gate & (batch.t < self.t_max).unsqueeze(1)
        return gate

    def _count(self, batch: NoisedBatch, mass: Float[Tensor, "b n"], own: Int[Tensor, " b"]) -> None:
        """Add this batch to the shares; stays on the device."""
        others = mass.scatter(1, own.unsqueeze(1), 0.0)
        same_class = batch.y.unsqueeze(1) == batch.reference_y.unsqueeze(0)
        within, across = (others * same_class).sum(dim=1), (others * ~same_class).sum(dim=1)
        bins = batch.t * BINS // self.schedule.num_timesteps
        self.counted.index_add_(1, bins, torch.stack([torch.ones_like(within), within, across]))

    def statistics(self) -> dict[str, object]:
        """{"transfer": {"t_edges" (bins + 1), "total", "within_class", "across_class" (bins)}}, since the start."""
        if not self.count:
            return {}
        total, within, across = self.counted.tolist()
        T = self.schedule.num_timesteps
        edges = [-(-i * T // BINS) for i in range(BINS + 1)]
        transferred = [a + b for a, b in zip(within, across, strict=True)]
        return {
            "transfer": {
                "t_edges": edges,
                "total": total,
                "transferred": transferred,
                "within_class": within,
                "across_class": across,
            }
        }


@dataclass(frozen=True)
class T2H:
    """Oriented calibration (Zhang et al., ICLR 2024): a noisy tail image may aim at a clean head image."""

    direction: Direction = "t2h"
    """Transfers that are kept: to classes at least as frequent (t2h), at most as frequent (h2t), or all (full)."""
    beta: float | None = None
    """Exponent of the prior form: weigh references by q(y)^beta and drop the gate (the official tr_tau)."""
    t_min: int | None = None
    """Transfer only from this timestep on."""
    t_max: int | None = None
    """Transfer only below this timestep (the official cut_time)."""
    dropped_target: DroppedTarget = "same"
    """What samples without label regress to: as the others (official), the plain noise, or the h2t direction."""
    estimate: Estimate = "draw"
    """One draw from the posterior (the paper), or its gated expectation (less variance)."""
    count: bool = True
    """Count transfers by t, inside a class and across classes."""

    def parts(self, context: Context) -> Parts:
        """Its target."""
        return Parts(target=OrientedCalibration(context.class_counts, context.schedule, **asdict(self)))
