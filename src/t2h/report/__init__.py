"""One self-contained HTML page of runs and results, made from their files alone."""

from t2h.report.page import write_report
from t2h.samples.grid import sample_grid

__all__ = ["sample_grid", "write_report"]
