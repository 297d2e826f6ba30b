"""DDPM: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020.

‖ε_θ(x_t, t, y) - ε‖²                                                              (their eq. 14)
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from t2h.methods.base import Context, NoisedBatch, Parts, Target


class Noise(Target):
    """The noise that was added: the plain target of every diffusion model."""

    def forward(self, batch: NoisedBatch) -> Float[Tensor, "b c h w"]:
        """ε."""
        return batch.eps


@dataclass(frozen=True)
class DDPM:
    """The baseline (Ho et al., NeurIPS 2020): predict the noise that was added."""

    def parts(self, context: Context) -> Parts:
        """Its target."""
        return Parts(target=Noise())
