"""One self-contained HTML page of runs and results, made from their files alone."""

from t2h.grid import sample_grid
from t2h.report.page import write_report

__all__ = ["sample_grid", "write_report"]
