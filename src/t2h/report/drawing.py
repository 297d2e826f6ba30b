"""A drawing as SVG, with a title and a description of its numbers for those who cannot see it.

Colours are CSS classes, so a drawing in a page follows the reader's light or dark mode.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from t2h.report.axes import WIDTH
from t2h.report.templates import render


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
    marks: tuple[Mark, ...]

    @property
    def wide(self) -> bool:
        """Whether a phone has to scroll it."""
        return self.width > WIDTH

    def __html__(self) -> str:
        """As part of a page, which has the style; templates insert it as it is."""
        return render("report/chart.svg.j2", chart=self)

    def file(self, legend: Sequence[tuple[str, str]] = ()) -> str:
        """As a file of its own, in light colours, with its title and a legend of (slot, text)."""
        marks = [text(0.0, -16.0, self.title, class_="name")]
        for i, (slot, name) in enumerate(legend):
            x = i * WIDTH / len(legend)
            marks.append(mark("rect", x=x, y=self.height + 5, width=9, height=9, class_=slot))
            marks.append(text(x + 14, self.height + 13, name))
        colours, _, rules = (files("t2h.report") / "chart.css").read_text("utf-8").partition("@media")
        values = dict(re.findall(r"--([\w-]+): (#\w+)", colours))  # not every reader of SVG knows variables
        style = re.sub(r"var\(--([\w-]+)\)", lambda name: values[name[1]], rules[rules.index(".chart") :])
        return render("report/chart.svg.j2", chart=self, style=style, around=marks) + "\n"


def mark(element: str, words: str = "", hint: str = "", **attributes: object) -> Mark:
    """``class_`` stands for ``class`` and an underscore for a hyphen."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    rounded = {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in named.items()}
    return Mark(element, rounded, words, hint)


def text(x: float, y: float, words: str, hint: str = "", **attributes: object) -> Mark:
    return mark("text", words, "" if hint == words else hint, x=x, y=y, **attributes)
