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

from abc import ABC, abstractmethod
from typing import Any, Literal

import diffusers
import torch
from diffusers import SchedulerMixin
from jaxtyping import Float, Num
from torch import Tensor

from t2h.errors import unknown_name

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "ddpm-small": "DDPMScheduler",
    "dpm-solver++": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "flow": "FlowMatchEulerDiscreteScheduler",
}

Prediction = Literal["epsilon", "sample", "v_prediction"]
Images = Float[Tensor, "b c h w"]
Times = Num[Tensor, " b"]
Numbers = Float[Tensor, " b"]


class Process(ABC):
    """How images are noised, and what the network is taught. Times are in [0, T), T = num_timesteps, whole or not."""

    num_timesteps: int
    prediction: Prediction | Literal["velocity"]

    @staticmethod
    def of(scheduler: SchedulerMixin) -> Process:
        """The process and prediction that a diffusers scheduler was made for; `UserError` if they are none of ours."""
        from t2h.process.ddpm import NoiseSchedule
        from t2h.process.flow import RectifiedFlow, is_flow

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

    def scheduler(self, name: str) -> SchedulerMixin:
        """The matching diffusers scheduler, by its short name (`SCHEDULERS`) or its class in diffusers.

        "ddim", "ddpm" and "ddpm-small" (variance fixed_small) are the official samplers exactly. The others take the
        schedule, the prediction and x_0 unclipped, and else their defaults.

        Raises:
            UserError: for a name that is neither, or a scheduler that cannot follow the process.
        """
        kind = getattr(diffusers, SCHEDULERS.get(name, name), None)
        if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
            raise unknown_name("scheduler", name, [*SCHEDULERS, "the name of a class of diffusers"])
        return self._scheduler(name, kind)

    @abstractmethod
    def _scheduler(self, name: str, kind: Any) -> SchedulerMixin:
        """Of a class of diffusers, by its name."""

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
