"""The noise schedule, and the diffusers schedulers that match it exactly.

Source: Ho et al. 2020 ("Denoising diffusion probabilistic models"), with the linear β of every long-tailed
diffusion paper. The tables are computed in float64; what is computed from them has the dtype of the images.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, SchedulerMixin
from jaxtyping import Float, Int
from torch import Tensor

from t2h.errors import UserError


class NoiseSchedule:
    """x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε, with β_t linear in t.

    Args:
        num_timesteps: T, the number of noise levels; timesteps run from 0 to T-1.
        beta_start: β_0, in (0, 1).
        beta_end: β_{T-1}, in [beta_start, 1).

    Attributes:
        alpha_bar: ᾱ, float64 (T,) on the CPU, the cumulative product of 1-β.

    Raises:
        UserError: if T < 1 or not 0 < beta_start <= beta_end < 1.
    """

    def __init__(self, num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> None:
        if num_timesteps < 1:
            raise UserError(f"num_timesteps is {num_timesteps}; it must be at least 1.")
        if not 0 < beta_start <= beta_end < 1:
            raise UserError(f"beta_start={beta_start}, beta_end={beta_end}: 0 < beta_start <= beta_end < 1 must hold.")
        self.num_timesteps = num_timesteps
        self.beta_start = beta_start
        self.beta_end = beta_end
        # linspace in float32, then float64: bit for bit the official table
        self.beta = torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float32).double()
        self.alpha_bar = torch.cumprod(1 - self.beta, dim=0)
        self._tables = {
            "signal": self.alpha_bar.sqrt(),
            "noise": (1 - self.alpha_bar).sqrt(),
            "sigma": (1 / self.alpha_bar - 1).sqrt(),
        }
        self._cache: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}

    @classmethod
    def of(cls, scheduler: SchedulerMixin) -> NoiseSchedule:
        """The schedule that a diffusers scheduler was made for.

        Raises:
            UserError: if its β is not linear in t.
        """
        config: Any = scheduler.config
        if config.get("beta_schedule") != "linear" or config.get("trained_betas") is not None:
            raise UserError(
                f"{type(scheduler).__name__} has noise schedule {config.get('beta_schedule')!r}; 'linear' is needed."
            )
        return cls(config["num_train_timesteps"], config["beta_start"], config["beta_end"])

    def _at(self, name: str, t: Tensor, dtype: torch.dtype) -> Tensor:
        """A table at t, on the device of t; each table crosses to a device once."""
        key = (name, t.device, dtype)
        if key not in self._cache:
            self._cache[key] = self._tables[name].to(dtype).to(t.device)
        return self._cache[key][t]

    def sigma(self, t: Int[Tensor, " b"], dtype: torch.dtype = torch.float64) -> Float[Tensor, " b"]:
        """σ_t = √(1/ᾱ_t - 1), the noise level of x_t/√ᾱ_t; (B,), float64 unless asked otherwise."""
        return self._at("sigma", t, dtype)

    def _signal_and_noise(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ_t and √(1-ᾱ_t), shaped to multiply images."""
        shape = (-1, *[1] * (like.ndim - 1))
        return self._at("signal", t, like.dtype).reshape(shape), self._at("noise", t, like.dtype).reshape(shape)

    def add_noise(
        self, x0: Float[Tensor, "b c h w"], eps: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε."""
        signal, noise = self._signal_and_noise(t, x0)
        return signal * x0 + noise * eps

    def eps_from_x0(
        self, xt: Float[Tensor, "b c h w"], x0: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """ε = (x_t - √ᾱ_t x_0) / √(1-ᾱ_t), the noise that leads from x_0 to x_t."""
        signal, noise = self._signal_and_noise(t, xt)
        return (xt - signal * x0) / noise

    def x0_from_eps(
        self, xt: Float[Tensor, "b c h w"], eps: Float[Tensor, "b c h w"], t: Int[Tensor, " b"]
    ) -> Float[Tensor, "b c h w"]:
        """x_0 = (x_t - √(1-ᾱ_t) ε) / √ᾱ_t, the clean image that x_t and ε imply."""
        signal, noise = self._signal_and_noise(t, xt)
        return (xt - noise * eps) / signal

    def ddim_scheduler(self) -> DDIMScheduler:
        """The official DDIM sampler: t = T-s, ..., s, 0, x_0 unclipped; its last step (0 → 0) changes nothing."""
        return DDIMScheduler(
            num_train_timesteps=self.num_timesteps,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
            beta_schedule="linear",
            clip_sample=False,
            set_alpha_to_one=False,
            timestep_spacing="leading",
            steps_offset=0,
        )

    def ddpm_scheduler(self, variance_type: str = "fixed_large") -> DDPMScheduler:
        """The official ancestral sampler: variance β_t ("fixed_large") or the posterior's, x_0 unclipped."""
        return DDPMScheduler(
            num_train_timesteps=self.num_timesteps,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
            beta_schedule="linear",
            variance_type=variance_type,
            clip_sample=False,
        )
