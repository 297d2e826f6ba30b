"""The pictures docs/img/methods-*.svg: what each method does, on the toy of examples/notebooks/idea.ipynb.

python benchmarks/pictures_methods.py
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from t2h import NoiseSchedule, reference_posterior
from t2h.methods.cm import capacity_weights

OUT = Path(__file__).parents[1] / "docs" / "img"
WIDTH, HEIGHT = 380, 270
SCALE = 190  # pixels of a unit of the plane
COLOURS = ("#0072b2", "#00855f", "#d55e00")  # of head, medium and tail
COUNTS = torch.tensor([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])  # of CIFAR10-LT
T = 130  # how noisy the point is
Point = Sequence[float] | Tensor


class Drawing:
    """An SVG in which the toy's plane, -1 ... 1 by 0 ... 1, is above a line of text."""

    def __init__(self, title: str) -> None:
        self.title, self.parts = title, [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']

    def at(self, p: Point) -> tuple[float, float]:
        return WIDTH / 2 + SCALE * float(p[0]), 215 - SCALE * float(p[1])

    def dot(self, p: Point, colour: str, radius: float = 3, opacity: float = 1.0) -> None:
        x, y = self.at(p)
        self.parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}" fill="{colour}" opacity="{opacity:g}"/>')

    def ring(self, p: Point, radius: float, colour: str = "black", dashed: bool = False) -> None:
        x, y = self.at(p)
        dash = ' stroke-dasharray="4 4"' * dashed
        self.parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.0f}" fill="none" stroke="{colour}"{dash}/>')

    def arrow(self, start: Point, end: Point, width: float = 2.0, dashed: bool = False, gap: float = 7.0) -> None:
        """From one point to short of another."""
        (x0, y0), (x1, y1) = self.at(start), self.at(end)
        length = math.hypot(x1 - x0, y1 - y0)
        u, v = (x1 - x0) / length, (y1 - y0) / length
        x0, y0, x1, y1 = x0 + gap * u, y0 + gap * v, x1 - gap * u, y1 - gap * v
        head = f"M{x1 - 7 * u - 4 * v:.0f} {y1 - 7 * v + 4 * u:.0f}L{x1:.0f} {y1:.0f}L{x1 - 7 * u + 4 * v:.0f} "
        head += f"{y1 - 7 * v - 4 * u:.0f}"
        dash = ' stroke-dasharray="4 4"' * dashed
        look = f'fill="none" stroke="black" stroke-width="{width:g}"'
        self.parts.append(f'<path d="M{x0:.0f} {y0:.0f}L{x1:.0f} {y1:.0f}" {look}{dash}/><path d="{head}" {look}/>')

    def bar(self, left: float, base: float, width: float, height: float, colour: str) -> None:
        """In pixels; a negative height goes down."""
        top = base - max(height, 0)
        size = f'width="{width:.0f}" height="{abs(height):.1f}"'
        self.parts.append(f'<rect x="{left:.0f}" y="{top:.1f}" {size} fill="{colour}"/>')

    def write(self, x: float, y: float, text: str, anchor: str = "middle") -> None:
        """In pixels."""
        self.parts.append(
            f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" stroke="white" stroke-width="3">{text}</text>'
        )

    def label(self, p: Point, text: str, dx: float = 0, dy: float = -10, anchor: str = "middle") -> None:
        x, y = self.at(p)
        self.write(x + dx, y + dy, text, anchor)

    def svg(self) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        )
        style = 'font-family="sans-serif" font-size="14" paint-order="stroke"'
        return f"{head} {style}>\n<title>{self.title}</title>\n" + "\n".join(self.parts) + "\n</svg>\n"


class Toy:
    """Arcs of 120, 30 and 6 points, a noisy point of the tail, and where it may have come from."""

    def __init__(self) -> None:
        draws, arcs = torch.Generator().manual_seed(0), []
        for k, n in enumerate((120, 30, 6)):
            angle = (torch.arange(n) + 0.5) / n * torch.pi
            points = (0.4 + 0.25 * k) * torch.stack([angle.cos(), angle.sin()], dim=1)
            arcs.append(points + 0.02 * torch.randn(points.shape, generator=draws))
        self.x, self.y = torch.cat(arcs), torch.arange(3).repeat_interleave(torch.tensor([120, 30, 6]))
        self.own, eps, t = self.x[-3], torch.tensor([-0.35, -0.85]), torch.tensor([T])
        process = NoiseSchedule()
        self.noisy = self.own + process.sigma(t).item() * eps
        shape = (-1, 2, 1, 1)
        self.p = reference_posterior(self.own.view(shape), eps.view(shape), self.x.view(shape), t, process)[0]

    def mean(self, k: int | None = None) -> Tensor:
        """The posterior's mean, over all points or those of a class: the output of the best network for its label."""
        p = self.p * (self.y == k) if k is not None else self.p
        return (p @ self.x) / p.sum()

    def draw(self, drawing: Drawing, faint: bool = False) -> None:
        for p, k, share in zip(self.x, self.y.tolist(), self.p.tolist(), strict=True):
            drawing.dot(p, COLOURS[k], 1.6, 0.5)
            if not faint and share > 0.003:
                drawing.dot(p, COLOURS[k], 40 * share**0.5, 0.5)
        drawing.dot(self.noisy, "black", 5)


