"""Where numbers land on a drawing: curves, ticks and frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH = 440.0
CHARACTER = 6.9  # mean width of a character of the labels, which phones show at 12.5 px


@dataclass(frozen=True)
class Line:
    """One curve; y is None where nothing was measured, and the intervals belong to the points."""

    name: str
    slot: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    intervals: tuple[tuple[float, float] | None, ...] = ()
    markers: bool = True

    @property
    def points(self) -> list[tuple[float, float]]:
        """The measured points."""
        return [(x, y) for x, y in zip(self.x, self.y, strict=True) if y is not None]


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between low and high, roughly as many as asked for."""
    span = (high - low) / max(about, 1)
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= span * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between low and high; only the powers where those would be too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    return fine if len(fine) <= 7 else [10.0**p for p in powers if low <= 10.0**p <= high]


@dataclass(frozen=True)
class Frame:
    """Where data lands on the drawing."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    log: bool
    right: float
    left: float = 46.0
    top: float = 12.0
    bottom: float = 222.0

    @staticmethod
    def around(lines: Sequence[Line], y_range: tuple[float, float] | None) -> Frame:
        xs = [x for line in lines for x, _ in line.points] or [0.0]
        ys = [y for line in lines for _, y in line.points] or [0.0]
        ends = [end for line in lines for pair in line.intervals if pair for end in pair]
        low, high = min(ys), max(ys)
        log = y_range is None and low > 0 and high / low > 20
        if y_range:
            low, high = y_range
        elif log:
            low, high = low / 1.3, max([high, *ends]) * 1.15
        else:
            low, high = min([0.0, *ys, *ends]), max([0.0, *ys, *ends]) or 1.0
            step = max(b - a for a, b in pairwise(ticks(low, high, 4)))
            low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
        names = max((len(line.name) for line in lines), default=0)
        right = WIDTH - 14 - min(names, 22) * CHARACTER
        return Frame(min(xs), max(xs), low, high, log, right)

    @property
    def y_ticks(self) -> list[float]:
        return log_ticks(self.y_low, self.y_high) if self.log else ticks(self.y_low, self.y_high, 4)

    def x(self, x: float) -> float:
        span = self.x_high - self.x_low
        return self.left + (self.right - self.left) * ((x - self.x_low) / span if span else 0.5)

    def y(self, y: float) -> float:
        low, high, y = (math.log(max(v, 1e-30)) if self.log else v for v in (self.y_low, self.y_high, y))
        share = (y - low) / (high - low) if high > low else 0.5
        return self.bottom - (self.bottom - self.top) * min(max(share, 0.0), 1.0)
