"""DDPM's noise process: Ho et al., "Denoising Diffusion Probabilistic Models", 2020."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers import DDIMScheduler, DDPMScheduler, SchedulerMixin
from jaxtyping import Float
from torch import Tensor

from t2h.errors import UserError, check_choices, check_ranges
from t2h.process.base import Numbers, Prediction, Process, Times

NOT_OF_X0 = ("PNDMScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler")  # as diffusers has them


@dataclass(frozen=True)
class NoiseSchedule(Process):
    """DDPM's noise process, with β linear in t; a = √ᾱ_t, b = √(1-ᾱ_t)."""

    num_timesteps: int = 1000
    """T, the number of noise levels."""
    beta_start: float = 1e-4
    """β at t = 0, in (0, 1)."""
    beta_end: float = 0.02
    """β at t = T-1, in [beta_start, 1)."""
    prediction: Prediction = "epsilon"
    """What the network predicts: the noise (epsilon), the clean image (sample), or v of both (v_prediction)."""

    def __post_init__(self) -> None:
        check_choices(self, "process")
        check_ranges(self, num_timesteps="[1, inf)")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise UserError(f"β from {self.beta_start} to {self.beta_end}: 0 < beta_start <= beta_end < 1 must hold.")

    @classmethod
    def of(cls, scheduler: SchedulerMixin) -> NoiseSchedule:
        """As `Process.of`; β must be linear in t."""
        given: Any = scheduler.config
        if (schedule := given.get("beta_schedule")) != "linear" or given.get("trained_betas") is not None:
            raise UserError(f"{type(scheduler).__name__} has noise schedule {schedule!r}; 'linear' is needed.")
        prediction = given.get("prediction_type", cls.prediction)
        return cls(given["num_train_timesteps"], given["beta_start"], given["beta_end"], prediction)

    @cached_property
    def beta(self) -> Float[Tensor, " t"]:
        """β, float64 (T,) on the CPU: linspace in float32, as the official table, bit for bit."""
        return torch.linspace(self.beta_start, self.beta_end, self.num_timesteps, dtype=torch.float32).double()

    @cached_property
    def alpha_bar(self) -> Float[Tensor, " t"]:
        """ᾱ, the cumulative product of 1-β, float64 (T,) on the CPU."""
        return torch.cumprod(1 - self.beta, dim=0)

    @cached_property
    def _tables(self) -> dict[tuple[torch.device, torch.dtype], Tensor]:
        """a, b and ε's step divergence, (3, T), where they are needed: they cross to a device once."""
        a, b = self.alpha_bar.sqrt(), (1 - self.alpha_bar).sqrt()
        divergence = self.beta / (2 * (1 - self.beta) * b.square())
        return {(torch.device("cpu"), torch.float64): torch.stack([a, b, divergence])}

    def _at(self, t: Times, dtype: torch.dtype) -> Float[Tensor, "3 b"]:
        """The table at t. Between whole times σ is linear in t, as in diffusers' schedulers."""
        if (t.device, dtype) not in self._tables:
            exact = self._tables[torch.device("cpu"), torch.float64]
            self._tables[t.device, dtype] = exact.to(dtype).to(t.device)
        table, low = self._tables[t.device, dtype], t.long()
        if not t.is_floating_point():
            return table[:, low]
        below, above = table[:, low], table[:, (low + 1).clamp(max=self.num_timesteps - 1)]
        sigma = torch.lerp(below[1] / below[0], above[1] / above[0], (t - low).to(dtype))
        a = (1 + sigma.square()).rsqrt()
        return torch.stack([a, sigma * a, below[2]])

    def numbers(self, t: Times, dtype: torch.dtype = torch.float64) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        a, b, _ = self._at(t, dtype)
        none, one = torch.zeros_like(a), torch.ones_like(a)
        return a, b, *{"epsilon": (none, one), "sample": (one, none), "v_prediction": (-b, a)}[self.prediction]

    def draw_t(self, n: int, generator: torch.Generator, device: torch.device) -> Times:
        return torch.randint(self.num_timesteps, (n,), generator=generator, device=device)

    def step_divergence(self, t: Times, dtype: torch.dtype = torch.float64) -> Numbers:
        """β_t/(2 α_t (1-ᾱ_t)) for ε, from steps of variance β_t; at one x_t, dε = a/(a d - b c) d(output)."""
        a, b, c, d = self.numbers(t, dtype)
        return self._at(t, dtype)[2] * (a / (a * d - b * c)).square()

    def ddim_scheduler(self) -> DDIMScheduler:
        """The official DDIM sampler: t = T-s, ..., s, 0, x_0 unclipped; its last step (0 → 0) changes nothing."""
        return self._made(DDIMScheduler, set_alpha_to_one=False, timestep_spacing="leading", steps_offset=0)

    def ddpm_scheduler(self, variance_type: str = "fixed_large") -> DDPMScheduler:
        """The official ancestral sampler: variance β_t ("fixed_large") or the posterior's, x_0 unclipped."""
        return self._made(DDPMScheduler, variance_type=variance_type)

    def _made(self, cls: Any, **options: Any) -> Any:
        options |= {"num_train_timesteps": self.num_timesteps, "prediction_type": self.prediction, "clip_sample": False}
        return cls(beta_schedule="linear", beta_start=self.beta_start, beta_end=self.beta_end, **options)

    def _scheduler(self, name: str, kind: Any) -> SchedulerMixin:
        if name == "ddim":
            return self.ddim_scheduler()
        if name in ("ddpm", "ddpm-small"):
            return self.ddpm_scheduler("fixed_large" if name == "ddpm" else "fixed_small")
        if (self.prediction == "sample" and kind.__name__ in NOT_OF_X0) or not self._finds_x0(kind):
            raise UserError(f"{name} cannot draw from a {self.prediction} network of this noise schedule; ddim can.")
        return kind.from_config(self.ddpm_scheduler().config)

    def _finds_x0(self, kind: Any) -> bool:
        """Whether a few steps of a scheduler end near x_0 where the network knows it.

        Those of other noise, of inverses, and of predictions that the scheduler lacks do not.
        """
        draws, x0 = torch.Generator().manual_seed(0), torch.full((1, 1, 1, 1), 0.5)
        try:
            scheduler = kind.from_config(self.ddpm_scheduler().config)
            given = {"generator": draws} if "generator" in inspect.signature(scheduler.step).parameters else {}
            scheduler.set_timesteps(min(10, max(1, self.num_timesteps - 1)))
            xt = torch.randn(x0.shape, generator=draws) * scheduler.init_noise_sigma
            for t in scheduler.timesteps:
                output = self.output_from_x0(x0, scheduler.scale_model_input(xt, t), t.reshape(1))
                xt = scheduler.step(output, t, xt, **given).prev_sample
        except Exception:  # it was made for something else
            return False
        return bool((xt - x0).abs() < 0.25)
