"""Bar charts and line charts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from t2h.report.axes import CHARACTER, WIDTH, Frame, Line, axis_text, ticks
from t2h.report.drawing import Chart, Mark, mark, text

MANY = 40  # from here on classes have no room for their names


class Bar(NamedTuple):
    """One bar: its colour, its length (None: absent), what stands at its end and what a pointer over it shows."""

    slot: str
    value: float | None
    text: str
    hint: str = ""
    interval: tuple[float, float] | None = None


class BarRow(NamedTuple):
    """The bars of one category."""

    label: str
    bars: tuple[Bar, ...]


def bar_chart(title: str, rows: Sequence[BarRow], y_text: Callable[[float], str] = axis_text) -> Chart:
    """Horizontal bars, a group for each row, names at the left; beyond `MANY` rows thin vertical ones, unnamed."""
    description = "; ".join(f"{row.label}: {', '.join(bar.text for bar in row.bars)}" for row in rows)
    ends = [end for row in rows for b in row.bars if b.value is not None for end in (b.value, *(b.interval or ()))]
    top = max([*ends, 0.0]) or 1.0
    width, height, marks = _horizontal(rows, top) if len(rows) <= MANY else _vertical(rows, top, y_text)
    return Chart(title, description, width, height, tuple(marks))


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
    marks = _axes(frame, x_label, x_text, y_text, x_ticks)
    if marked_x is not None and frame.x_low <= marked_x <= frame.x_high:
        marks.append(mark("path", d=f"M{frame.x(marked_x):.1f} {frame.top:g}V{frame.bottom:g}", class_="mark"))
    for line in lines:
        spans = [(x, *pair) for x, pair in zip(line.x, line.intervals, strict=False) if pair]
        if len(spans) > 1:
            outline = [(x, low) for x, low, _ in spans] + [(x, high) for x, _, high in reversed(spans)]
            marks.append(mark("path", d=frame.path(outline, closed=True), class_=f"band {line.slot}"))
    for line in lines:
        if line.points:
            marks.append(mark("path", d=frame.path(line.points), class_=f"line {line.slot}"))
        for x, y in line.points if line.markers else []:
            hint = f"{line.name}: {y_text(y)} at {x_text(x)}"
            marks.append(mark("circle", "", hint, cx=frame.x(x), cy=frame.y(y), r=3.2, class_=f"dot {line.slot}"))
    described = []
    for line in lines:
        some = line.points[:: -max(1, len(line.points) // 20)][::-1]  # at most forty, the last one among them
        described.append(f"{line.name}: {', '.join(f'{y_text(y)} at {x_text(x)}' for x, y in some)}")
    description = f"{x_label}. {'; '.join(described)}.{' Logarithmic axis.' if frame.log else ''}"
    return Chart(title, description, WIDTH, frame.bottom + 42, (*marks, *_end_names(frame, lines)))


def _horizontal(rows: Sequence[BarRow], top: float) -> tuple[float, float, list[Mark]]:
    label_width = min(max((len(row.label) for row in rows), default=1), 16) * CHARACTER + 10
    text_width = max((len(bar.text) for row in rows for bar in row.bars), default=1) * CHARACTER + 8
    scale, marks, y = (WIDTH - label_width - text_width) / top, [], 4.0
    thick, gap = (15.0, 5) if all(len(row.bars) == 1 for row in rows) else (11.0, 7)
    for row in rows:
        middle = y + thick * len(row.bars) / 2 + 4
        marks.append(text(label_width - 8, middle, _short(row.label, 16), row.label, text_anchor="end"))
        for bar in row.bars:
            end = label_width
            if bar.value is not None:
                length = max(bar.value * scale, 0.75)
                place = {"x": label_width, "y": y, "width": length, "height": thick - 1}
                marks.append(mark("rect", "", bar.hint, **place, class_=bar.slot))
                end += length
                if bar.interval:
                    a, b = (label_width + max(x, 0.0) * scale for x in bar.interval)
                    marks.append(mark("path", d=f"M{a:.1f} {y + thick / 2 - 0.5:.1f}H{b:.1f}", class_="whisker"))
                    end = max(end, b)
            marks.append(text(end + 5, y + thick - 3, bar.text, bar.hint, class_="value"))
            y += thick
        y += gap
    return WIDTH, y, marks


def _vertical(rows: Sequence[BarRow], top: float, y_text: Callable[[float], str]) -> tuple[float, float, list[Mark]]:
    """A lane for each bar of a row, one under the other and all to the same scale."""
    width, tall, gap, step = 2 * WIDTH, 96.0, 22.0, ticks(0.0, top, 3)[1]
    levels = [i * step for i in range(math.ceil(top / step - 1e-9) + 1)]
    lanes, marks = max(len(row.bars) for row in rows), []
    for lane in range(lanes):
        bottom = 10 + tall + lane * (tall + gap)
        frame = Frame(0.5, len(rows) + 0.5, 0.0, levels[-1], right=width - 12, top=bottom - tall, bottom=bottom)
        marks += [each for y in levels for each in _level(frame, y, y_text(y))]
        for rank, row in enumerate(rows, start=1):
            bar = row.bars[lane]
            x, y = frame.x(rank - 0.42), frame.y(bar.value or 0.0)
            place = {"x": x, "y": y, "width": frame.x(rank + 0.42) - x, "height": bottom - y}
            marks.append(mark("rect", "", bar.hint, **place, class_=bar.slot))
    ranks = (1, *range(20, len(rows) + 1, 20))
    marks += [text(frame.x(float(rank)), bottom + 15, str(rank), text_anchor="middle") for rank in ranks]
    centre = (frame.left + frame.right) / 2
    marks.append(text(centre, bottom + 32, "rank of the class by frequency", text_anchor="middle", class_="muted"))
    return width, bottom + 38, marks


def _axes(
    frame: Frame,
    x_label: str,
    x_text: Callable[[float], str],
    y_text: Callable[[float], str],
    x_ticks: Sequence[float] | None = None,
) -> list[Mark]:
    marks = [each for y in frame.y_ticks for each in _level(frame, y, y_text(y))]
    for x in ticks(frame.x_low, frame.x_high, 4) if x_ticks is None else x_ticks:
        marks.append(text(frame.x(x), frame.bottom + 16, x_text(x), text_anchor="middle"))
    centre = (frame.left + frame.right) / 2
    return [*marks, text(centre, frame.bottom + 34, x_label, text_anchor="middle", class_="muted")]


def _level(frame: Frame, y: float, label: str) -> tuple[Mark, Mark]:
    at = frame.y(y)
    line = mark("path", d=f"M{frame.left:g} {at:.1f}H{frame.right:.1f}", class_="grid")
    return line, text(frame.left - 7, at + 4, label, text_anchor="end")


def _end_names(frame: Frame, lines: Sequence[Line]) -> list[Mark]:
    """Names at the ends of the curves, pushed apart until none lies on another."""
    ends = sorted(((frame.y(line.points[-1][1]), line) for line in lines if line.points), key=lambda end: end[0])
    at = [y for y, _ in ends]
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + 13)
    over = max(0.0, at[-1] - frame.bottom) if at else 0.0
    return [
        text(frame.right + 9, y + 4 - over, _short(line.name, 22), line.name, class_=f"name {line.slot}")
        for y, (_, line) in zip(at, ends, strict=True)
    ]


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
