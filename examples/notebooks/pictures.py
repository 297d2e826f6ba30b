"""Pictures for the notebooks: points in the plane as SVG, side by side, still or moving; and pixels."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import NamedTuple

from PIL import Image
from torch import Tensor

COLOURS = ("#0072b2", "#00855f", "#d55e00")  # of head, medium and tail
SIZE = 190  # of a panel, in pixels
REACH = 1.0  # a panel shows -REACH ... REACH


@dataclass(frozen=True)
class Picture:
    """SVG that a notebook shows."""

    svg: str = field(repr=False)

    def _repr_svg_(self) -> str:
        return self.svg


class Dots(NamedTuple):
    """Points (N, 2), or their ways (N, steps, 2), which move; with the area of each, or one for all."""

    at: Tensor
    colour: str
    area: Tensor | float = 4.0


def panels(titles: Sequence[str], dots: Sequence[Sequence[Dots]], seconds: float = 6.0) -> Picture:
    """A panel for each title; what moves takes so many seconds, and begins again."""
    parts = []
    for i, (title, groups) in enumerate(zip(titles, dots, strict=True)):
        left = i * (SIZE + 8)
        parts.append(f'<svg x="{left}" y="20" width="{SIZE}" height="{SIZE}">{"".join(map(_circles, groups))}</svg>')
        parts.append(f'<text x="{left + 3}" y="14">{title}</text>')
        parts.append(f'<rect x="{left}" y="20" width="{SIZE}" height="{SIZE}" fill="none" stroke="#999"/>')
    width, text = len(titles) * (SIZE + 8), "".join(parts).replace("DURATION", f"{seconds:g}s")
    style = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{SIZE + 24}" {style}>'
    return Picture(f'{head}<rect width="100%" height="100%" fill="white"/>{text}</svg>')


def _circles(dots: Dots) -> str:
    ways = dots.at if dots.at.dim() == 3 else dots.at.unsqueeze(1)
    pixels = (ways * ways.new_tensor([1, -1]) / REACH + 1) * SIZE / 2
    if not isinstance(dots.area, Tensor) and len(pixels[0]) == 1:
        points = "".join(f"M{x:.0f} {y:.0f}h0" for ((x, y),) in pixels.tolist())
        look = f'stroke="{dots.colour}" stroke-opacity="0.6" stroke-width="{2 * dots.area**0.5:.1f}"'
        return f'<path d="{points}" stroke-linecap="round" {look}/>'
    areas = dots.area.tolist() if isinstance(dots.area, Tensor) else [dots.area] * len(ways)
    drawn = []
    for way, area in zip(pixels.tolist(), areas, strict=True):
        (x, y), moves = way[-1], ""
        if area < 0.1:
            continue
        if len(way) > 1:
            for name, values in zip(("cx", "cy"), zip(*way, strict=True), strict=True):
                places = ";".join(f"{v:.0f}" for v in (*values, *[values[-1]] * 8))  # it rests at its end
                moves += f'<animate attributeName="{name}" dur="DURATION" repeatCount="indefinite" values="{places}"/>'
        drawn.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{area**0.5:.1f}">{moves}</circle>')
    return f'<g fill="{dots.colour}" fill-opacity="0.6">{"".join(drawn)}</g>'


def photo(image: Image.Image) -> Picture:
    """A picture of pixels."""
    stream = BytesIO()
    image.save(stream, "png")
    coded, (width, height) = base64.b64encode(stream.getvalue()).decode(), image.size
    size = f'width="{width}" height="{height}"'
    inside = f'<image {size} href="data:image/png;base64,{coded}"/>'
    return Picture(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{inside}</svg>')
