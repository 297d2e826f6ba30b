"""The noise process: how a clean image is noised, and what the network is taught.

    x_t = a_t x_0 + b_t ε          the network is taught   c_t x_0 + d_t ε          σ_t = b_t/a_t

    prediction      c     d
    epsilon         0     1        Ho et al. 2020
    sample          1     0        the clean image
    v_prediction   -b     a        Salimans and Ho 2022
    velocity       -1     1        rectified flow, Liu et al. 2023

A method may aim at another clean image x̂_0. At the same x_t the network is then taught

    (c x_0 + d ε) + (c - d a/b) (x̂_0 - x_0)

which for ε is ε + (x_0 - x̂_0)/σ: exactly ε where nothing is moved, and free of cancellation at little noise.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import diffusers
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    SchedulerMixin,
)
from jaxtyping import Float, Num
from torch import Tensor

from t2h.errors import UserError, unknown_name

Prediction = Literal["epsilon", "sample", "v_prediction"]
TimeDraw = Literal["uniform", "logit-normal"]
Images = Float[Tensor, "b c h w"]
Times = Num[Tensor, " b"]
Numbers = Float[Tensor, " b"]

NOT_OF_X0 = ("PNDMScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler")  # as diffusers has them


class Process(ABC):
    """How images are noised, and what the network is taught. Times are in [0, T), T = num_timesteps, whole or not."""

    num_timesteps: int
    prediction: Prediction | Literal["velocity"]

    @staticmethod
    def of(scheduler: SchedulerMixin) -> Process:
        """The process and prediction that a diffusers scheduler was made for; `UserError` if they are none of ours."""
        return RectifiedFlow() if is_flow(scheduler) else NoiseSchedule.of(scheduler)

    @abstractmethod
    def numbers(self, t: Times, dtype: torch.dtype = torch.float64) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """a, b, c and d at t, each (B,), on the device of t."""

    @abstractmethod
    def draw_t(self, n: int, generator: torch.Generator, device: torch.device) -> Times:
        """Times for ``n`` training images, (n,)."""

    @abstractmethod
    def step_divergence(self, t: Times, dtype: torch.dtype = torch.float64) -> Numbers:
        """The Kullback-Leibler divergence of two reverse steps from x_t whose outputs differ by δ, over ‖δ‖²; (B,).

        Raises:
            UserError: if the process has no random reverse steps.
        """

    @abstractmethod
    def scheduler(self, name: str) -> SchedulerMixin:
        """The matching diffusers scheduler, by a short name or a class of diffusers; `UserError` if it is none."""

    def sigma(self, t: Times, dtype: torch.dtype = torch.float64) -> Numbers:
        """σ = b/a, the noise level of x_t/a; (B,), float64 unless asked otherwise."""
        a, b, _, _ = self.numbers(t, dtype)
        return b / a

    def time_share(self, t: Times) -> Numbers:
        """t/T, in [0, 1); (B,)."""
        return t / self.num_timesteps

    def add_noise(self, x0: Images, eps: Images, t: Times) -> Images:
        """x_t = a x_0 + b ε."""
        a, b, _, _ = self._for_images(t, x0)
        return a * x0 + b * eps

    def target(self, x0: Images, eps: Images, t: Times, aim: Images | None = None) -> Images:
        """What the network is taught at x_t where it should aim at the clean images ``aim``; None is x_0 itself."""
        a, b, c, d = self._for_images(t, x0)
        plain = c * x0 + d * eps
        return plain if aim is None else plain + (c - d * a / b) * (aim - x0)

    def x0_from_output(self, output: Images, xt: Images, t: Times) -> Images:
        """The clean image that the network's output at x_t implies."""
        a, b, c, d = self._for_images(t, xt)
        return (d * xt - b * output) / (a * d - b * c)

    def output_from_x0(self, x0: Images, xt: Images, t: Times) -> Images:
        """The output at x_t that implies this clean image."""
        a, b, c, d = self._for_images(t, xt)
        return c * x0 + d * ((xt - a * x0) / b)

    def _for_images(self, t: Times, like: Images) -> list[Tensor]:
        return [number.reshape(-1, 1, 1, 1) for number in self.numbers(t, like.dtype)]


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
        if self.num_timesteps < 1:
            raise UserError(f"num_timesteps is {self.num_timesteps}; it must be at least 1.")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise UserError(f"β from {self.beta_start} to {self.beta_end}: 0 < beta_start <= beta_end < 1 must hold.")
        if self.prediction not in get_args(Prediction):
            raise unknown_name("prediction", self.prediction, get_args(Prediction))

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

    def scheduler(self, name: str) -> SchedulerMixin:
        """The three named ones are the official samplers; others have x_0 unclipped, and else their defaults."""
        if name == "ddim":
            return self.ddim_scheduler()
        if name in ("ddpm", "ddpm-small"):
            return self.ddpm_scheduler("fixed_large" if name == "ddpm" else "fixed_small")
        found: Any = getattr(diffusers, name, None)
        usable = isinstance(found, type) and issubclass(found, SchedulerMixin)
        if not usable:
            raise unknown_name("scheduler", name, ["ddim", "ddpm", "ddpm-small", "the name of a class of diffusers"])
        follows = {"beta_schedule", "prediction_type"} <= set(inspect.signature(found).parameters)
        if not follows or (self.prediction == "sample" and name in NOT_OF_X0):
            raise UserError(f"{name} cannot draw from a {self.prediction} network of this noise schedule; ddim can.")
        return found.from_config(self.ddpm_scheduler().config)


