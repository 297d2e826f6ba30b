"""Rectified flow: Liu et al., "Flow Straight and Fast", ICLR 2023."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler, SchedulerMixin

from t2h.errors import UserError, check_choices
from t2h.process.base import Numbers, Process, Times

TimeDraw = Literal["uniform", "logit-normal"]
_SAMPLERS = (FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler)


def is_flow(scheduler: SchedulerMixin) -> bool:
    """Whether a diffusers scheduler draws from a rectified flow."""
    return isinstance(scheduler, _SAMPLERS)


@dataclass(frozen=True)
class RectifiedFlow(Process):
    """Straight lines from images to noise: with s = t/1000, x_t = (1-s) x_0 + s ε, and the velocity dx_t/ds = ε - x_0.

    t is drawn from [1, 999], not whole: at 0 and 1000 the network would have nothing to learn, and σ = s/(1-s) no
    number. diffusers' samplers ask for t = 1000 … 1.

    The logit-normal draw is that of Esser et al. 2024.
    """

    times: TimeDraw = field(default="uniform", compare=False)
    """How t is drawn for training: uniformly, or as the logistic of a standard normal number, more often mid-way."""
    num_timesteps: int = field(default=1000, init=False)
    prediction: Literal["velocity"] = field(default="velocity", init=False)

    def __post_init__(self) -> None:
        check_choices(self, "process")

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

    def _scheduler(self, name: str, kind: Any) -> SchedulerMixin:
        """Times are not shifted."""
        if kind not in _SAMPLERS:
            able = ["flow", *(each.__name__ for each in _SAMPLERS)]
            raise UserError(f"{name} cannot draw from a flow; {', '.join(able)} can.")
        return kind(num_train_timesteps=self.num_timesteps, shift=1.0)
