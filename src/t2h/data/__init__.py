"""Labelled images and their long tails."""

from t2h.data.config import DataConfig, load, load_whole, long_tail_rows
from t2h.data.groups import head_to_tail, shots, thirds
from t2h.data.longtail import long_tail_indices, profile_counts
from t2h.data.sources import SOURCES, load_images
from t2h.data.table import Images, ImageTable

__all__ = [
    "SOURCES",
    "DataConfig",
    "ImageTable",
    "Images",
    "head_to_tail",
    "load",
    "load_images",
    "load_whole",
    "long_tail_indices",
    "long_tail_rows",
    "profile_counts",
    "shots",
    "thirds",
]
