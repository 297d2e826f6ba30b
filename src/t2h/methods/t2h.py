"""T2H, oriented calibration: Zhang et al., "Long-tailed Diffusion Models with Oriented Calibration", ICLR 2024.

A noisy image x_t of sample i could have come from any image j of a reference set. With x̃_i = x_t/a_t and σ_t = b_t/a_t:

    posterior   p_ij = softmax_j( -‖x̃_i - x_0^j‖² / (2 σ_t²) )     over the references, i itself included
    draw        j ~ p_i
    gate        T2H   keeps j where q(y_j) >= q(y_i), else i        a noisy tail image may aim at a clean head image
                H2T   keeps j where q(y_j) <= q(y_i), else i
                full  keeps j
    aim         x̂_0^i = x_0^j, while the label stays y_i

The prior form multiplies p_ij by q(y_j)^β, without gate (`transfer_tr_tau` in the official code); with one, β = -1
makes the classes alike (ours). k draws are averaged; in the limit the aim is the expectation (Xu et al., ICLR 2023), of
less variance: Σ_j g_ij p_ij x_0^j + (1 - Σ_j g_ij p_ij) x_0^i. Only σ enters, whatever the process. No network pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from t2h.errors import check_choices, check_ranges
from t2h.methods.base import Aim, Batch, Context, DrawBatches, Mean, Method, References
from t2h.methods.gates import ClassGate, Direction, DroppedTarget, Gate
from t2h.methods.posterior import batch_posterior
from t2h.methods.transfers import TransferCounter
from t2h.process import Images


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
    """The batches of all ranks and --references N; the batch (official); N alone (bank; balanced); or all images."""
    t_min: int | None = None
    """Move aims only from this timestep on."""
    t_max: int | None = None
    """Move aims only below this timestep (the official cut_time)."""
    window: tuple[float, float] | None = None
    """Instead, bounds of the chance to aim at another class, which is measured before the first step: 0.01 0.3."""
    dropped_target: DroppedTarget = "same"
    """Samples without label: as the others (same, official), their own image (plain), or the h2t direction."""
    estimate: Literal["draw", "expectation"] = "draw"
    """Draw from the posterior (the paper), or take its gated expectation (less variance)."""
    draws: int = 1
    """Draws that are averaged (the paper: 1)."""
    count: bool = True
    """Count moved aims by t, inside a class and across classes."""

    def __post_init__(self) -> None:
        check_choices(self, "t2h")
        check_ranges(self, "t2h.", beta="[-10, 10]", gamma="[0, inf)", kappa="[0, inf)", draws="[1, inf)")

    def aim(self, context: Context) -> Aim:
        return OrientedAim(self, context)


class OrientedAim(Aim):
    """The clean image that the noisy image may have come from, as far as the gate allows."""

    def __init__(self, options: T2H, context: Context) -> None:
        super().__init__()
        self.options, self.process, self.references = options, context.process, options.references
        self.gate = ClassGate(options, context)
        self.counter = TransferCounter(context.process.num_timesteps)

    def calibrate(self, draw: DrawBatches, mean: Mean) -> None:
        self.gate.window.calibrate(self.mass, draw, mean)

    def mass(self, batch: Batch) -> Float[Tensor, "b n"]:
        """g_ij p_ij."""
        return batch_posterior(batch, self.process, self.gate.prior).mul_(self.gate(batch))

    def forward(self, batch: Batch) -> Images:
        x0, references = batch.x0, batch.reference_x0
        if self.options.estimate == "expectation":
            mass = self.mass(batch)
            aim = (mass @ references.flatten(1) + (1 - mass.sum(dim=1, keepdim=True)) * x0.flatten(1)).view_as(x0)
        else:
            p, gate = batch_posterior(batch, self.process, self.gate.prior), self.gate(batch)
            drawn = torch.multinomial(p, self.options.draws, replacement=True, generator=batch.generator)
            keeps = self.gate.keeps(gate.gather(1, drawn), batch.generator)
            mass = torch.zeros_like(p).scatter_add_(1, drawn, keeps / self.options.draws)
            aim = torch.where(keeps[..., None, None, None], references[drawn], x0.unsqueeze(1)).mean(dim=1)
        if self.options.count:
            self.counter.add(batch, mass)
        return aim

    def counts(self) -> dict[str, Tensor]:
        return {"transfer": self.counter.counted} if self.options.count else {}

    def statistics(self) -> dict[str, object]:
        return self.counter.statistics() if self.options.count else {}