TOY = Toy()


def t2h() -> Drawing:
    drawing = Drawing("A noisy point of the tail aims at a point of the head that it may have come from")
    TOY.draw(drawing)
    aim = TOY.x[44]
    drawing.ring(TOY.own, 8)
    drawing.ring(aim, 8)
    drawing.arrow(TOY.noisy, TOY.own, 1.5, dashed=True, gap=9)
    drawing.arrow(TOY.noisy, aim, 2.5, gap=9)
    drawing.label(TOY.own, "own x₀ (tail)", dy=-14)
    drawing.label(TOY.noisy, "noisy point", dx=-12, dy=4, anchor="end")
    drawing.label(aim, "aim x̂₀ (head)", dx=6, dy=26)
    drawing.write(WIDTH / 2, 258, "area of a dot: chance that the noisy point came from it")
    return drawing


def stf() -> Drawing:
    drawing = Drawing("A noisy point aims at the mean of all points that it may have come from")
    TOY.draw(drawing)
    drawing.ring(TOY.own, 8)
    drawing.arrow(TOY.noisy, TOY.own, 1.5, dashed=True, gap=9)
    drawing.arrow(TOY.noisy, TOY.mean(), 2.5, gap=5)
    drawing.dot(TOY.mean(), "black", 4)
    drawing.label(TOY.own, "own x₀", dy=-14)
    drawing.label(TOY.noisy, "noisy point", dx=-12, dy=4, anchor="end")
    drawing.label(TOY.mean(), "aim: the mean", dy=26)
    drawing.write(WIDTH / 2, 258, "area of a dot: chance that the noisy point came from it")
    return drawing


def outputs(drawing: Drawing) -> tuple[Tensor, Tensor]:
    """The outputs for the tail's label and for the head's."""
    TOY.draw(drawing, faint=True)
    mine, other = TOY.mean(2), TOY.mean(0)
    drawing.dot(mine, COLOURS[2], 8)
    drawing.dot(other, COLOURS[0], 8)
    drawing.label(TOY.noisy, "x_t", dx=-10, dy=4, anchor="end")
    return mine, other


def cbdm() -> Drawing:
    drawing = Drawing("The outputs for the true label and for another are pulled together")
    mine, other = outputs(drawing)
    middle = other + 0.3 * (mine - other)
    drawing.arrow(mine, middle, 3.5, gap=10)
    drawing.arrow(other, middle, 1.2, gap=9)
    drawing.label(mine, "f(x_t, y)", dy=-14)
    drawing.label(other, "f(x_t, y′)", dx=14, dy=14, anchor="start")
    drawing.write(WIDTH / 2, 258, "pulled together: the true label's with 1, the other's with ¼")
    return drawing


def diffrop() -> Drawing:
    drawing = Drawing("The outputs for the true label and for another are pushed apart, up to a margin")
    mine, other = outputs(drawing)
    direction = (mine - other) / (mine - other).norm()
    drawing.ring(mine, 110, "#777", dashed=True)
    drawing.arrow(mine, mine + 0.3 * direction, 2.5, gap=10)
    drawing.arrow(other, other - 0.3 * direction, 2.5, gap=10)
    drawing.label(mine, "f(x_t, y)", dx=14, dy=4, anchor="start")
    drawing.label(other, "f(x_t, c)", dx=14, dy=4, anchor="start")
    drawing.write(WIDTH / 2, 258, "pushed apart while nearer than the margin (dashed)")
    return drawing


def circle(drawing: Drawing, vectors: Sequence[tuple[float, int]]) -> list[Tensor]:
    """Unit vectors by their angle in degrees and class, on a circle."""
    centre = torch.tensor([0.0, 0.48])
    drawing.ring(centre, 0.5 * SCALE, "#999")
    points = []
    for degrees, k in vectors:
        angle = math.radians(degrees)
        points.append(centre + 0.5 * torch.tensor([math.cos(angle), math.sin(angle)]))
        drawing.dot(points[-1], COLOURS[k], 8)
    return points


