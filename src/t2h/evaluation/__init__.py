"""Evaluation: references, metrics overall, per group and per class, and results that carry their protocol."""

from t2h.evaluation.judge import Judge
from t2h.evaluation.point import evaluate_arrays
from t2h.evaluation.protocol import Provenance, make_result
from t2h.evaluation.reference import Reference, make_reference
from t2h.evaluation.reference_file import load_reference, save_reference
from t2h.results.options import MetricOptions

__all__ = [
    "Judge",
    "MetricOptions",
    "Provenance",
    "Reference",
    "evaluate_arrays",
    "load_reference",
    "make_reference",
    "make_result",
    "save_reference",
]