def is_flow(scheduler: SchedulerMixin) -> bool:
    """Whether a diffusers scheduler draws from a rectified flow."""
    return isinstance(scheduler, FlowMatchEulerDiscreteScheduler | FlowMatchHeunDiscreteScheduler)


@dataclass(frozen=True)
class RectifiedFlow(Process):
    """Straight lines from images to noise: with s = t/1000, x_t = (1-s) x_0 + s ε, and the velocity dx_t/ds = ε - x_0.

    t is drawn from [1, 999], not whole: at 0 and 1000 the network would have nothing to learn, and σ = s/(1-s) no
    number. diffusers' samplers ask for t = 1000 … 1.

    Source: Liu et al., "Flow Straight and Fast", ICLR 2023; Esser et al. 2024 for the logit-normal draw.
    """

    times: TimeDraw = field(default="uniform", compare=False)
    """How t is drawn for training: uniformly, or as the logistic of a standard normal number, more often mid-way."""
    num_timesteps: int = field(default=1000, init=False)
    prediction: Literal["velocity"] = field(default="velocity", init=False)

    def __post_init__(self) -> None:
        if self.times not in get_args(TimeDraw):
            raise unknown_name("times", self.times, get_args(TimeDraw))

    def numbers(self, t: Times, dtype: torch.dtype = torch.float64) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        b = t.to(dtype) / self.num_timesteps
        one = torch.ones_like(b)
        return 1 - b, b, -one, one

    def draw_t(self, n: int, generator: torch.Generator, device: torch.device) -> Times:
        if self.times == "uniform":
            share = torch.rand(n, generator=generator, device=device)
        else:
            share = torch.randn(n, generator=generator, device=device).sigmoid()
        return (share * self.num_timesteps).clamp(1, self.num_timesteps - 1)

    def step_divergence(self, t: Times, dtype: torch.dtype = torch.float64) -> Numbers:
        raise UserError("a flow's reverse steps are not random: they have no divergence. Leave diffrop out, or flow.")

    def scheduler(self, name: str) -> SchedulerMixin:
        """Euler's method ("flow"), or a flow-matching class of diffusers; times are not shifted."""
        classes = {"flow": FlowMatchEulerDiscreteScheduler}
        classes |= {cls.__name__: cls for cls in (FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler)}
        if name not in classes:
            raise UserError(f"{name} cannot draw from a flow; {', '.join(classes)} can.")
        return classes[name](num_train_timesteps=self.num_timesteps, shift=1.0)
