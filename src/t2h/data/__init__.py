"""Labelled images and their long tails."""

from t2h.data.table import Images, ImageTable

__all__ = ["ImageTable", "Images"]
