"""Charts as inline SVG. Colours are CSS classes, so they follow the reader's light or dark mode; every chart carries a
title and a description with its numbers for those who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from t2h.report.axes import CHARACTER, WIDTH, Frame, Line, ticks
from t2h.report.figures import number
from t2h.report.markup import Html, tag

MANY = 40  # from here on classes have no room for their names


@dataclass(frozen=True)
class Bar:
    """One bar: its colour, its length (None: absent), what stands at its end and what a pointer over it shows."""

    slot: str
    value: float | None
    text: str
    hint: str = ""
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class BarRow:
    """The bars of one category."""

    label: str
    bars: tuple[Bar, ...]


def bar_chart(title: str, rows: Sequence[BarRow], y_text: Callable[[float], str] = number) -> Html:
    """Horizontal bars, a group for each row, names at the left; beyond `MANY` rows thin vertical ones, unnamed."""
    description = "; ".join(f"{row.label}: {', '.join(bar.text for bar in row.bars)}" for row in rows)
    top = max((_reach(bar) for row in rows for bar in row.bars), default=0.0) or 1.0
    width, height, marks = _horizontal(rows, top) if len(rows) <= MANY else _vertical(rows, top, y_text)
    return _svg(title, description, width, height, marks)


def line_chart(
    title: str,
    lines: Sequence[Line],
    x_label: str,
    x_text: Callable[[float], str] = number,
    y_text: Callable[[float], str] = number,
    x_ticks: Sequence[float] | None = None,
    y_range: tuple[float, float] | None = None,
    mark: float | None = None,
) -> Html:
    """Curves with their names at their right ends and shaded intervals.

    Args:
        x_ticks: where the x axis has numbers; round numbers if None.
        y_range: the range of the y axis. If None it starts at 0, or is logarithmic when values span a factor above 20.
        mark: an x that a dashed line points out.
    """
    frame = Frame.around(lines, y_range)
    grid = [_y_tick(frame, y, y_text(y)) for y in frame.y_ticks]
    x_at = x_ticks if x_ticks is not None else ticks(frame.x_low, frame.x_high, 4)
    axis = [_text(frame.x(x), frame.bottom + 16, x_text(x), anchor="middle") for x in x_at]
    title_x = _text((frame.left + frame.right) / 2, frame.bottom + 34, x_label, anchor="middle", class_="muted")
    marked = _mark(frame, mark) if mark is not None else None
    bands = [_band(frame, line) for line in lines]
    curves = [_curve(frame, line, y_text) for line in lines]
    described = "; ".join(
        f"{line.name}: {', '.join(f'{y_text(y)} at {x_text(x)}' for x, y in _some(line.points))}" for line in lines
    )
    marks = [grid, axis, title_x, marked, bands, curves, _end_labels(frame, lines)]
    scale = " Logarithmic axis." if frame.log else ""
    return _svg(title, f"{x_label}. {described}.{scale}", WIDTH, frame.bottom + 42, marks)


def area_chart(title: str, edges: Sequence[float], layers: Sequence[Line], x_label: str) -> Html:
    """Shares of bins, stacked: each layer has one y in 0 ... 1 per bin, drawn as steps between the edges."""
    frame = Frame(min(edges), max(edges), 0.0, 1.0, False, WIDTH - 16)
    grid = [_y_tick(frame, y, f"{100 * y:.0f} %") for y in (0.0, 0.25, 0.5, 0.75, 1.0)]
    axis = [
        _text(frame.x(x), frame.bottom + 16, f"{x:g}", anchor="middle") for x in ticks(frame.x_low, frame.x_high, 5)
    ]
    base, areas, described = [0.0] * (len(edges) - 1), [], []
    for layer in layers:
        top = [b + (y or 0.0) for b, y in zip(base, layer.y, strict=True)]
        areas.append(tag("path", _hint(layer.name), d=_steps(frame, edges, base, top), class_=f"area {layer.slot}"))
        described.append(f"{layer.name}: " + ", ".join(f"{100 * (y or 0):.0f} %" for y in layer.y))
        base = top
    title_x = _text((frame.left + frame.right) / 2, frame.bottom + 34, x_label, anchor="middle", class_="muted")
    return _svg(title, "; ".join(described), WIDTH, frame.bottom + 42, [areas, grid, axis, title_x])


def legend(entries: Sequence[tuple[str, str]]) -> Html:
    """Names with their colours, as text beside the charts: pairs of (slot, name)."""
    items = [tag("li", tag("span", class_=f"swatch {slot}", aria_hidden="true"), name) for slot, name in entries]
    return tag("ul", items, class_="legend")


def _horizontal(rows: Sequence[BarRow], top: float) -> tuple[float, float, list[Html]]:
    label_width = min(max((len(row.label) for row in rows), default=1), 16) * CHARACTER + 10
    text_width = max((len(bar.text) for row in rows for bar in row.bars), default=1) * CHARACTER + 8
    scale, marks, y = (WIDTH - label_width - text_width) / top, [], 4.0
    thick = 15.0 if all(len(row.bars) == 1 for row in rows) else 11.0
    for row in rows:
        middle = y + thick * len(row.bars) / 2 + 4
        marks.append(_text(label_width - 8, middle, _short(row.label, 16), anchor="end", hint=row.label))
        for bar in row.bars:
            length = max(bar.value or 0.0, 0.0) * scale
            box = tag(
                "rect", _hint(bar.hint), x=label_width, y=y, width=max(length, 0.75), height=thick - 1, class_=bar.slot
            )
            marks.append(box if bar.value is not None else tag("g"))
            if bar.interval and bar.value is not None:
                a, b = (label_width + max(end, 0.0) * scale for end in bar.interval)
                marks.append(tag("path", d=f"M{a:.1f} {y + thick / 2 - 0.5:.1f}H{b:.1f}", class_="whisker"))
                length = max(length, b - label_width)
            marks.append(_text(label_width + length + 5, y + thick - 3, bar.text, class_="value", hint=bar.hint))
            y += thick
        y += 5 if thick > 11 else 7
    return WIDTH, y, marks


def _vertical(rows: Sequence[BarRow], top: float, y_text: Callable[[float], str]) -> tuple[float, float, list[Html]]:
    """A lane for each bar of a row, one under the other and all to the same scale."""
    width, left, tall, gap = 2 * WIDTH, 46.0, 96.0, 22.0
    lanes = max(len(row.bars) for row in rows)
    at = ticks(0.0, top, 3)
    top = at[1] * math.ceil(top / at[1] - 1e-9)
    at = [round(i * at[1], 12) for i in range(round(top / at[1]) + 1)]
    step, marks, base = (width - left - 12) / len(rows), [], 0.0
    for lane in range(lanes):
        base = 10 + tall + lane * (tall + gap)
        for y in at:
            level = base - tall * y / top
            marks.append(tag("path", d=f"M{left} {level:.1f}H{width - 12}", class_="grid"))
            marks.append(_text(left - 7, level + 4, y_text(y), anchor="end"))
        for i, row in enumerate(rows):
            bar = row.bars[lane]
            height = tall * max(bar.value or 0.0, 0.0) / top
            place = {"x": left + (i + 0.08) * step, "y": base - height, "width": step * 0.84, "height": height}
            marks.append(tag("rect", _hint(bar.hint), **place, class_=bar.slot))
    for rank in (1, *range(20, len(rows) + 1, 20)):
        marks.append(_text(left + (rank - 0.5) * step, base + 15, str(rank), anchor="middle"))
    marks.append(
        _text((left + width) / 2, base + 32, "rank of the class by frequency", anchor="middle", class_="muted")
    )
    return width, base + 38, marks


def _reach(bar: Bar) -> float:
    return max(bar.value or 0.0, bar.interval[1] if bar.interval and bar.value is not None else 0.0)


def _y_tick(frame: Frame, y: float, text: str) -> Html:
    at = frame.y(y)
    line = tag("path", d=f"M{frame.left:g} {at:.1f}H{frame.right:.1f}", class_="grid")
    return tag("g", line, _text(frame.left - 7, at + 4, text, anchor="end"))


def _mark(frame: Frame, x: float) -> Html | None:
    if not frame.x_low <= x <= frame.x_high:
        return None
    return tag("path", d=f"M{frame.x(x):.1f} {frame.top:g}V{frame.bottom:g}", class_="mark")


def _curve(frame: Frame, line: Line, y_text: Callable[[float], str]) -> Html:
    at = [(frame.x(x), frame.y(y)) for x, y in line.points]
    path = tag("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at), class_=f"line {line.slot}") if at else None
    dots = [
        tag("circle", _hint(f"{line.name}: {y_text(y)} at {x:g}"), cx=px, cy=py, r=3.2, class_=f"dot {line.slot}")
        for (px, py), (x, y) in zip(at, line.points, strict=True)
    ]
    return tag("g", path, dots if line.markers else None)


def _band(frame: Frame, line: Line) -> Html | None:
    spans = [(frame.x(x), *map(frame.y, pair)) for x, pair in zip(line.x, line.intervals, strict=False) if pair]
    if len(spans) < 2:
        return None
    outline = [(x, low) for x, low, _ in spans] + [(x, high) for x, _, high in reversed(spans)]
    return tag("path", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in outline) + "Z", class_=f"band {line.slot}")


def _end_labels(frame: Frame, lines: Sequence[Line]) -> list[Html]:
    """Names at the ends of the curves, pushed apart until none lies on another."""
    ends = sorted(((frame.y(line.points[-1][1]), line) for line in lines if line.points), key=lambda end: end[0])
    at = [y for y, _ in ends]
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + 13)
    over = max(0.0, at[-1] - frame.bottom) if at else 0.0
    return [
        _text(frame.right + 9, y + 4 - over, _short(line.name, 22), class_=f"name {line.slot}", hint=line.name)
        for y, (_, line) in zip(at, ends, strict=True)
    ]


def _steps(frame: Frame, edges: Sequence[float], base: Sequence[float], top: Sequence[float]) -> str:
    there = [f"{frame.x(x):.1f} {frame.y(y):.1f}" for y, ends in zip(top, pairwise(edges), strict=True) for x in ends]
    back = [f"{frame.x(x):.1f} {frame.y(y):.1f}" for y, ends in zip(base, pairwise(edges), strict=True) for x in ends]
    return "M" + "L".join(there + back[::-1]) + "Z"


def _some(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about a dozen of the points, the last one among them."""
    step = max(1, len(points) // 10)
    return points[::-step][::-1]


def _text(x: float, y: float, text: str, anchor: str | None = None, class_: str | None = None, hint: str = "") -> Html:
    return tag(
        "text", _hint(hint) if hint and hint != text else None, text, x=x, y=y, text_anchor=anchor, class_=class_
    )


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _hint(text: str) -> Html | None:
    return tag("title", text) if text else None


def _svg(title: str, description: str, width: float, height: float, marks: list) -> Html:
    wide = " wide" if width > WIDTH else ""
    drawing = tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        marks,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=title,
        class_=f"chart{wide}",
    )
    return tag("div", drawing, class_="scroll") if wide else drawing
