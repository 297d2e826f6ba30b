"""Where numbers land on a drawing: lines, ticks and frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH = 440.0
CHARACTER = 6.9  # mean width of a character of the labels, which phones show at 12.5 px


@dataclass(frozen=True)
class Line:
    """One curve. ``y`` is None where nothing was measured; ``intervals`` belong to the points.

    ``slot`` is the CSS class that gives the colour: c0 ... c6, head, medium, tail, within or across.
    """

    name: str
    slot: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    intervals: tuple[tuple[float, float] | None, ...] = ()
    markers: bool = True

    @property
    def points(self) -> list[tuple[float, float]]:
        return [(x, y) for x, y in zip(self.x, self.y, strict=True) if y is not None]


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between low and high, roughly ``about`` of them."""
    span = (high - low) / max(about, 1)
    if span <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= span * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def axis_text(number: float) -> str:
    """1,500 as 1.5k, 2,000,000 as 2M, 0.25 as it is."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if abs(number) >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


def percent_text(share: float) -> str:
    """0.25 as "25 %"."""
    return f"{100 * share:.3g} %"


def duration(seconds: float) -> str:
    """In a unit that suits: "40 s", "12 min", "3.4 h", "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


@dataclass(frozen=True)
class Frame:
    """Ranges of both axes, and the rectangle of the drawing that they fill."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    log: bool = False
    right: float = WIDTH - 16
    left: float = 46.0
    top: float = 12.0
    bottom: float = 222.0

    @staticmethod
    def around(lines: Sequence[Line], y_range: tuple[float, float] | None) -> Frame:
        """The y axis begins at 0, or is logarithmic if values span a factor above 20; names fit beside the curves."""
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
        longest = max((len(line.name) for line in lines), default=0)
        return Frame(min(xs), max(xs), low, high, log, WIDTH - 14 - min(longest, 22) * CHARACTER)

    @property
    def y_ticks(self) -> list[float]:
        """On a logarithmic axis 1, 2 and 5 times powers of ten, or only the powers if those would be too many."""
        if not self.log:
            return ticks(self.y_low, self.y_high, 4)
        powers = [10.0**p for p in range(math.floor(math.log10(self.y_low)), math.ceil(math.log10(self.y_high)) + 1)]
        fine = [m * power for power in powers for m in (1, 2, 5) if self.y_low <= m * power <= self.y_high]
        return fine if len(fine) <= 7 else [power for power in powers if self.y_low <= power <= self.y_high]

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2

    def x(self, x: float) -> float:
        span = self.x_high - self.x_low
        return self.left + (self.right - self.left) * ((x - self.x_low) / span if span else 0.5)

    def y(self, y: float) -> float:
        low, high, y = (math.log(max(v, 1e-30)) if self.log else v for v in (self.y_low, self.y_high, y))
        share = (y - low) / (high - low) if high > low else 0.5
        return self.bottom - (self.bottom - self.top) * min(max(share, 0.0), 1.0)

    def path(self, points: Sequence[tuple[float, float]], closed: bool = False) -> str:
        """Straight lines through points given in the axes' units, as SVG writes them."""
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points) + ("Z" if closed else "")
