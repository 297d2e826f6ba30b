"""The moving average of the weights, which is what is sampled."""

from __future__ import annotations

from diffusers import ModelMixin
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """The exponential moving average of a network's weights: θ̄ ← d θ̄ + (1 - d) θ after every step.

    θ̄ begins as the initial weights. With ``rampup`` r its half-life is at most r times the images seen so far (Karras
    et al. 2022, EDM), so d = min(decay, 0.5^(1/(r s))) at step s = 0, 1, ...: the initial weights are forgotten at
    once. r = 0 is the constant decay of the papers' codes, decay^s of which is initial weights still.
    """

    def __init__(self, unet: ModelMixin, decay: float, rampup: float) -> None:
        self.decay, self.rampup = decay, rampup
        self.unet = type(unet).from_config(unet.config)
        self.unet.load_state_dict(unet.state_dict())
        self.unet.eval().requires_grad_(False).to(next(unet.parameters()).device)

    def update(self, weights: list[Tensor], step: int) -> None:
        """Take the weights after ``step``, counted from 0, in the order of the network's parameters."""
        decay = self.decay
        if self.rampup:
            decay = min(decay, 0.5 ** (1 / (self.rampup * step)) if step else 0.0)
        get_ema_multi_avg_fn(decay)(list(self.unet.parameters()), weights, None)
