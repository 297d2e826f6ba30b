"""The chance that T2H moves an aim, by t, measured on data before any training, and the window of t that it gives.

T2H's paper (Figure 7) finds the chance to rise from 0 to 1 in a window of t, and transfers inside it to work best. The
window moves with the references and the number of pixels; given as bounds on the chance it means the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from t2h.errors import UserError
from t2h.methods.base import Batch, DrawBatches, Mean
from t2h.methods.transfers import moved
from t2h.process import Times

Mass = Callable[[Batch], Tensor]
POINTS = 25  # times t at which the chance is measured
PAIRS = 1 << 20  # of noised images and references, at once
IMAGES = 512  # noised images over which it is a mean, at least


class Window(nn.Module):
    """The t in which aims move, by the options of `T2H`: as times, or as bounds of the chance to aim at another class.

    Raises:
        UserError: for a window that is empty, or given in both ways, and for bounds that are no chances.
    """

    times: Tensor
    """t_min and t_max, part of the state where they follow from the data; before `calibrate` the whole of time."""

    def __init__(self, options: Any, num_timesteps: int) -> None:
        super().__init__()
        self.bounds, self.num_timesteps = options.window, num_timesteps
        low, high = self.bounds or (0, 1)
        if not 0 <= low < high <= 1:
            raise UserError(f"t2h.window is {low:g} {high:g}; both must be in [0, 1], the lower one first.")
        if self.bounds and (options.t_min, options.t_max) != (None, None):
            raise UserError("t2h.window stands in place of t_min and t_max; leave out one or the other.")
        t_min, t_max = options.t_min or 0, num_timesteps if options.t_max is None else options.t_max
        if t_min >= t_max:
            raise UserError(f"the time window {t_min} <= t < {t_max} is empty; t_min must be below t_max.")
        self.register_buffer("times", torch.tensor([t_min, t_max]), persistent=self.bounds is not None)

    def extra_repr(self) -> str:
        low, high = self.times.tolist()
        chances = "" if self.bounds is None else ", where the chance to aim at another class is {:g} … {:g}"
        return f"{low} <= t < {high}" + chances.format(*self.bounds or ())

    def forward(self, t: Times) -> Bool[Tensor, " b"]:
        """Whether each t is inside."""
        return (t >= self.times[0]) & (t < self.times[1])

    def calibrate(self, mass: Mass, draw: DrawBatches, mean: Mean) -> None:
        """Set the times by `transfer_chances`, if bounds are given."""
        if self.bounds:
            found = transfer_chances(mass, draw(IMAGES), self.num_timesteps, mean).window(*self.bounds)
            self.times.copy_(torch.tensor(found))


@dataclass(frozen=True)
class TransferChances:
    """The chance that an aim moves to another image, by t, for one set of references.

    Attributes:
        num_timesteps: T.
        t: times, in (0, T).
        within, across: the chance at each t that the aim is another image of the same class, or of another.
    """

    num_timesteps: int
    t: tuple[float, ...]
    within: tuple[float, ...]
    across: tuple[float, ...]

    def window(self, low: float, high: float) -> tuple[int, int]:
        """t_min and t_max: from where the chance across classes first is ``low`` to where it first is ``high``.

        Raises:
            UserError: if it is below ``low`` at every t.
        """
        begin, end = self._first(low), self._first(high)
        if begin == math.inf:
            raise UserError(
                f"the chance to aim at another class is {max(self.across):.2g} at most, below the window's {low:g}; "
                "lower the bound, or give more --references."
            )
        return round(begin), max(round(min(end, self.num_timesteps)), round(begin) + 1)

    def _first(self, chance: float) -> float:
        """The first t with this chance across classes, log c being linear between points; infinite if there is none."""
        for (t0, c0), (t1, c1) in pairwise([(0.0, 0.0), *zip(self.t, self.across, strict=True)]):
            if c1 >= chance:
                c0, c1, c = (math.log(max(value, 1e-6)) for value in (c0, c1, chance))
                return t0 + (t1 - t0) * max(c - c0, 0.0) / max(c1 - c0, 1e-6)
        return math.inf


def transfer_chances(
    mass: Mass,
    batches: Sequence[Batch],
    num_timesteps: int,
    mean: Mean = lambda chances: chances,
) -> TransferChances:
    """The mean chances over batches as training draws them, their labels kept.

    Args:
        mass: how probably each sample of a batch aims at each reference, (B, N).
        batches: at least one.
        num_timesteps: T.
        mean: over processes, each of which has its own batches.
    """
    times = (torch.arange(POINTS, device=batches[0].x0.device) + 0.5) * num_timesteps / POINTS
    chances = torch.zeros(2, POINTS, device=times.device)
    for batch in batches:
        at_once = max(1, PAIRS // (len(batch.y) * len(batch.reference_y)))
        parts = [moved(wide, mass(wide)) for wide in (_at(batch, t) for t in times.split(at_once))]
        chances += torch.cat(parts, dim=1).view(2, POINTS, -1).mean(dim=2) / len(batches)
    within, across = mean(chances).tolist()
    return TransferChances(num_timesteps, tuple(times.tolist()), tuple(within), tuple(across))


def _at(batch: Batch, times: Times) -> Batch:
    """What a posterior needs of a batch, at each of these t in turn; its labels are kept."""
    n = len(batch.y)
    rows = torch.arange(n, device=times.device).repeat(len(times))
    parts = {name: getattr(batch, name)[rows] for name in ("x0", "y", "eps", "xt", "own")}
    parts["dropped"] = torch.zeros_like(rows, dtype=torch.bool)
    return replace(batch, **parts, t=times.repeat_interleave(n), label=None, augmentation=None)
