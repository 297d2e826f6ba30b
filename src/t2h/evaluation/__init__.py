"""Evaluation: references, figures overall, per group and per class, and result files that carry their protocol."""

from t2h.evaluation.figures import FigureOptions, Judge
from t2h.evaluation.point import Setting, evaluate_arrays
from t2h.evaluation.reference import Reference, make_reference
from t2h.evaluation.reference_file import load_reference, save_reference
from t2h.evaluation.result import Provenance, label_kind, make_result, read_result, write_result

__all__ = [
    "FigureOptions",
    "Judge",
    "Provenance",
    "Reference",
    "Setting",
    "evaluate_arrays",
    "label_kind",
    "load_reference",
    "make_reference",
    "make_result",
    "read_result",
    "save_reference",
    "write_result",
]
