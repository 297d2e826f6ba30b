"""What the page knows about figures: their names, which way is better, and how they are written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

#: The guidance at which the T2H paper reports, and every method is compared first.
PAPER_W = 1.5


@dataclass(frozen=True)
class Figure:
    """One measured number, or the reason why there is none."""

    value: float | None
    reason: str = ""
    interval: tuple[float, float] | None = None
    n: int | None = None
    n_reference: int | None = None

    @staticmethod
    def read(entry: Any) -> Figure:
        """A figure of a result file; what is not a finite number counts as absent."""
        entry = entry if isinstance(entry, dict) else {"value": entry}
        value, interval = _finite(entry.get("value")), entry.get("interval") or ()
        ends = tuple(end for end in map(_finite, interval) if end is not None)
        return Figure(
            value=value,
            reason=str(entry.get("reason") or ("" if value is not None else "not measured")),
            interval=(ends[0], ends[1]) if len(ends) == 2 and value is not None else None,
            n=entry.get("n"),
            n_reference=entry.get("n_reference"),
        )


@dataclass(frozen=True)
class Kind:
    """How a figure is called and read: ``better`` is "lower", "higher" or ""; ``percent`` for shares."""

    label: str
    better: str = ""
    percent: bool = False
    about: str = ""

    @property
    def arrow(self) -> str:
        """A sign for the heading of a column."""
        return {"lower": "↓", "higher": "↑"}.get(self.better, "")

    def text(self, value: float | None) -> str:
        """The value with about three digits that count; "—" for none."""
        if value is None:
            return "—"
        if self.percent:
            return f"{100 * value:.1f} %"
        return number(value)


_KINDS = {
    "fid": Kind("FID", "lower", about="distance between the features of samples and of real images"),
    "kid": Kind("KID", "lower", about="as FID, without its bias for few images"),
    "accuracy": Kind(
        "Accuracy", "higher", True, "share of samples that a classifier of real images takes for their class"
    ),
    "is": Kind("IS", "higher", about="Inception score"),
    "inception_score": Kind("IS", "higher", about="Inception score"),
    "precision": Kind("Precision", "higher", about="share of samples that lie among the real images"),
    "recall": Kind("Recall", "higher", about="share of real images that lie among the samples"),
    "density": Kind("Density", "higher", about="how densely real images surround the samples"),
    "coverage": Kind("Coverage", "higher", about="share of real images with a sample in their neighbourhood"),
    "f8": Kind("F8", "higher", about="recall side of the precision-recall distribution"),
    "f1_8": Kind("F1/8", "higher", about="precision side of the precision-recall distribution"),
    "diversity": Kind("Diversity", about="mean distance between samples of one class"),
    "diversity_real": Kind("Diversity, real", about="mean distance between real images of one class"),
    "memorisation": Kind(
        "Memorised", "lower", True, "share of samples that lie as near to a training image as a copy would"
    ),
}
_MAIN = ("fid", "kid", "is", "inception_score", "accuracy", "precision", "recall", "density", "coverage")
_MAIN_LAST = ("memorisation", "diversity")
_ALIASES = {"prd_f8": "f8", "f_8": "f8", "prd_f1_8": "f1_8", "f_1_8": "f1_8", "diversity_reference": "diversity_real"}


def kind_of(key: str) -> Kind:
    """What is known about the figure of this name; a suffix such as ``_k3`` goes into the label."""
    stem, neighbours = re.fullmatch(r"(.*?)(?:_k(\d+))?", key, re.DOTALL).groups()  # type: ignore[union-attr]
    known = _KINDS.get(_ALIASES.get(stem, stem), Kind(stem.replace("_", " ")))
    label = f"{known.label} (k={neighbours})" if neighbours else known.label
    return Kind(label, known.better, known.percent, known.about)


def main_keys(keys: Iterable[str]) -> list[str]:
    """The figures that the page shows first, of these; the others are a click away.

    Of precision, recall, density and coverage those of the smallest k; neither PRD nor the real images' own diversity.
    Where none of the well-known figures is there, all are shown.
    """
    given = list(dict.fromkeys(keys))
    known = [key for key in _MAIN if key in given]
    for stem in ("precision", "recall", "density", "coverage"):
        with_k = [key for key in given if re.fullmatch(rf"{stem}_k\d+", key)]
        known += sorted(with_k, key=lambda key: int(key.rpartition("_k")[2]))[:1]
    return [*known, *(key for key in _MAIN_LAST if key in given)] or given


def is_better(kind: Kind, a: float, b: float) -> bool:
    """Whether a is better than b; never, where the figure has no better side."""
    return bool(kind.better) and (a < b if kind.better == "lower" else a > b)


def number(value: float) -> str:
    """Three digits that count: 134, 16.1, 8.53, 0.412, 0.0031."""
    size = abs(value)
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3 if size >= 0.01 else 5
    return f"{value:,.{decimals}f}" if size else "0"


def count(value: object) -> str:
    """A whole number with thousands apart, or "—"."""
    return f"{int(value):,}" if isinstance(value, int | float) and math.isfinite(value) else "—"


def guidance(w: float | None) -> str:
    """The guidance weight as "w = 1.5"; samples that others drew may not tell it."""
    return "unknown w" if w is None else f"w = {w:g}"


def listing(words: list[str]) -> str:
    """Words in a row: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
