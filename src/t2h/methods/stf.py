"""STF, stable target field: Xu, Tong, Jaakkola, "Stable Target Field for Reduced Variance Score Estimation", ICLR 2023.

    x̂_0^i = Σ_j p_ij x_0^j,   p_ij = softmax_j( -‖x̃_i - x_0^j‖² / (2 σ_t²) ),   x̃_i = x_t/a_t

The aim is the expectation over the references, of all classes, without a gate: less variance than the image itself, for
a small bias. T2H is STF with one draw in place of the expectation, and a gate between classes.

The paper takes a reference batch larger than the training batch, which it contains: `--references N` adds N images
to the training batch, which alone is the default.

Only σ enters: a rectified flow has σ = s/(1-s), with s = t/T.

Cost: no network pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from t2h.methods.base import Aim, Batch, Context, Method
from t2h.methods.posterior import batch_posterior
from t2h.process import Images, Process


class ExpectedImage(Aim):
    """The expected clean image over the references."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process

    def forward(self, batch: Batch) -> Images:
        return (batch_posterior(batch, self.process) @ batch.reference_x0.flatten(1)).view_as(batch.x0)


@dataclass(frozen=True)
class STF(Method):
    """Stable target field (Xu et al., ICLR 2023): aim at the expectation over all images that x_t may come from."""

    def aim(self, context: Context) -> Aim:
        return ExpectedImage(context.process)