def coral() -> Drawing:
    drawing = Drawing("On the unit sphere of the bottleneck's head, classes gather and move apart")
    points = circle(drawing, [(55, 0), (85, 0), (115, 0), (215, 1), (185, 1), (20, 2), (345, 2)])
    for start, end in ((0, 1), (2, 1), (3, 4), (4, 3), (5, 6), (6, 5)):
        drawing.arrow(points[start], points[start] + 0.55 * (points[end] - points[start]), 2, gap=8)
    drawing.arrow(points[0], points[5], 1.2, dashed=True, gap=10)
    drawing.arrow(points[5], points[0], 1.2, dashed=True, gap=10)
    drawing.label(points[1], "head", dy=-14)
    drawing.label(points[4], "medium", dx=-14, dy=12, anchor="end")
    drawing.label(points[6], "tail", dx=14, dy=10, anchor="start")
    drawing.write(WIDTH / 2, 258, "z: same class together, other classes apart (dashed)")
    return drawing


def ccua() -> Drawing:
    drawing = Drawing("Unlabelled bottlenecks repel each other; labelled outputs approach the unlabelled one")
    centre = torch.tensor([-0.45, 0.5])
    drawing.ring(centre, 0.32 * SCALE, "#999")
    for degrees, k in ((60, 0), (100, 0), (190, 1), (320, 2)):
        direction = torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
        drawing.dot(centre + 0.32 * direction, COLOURS[k], 8)
        drawing.arrow(centre + 0.32 * direction, centre + 0.53 * direction, 2, gap=9)
    middle = torch.tensor([0.5, 0.4])
    drawing.dot(middle, "#777", 8)
    for k, place in enumerate(((0.25, 0.05), (0.25, 0.8), (0.85, 0.7))):
        drawing.dot(place, COLOURS[k], 8)
        drawing.arrow(place, middle, 2.5, gap=11)
    drawing.label(middle, "f(x_t, ∅)", dx=12, dy=18, anchor="start")
    drawing.label((0.85, 0.7), "f(x_t, y)", dx=-4, dy=-14)
    drawing.write(95, 258, "h of all images: apart")
    drawing.write(285, 258, "outputs: to the unlabelled")
    return drawing


def bars(drawing: Drawing, values: Sequence[float], left: float, base: float, height: float, width: float) -> None:
    """One bar a class, from head to tail; the largest has this height."""
    largest = max(map(abs, values))
    for i, value in enumerate(values):
        drawing.bar(
            left + i * width,
            base,
            width - 3,
            height * value / largest,
            COLOURS[sum(i >= k * len(values) // 3 for k in (1, 2))],
        )


def cm() -> Drawing:
    drawing = Drawing("Weight of D for the classes of CIFAR10-LT: above zero for the head, below it for the tail")
    weights = capacity_weights(COUNTS, 1.0, 0.2)
    bars(drawing, weights.tolist(), 35, 195, 155, 31)
    for i in (0, 4, 9):
        low = 16 if weights[i] > 0 else 20 + 155 * abs(weights[i]) / weights.max()
        drawing.write(35 + 31 * i + 14, 195 + float(low), f"{weights[i]:+.2f}")
    drawing.write(350, 50, "above zero: do without BA", "end")
    drawing.write(350, 70, "below: use it", "end")
    drawing.write(WIDTH / 2, 262, "weight of D by class, CIFAR10-LT, head to tail")
    return drawing


def resampling() -> Drawing:
    drawing = Drawing("Shares of a batch by class for q = 1, 0.5 and 0, CIFAR10-LT")
    for i, q in enumerate((1.0, 0.5, 0.0)):
        share = COUNTS**q / (COUNTS**q).sum()
        bars(drawing, share.tolist(), 12 + 124 * i, 205, 400 * float(share.max()), 11)
        drawing.write(66 + 124 * i, 225, f"q = {q:g}")
        drawing.write(66 + 124 * i, 30, f"tail {share[-1]:.1%}")
    drawing.write(WIDTH / 2, 262, "share of a batch by class, CIFAR10-LT, head to tail")
    return drawing


METHODS: tuple[Callable[[], Drawing], ...] = (t2h, stf, cbdm, diffrop, coral, ccua, cm, resampling)


def main(out: Path = OUT) -> None:
    for method in METHODS:
        (out / f"methods-{method.__name__}.svg").write_text(method().svg(), "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
