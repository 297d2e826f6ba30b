"""Bar charts and line charts, as SVG with a title and a description of their numbers for those who cannot see them.

Colours are CSS classes, so a chart in a page follows the reader's light or dark mode.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from t2h.report.axes import CHARACTER, WIDTH, Frame, Line, axis_text, ticks
from t2h.report.templates import render

MANY = 40  # from here on classes have no room for their names


class Mark(NamedTuple):
    """An SVG element; ``hint`` is what a pointer over it shows."""

    element: str
    attributes: dict[str, object]
    text: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Chart:
    """A drawing of ``width`` x ``height``; a template writes and escapes it."""

    title: str
    description: str
    width: float
    height: float
    marks: Sequence[Mark]

    @property
    def wide(self) -> bool:
        """Whether a phone has to scroll it."""
        return self.width > WIDTH

    def __html__(self) -> str:
        """As part of a page, which has the style; templates insert it as it is."""
        return render("report/chart.svg.j2", chart=self)

    def file(self, legend: Sequence[tuple[str, str]] = ()) -> str:
        """As a file of its own, in light colours, with its title and a legend of (slot, text)."""
        marks = [_text(0.0, -16.0, self.title, class_="name")]
        for i, (slot, name) in enumerate(legend):
            x = i * WIDTH / len(legend)
            marks.append(_mark("rect", x=x, y=self.height + 5, width=9, height=9, class_=slot))
            marks.append(_text(x + 14, self.height + 13, name))
        colours, _, rules = (files("t2h.report") / "chart.css").read_text("utf-8").partition("@media")
        values = dict(re.findall(r"--([\w-]+): (#\w+)", colours))  # not every reader of SVG knows variables
        style = re.sub(r"var\(--([\w-]+)\)", lambda name: values[name[1]], rules[rules.index(".chart") :])
        return render("report/chart.svg.j2", chart=self, style=style, around=marks) + "\n"


class Bar(NamedTuple):
    """One bar: its colour, its length (None: absent), what stands at its end and what a pointer over it shows."""

    slot: str
    value: float | None
    text: str
    hint: str = ""
    interval: tuple[float, float] | None = None


BarRow = tuple[str, Sequence[Bar]]
"""The name of a category, and its bars."""


def bar_chart(title: str, rows: Sequence[BarRow], y_text: Callable[[float], str] = axis_text) -> Chart:
    """Horizontal bars, a group for each row, names at the left; beyond `MANY` rows thin vertical ones, unnamed."""
    description = "; ".join(f"{label}: {', '.join(bar.text for bar in bars)}" for label, bars in rows)
    ends = [end for _, bars in rows for b in bars if b.value is not None for end in (b.value, *(b.interval or ()))]
    top = max([*ends, 0.0]) or 1.0
    width, height, marks = _horizontal(rows, top) if len(rows) <= MANY else _vertical(rows, top, y_text)
    return Chart(title, description, width, height, marks)


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    x_text: Callable[[float], str] = axis_text,
    y_text: Callable[[float], str] = axis_text,
    x_ticks: Sequence[float] | None = None,
    y_range: tuple[float, float] | None = None,
    marked_x: float | None = None,
) -> Chart:
    """Curves with their names at their right ends and shaded intervals.

    Args:
        x_ticks: where the x axis has numbers; round numbers if None.
        y_range: the range of the y axis. If None it starts at 0, or is logarithmic when values span a factor above 20.
        marked_x: where a dashed line stands.
    """
    frame = Frame.around(lines, y_range)
    marks = [each for y in frame.y_ticks for each in _level(frame, y, y_text(y))]
    for x in ticks(frame.x_low, frame.x_high, 4) if x_ticks is None else x_ticks:
        marks.append(_text(frame.x(x), frame.bottom + 16, x_text(x), text_anchor="middle"))
    marks.append(_text(frame.middle, frame.bottom + 34, x_label, text_anchor="middle", class_="muted"))
    if marked_x is not None and frame.x_low <= marked_x <= frame.x_high:
        marks.append(_mark("path", d=f"M{frame.x(marked_x):.1f} {frame.top:g}V{frame.bottom:g}", class_="mark"))
    for line in lines:
        spans = [(x, *pair) for x, pair in zip(line.x, line.intervals, strict=False) if pair]
        if len(spans) > 1:
            outline = [(x, low) for x, low, _ in spans] + [(x, high) for x, _, high in reversed(spans)]
            marks.append(_mark("path", d=frame.path(outline, closed=True), class_=f"band {line.slot}"))
    described = []
    for line in lines:
        if line.points:
            marks.append(_mark("path", d=frame.path(line.points), class_=f"line {line.slot}"))
        for x, y in line.points if line.markers else []:
            hint = f"{line.name}: {y_text(y)} at {x_text(x)}"
            marks.append(_mark("circle", "", hint, cx=frame.x(x), cy=frame.y(y), r=3.2, class_=f"dot {line.slot}"))
        some = line.points[:: -max(1, len(line.points) // 20)][::-1]  # at most forty, the last one among them
        described.append(f"{line.name}: {', '.join(f'{y_text(y)} at {x_text(x)}' for x, y in some)}")
    description = f"{x_label}. {'; '.join(described)}.{' Logarithmic axis.' if frame.log else ''}"
    return Chart(title, description, WIDTH, frame.bottom + 42, [*marks, *_end_names(frame, lines)])


def _horizontal(rows: Sequence[BarRow], top: float) -> tuple[float, float, list[Mark]]:
    label_width = min(max((len(label) for label, _ in rows), default=1), 16) * CHARACTER + 10
    text_width = max((len(bar.text) for _, bars in rows for bar in bars), default=1) * CHARACTER + 8
    scale, marks, y = (WIDTH - label_width - text_width) / top, [], 4.0
    thick, gap = (15.0, 5) if all(len(bars) == 1 for _, bars in rows) else (11.0, 7)
    for label, bars in rows:
        middle = y + thick * len(bars) / 2 + 4
        marks.append(_text(label_width - 8, middle, _short(label, 16), label, text_anchor="end"))
        for bar in bars:
            end = label_width
            if bar.value is not None:
                length = max(bar.value * scale, 0.75)
                place = {"x": label_width, "y": y, "width": length, "height": thick - 1}
                marks.append(_mark("rect", "", bar.hint, **place, class_=bar.slot))
                end += length
                if bar.interval:
                    a, b = (label_width + max(x, 0.0) * scale for x in bar.interval)
                    marks.append(_mark("path", d=f"M{a:.1f} {y + thick / 2 - 0.5:.1f}H{b:.1f}", class_="whisker"))
                    end = max(end, b)
            marks.append(_text(end + 5, y + thick - 3, bar.text, bar.hint, class_="value"))
            y += thick
        y += gap
    return WIDTH, y, marks


def _vertical(rows: Sequence[BarRow], top: float, y_text: Callable[[float], str]) -> tuple[float, float, list[Mark]]:
    """A lane for each bar of a row, one under the other and all to the same scale."""
    width, tall, gap, step = 2 * WIDTH, 96.0, 22.0, ticks(0.0, top, 3)[1]
    levels = [i * step for i in range(math.ceil(top / step - 1e-9) + 1)]
    marks: list[Mark] = []
    for lane, bars in enumerate(zip(*(bars for _, bars in rows), strict=True)):
        bottom = 10 + tall + lane * (tall + gap)
        frame = Frame(0.5, len(rows) + 0.5, 0.0, levels[-1], right=width - 12, top=bottom - tall, bottom=bottom)
        marks += [each for y in levels for each in _level(frame, y, y_text(y))]
        for rank, bar in enumerate(bars, start=1):
            x, y = frame.x(rank - 0.42), frame.y(bar.value or 0.0)
            place = {"x": x, "y": y, "width": frame.x(rank + 0.42) - x, "height": bottom - y}
            marks.append(_mark("rect", "", bar.hint, **place, class_=bar.slot))
    ranks = (1, *range(20, len(rows) + 1, 20))
    marks += [_text(frame.x(float(rank)), bottom + 15, str(rank), text_anchor="middle") for rank in ranks]
    words = "rank of the class by frequency"
    marks.append(_text(frame.middle, bottom + 32, words, text_anchor="middle", class_="muted"))
    return width, bottom + 38, marks


def _level(frame: Frame, y: float, label: str) -> tuple[Mark, Mark]:
    at = frame.y(y)
    line = _mark("path", d=f"M{frame.left:g} {at:.1f}H{frame.right:.1f}", class_="grid")
    return line, _text(frame.left - 7, at + 4, label, text_anchor="end")


def _end_names(frame: Frame, lines: Sequence[Line]) -> list[Mark]:
    """Names at the ends of the curves, pushed apart until none lies on another."""
    ends = sorted(((frame.y(line.points[-1][1]), line) for line in lines if line.points), key=lambda end: end[0])
    at = [y for y, _ in ends]
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + 13)
    over = max(0.0, at[-1] - frame.bottom) if at else 0.0
    return [
        _text(frame.right + 9, y + 4 - over, _short(line.name, 22), line.name, class_=f"name {line.slot}")
        for y, (_, line) in zip(at, ends, strict=True)
    ]


def _mark(element: str, words: str = "", hint: str = "", **attributes: object) -> Mark:
    """``class_`` stands for ``class`` and an underscore for a hyphen."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    rounded = {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in named.items()}
    return Mark(element, rounded, words, hint)


def _text(x: float, y: float, words: str, hint: str = "", **attributes: object) -> Mark:
    return _mark("text", words, "" if hint == words else hint, x=x, y=y, **attributes)


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
