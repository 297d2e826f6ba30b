"""Evaluation: references, figures overall, per group and per class, and result files that carry their protocol."""

from t2h.evaluation.figures import FigureOptions, Judge
from t2h.evaluation.point import Setting, evaluate_arrays
from t2h.evaluation.reference import Reference, make_reference
from t2h.evaluation.reference_file import load_reference, save_reference

__all__ = [
    "FigureOptions",
    "Judge",
    "Reference",
    "Setting",
    "evaluate_arrays",
    "load_reference",
    "make_reference",
    "save_reference",
]
