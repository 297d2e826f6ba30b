"""STF, stable target field: Xu, Tong, Jaakkola, "Stable Target Field for Reduced Variance Score Estimation", ICLR 2023.

    E_i = Σ_j p_ij x_0^j,   p_ij = softmax_j( -‖x̃_i - x_0^j‖² / (2 σ_t²) ),   x̃_i = x_t/√ᾱ_t
    ε̂_i = (x_t - √ᾱ_t E_i) / √(1-ᾱ_t)

The target is the expectation over the references, of all classes, without a gate: less variance than the one noise that
was added, for a small bias. T2H is STF with one draw in place of the expectation, and a gate between classes.

The paper takes a reference batch larger than the training batch, which it contains: `--references N` adds N images
to the training batch, which alone is the default.

Cost: no network pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from t2h.methods.base import Context, NoisedBatch, Parts, Target
from t2h.methods.posterior import reference_posterior
from t2h.process import NoiseSchedule


class StableTarget(Target):
    """The noise that leads from the expected clean image to x_t.

    Args:
        schedule: the noise schedule.
    """

    def __init__(self, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, batch: NoisedBatch) -> Float[Tensor, "b c h w"]:
        """ε̂ (B, C, H, W)."""
        p = reference_posterior(batch.x0, batch.eps, batch.reference_x0, batch.t, self.schedule)
        x0_hat = (p @ batch.reference_x0.flatten(1)).view_as(batch.x0)
        sigma = self.schedule.sigma(batch.t, batch.x0.dtype).reshape(-1, 1, 1, 1)
        return (
            batch.eps + (batch.x0 - x0_hat) / sigma
        )  # = (x_t - √ᾱ_t x̂_0)/√(1-ᾱ_t), without its cancellation at small t


@dataclass(frozen=True)
class STF:
    """Stable target field (Xu et al., ICLR 2023): predict the expected noise over all images that x_t may come from."""

    def parts(self, context: Context) -> Parts:
        """Its target."""
        return Parts(target=StableTarget(context.schedule))
