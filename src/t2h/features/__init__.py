"""What evaluation sees of an image: feature networks behind one small interface."""

from t2h.features.base import FeatureExtractor, extract, extract_cached
from t2h.features.load import load_extractor

__all__ = ["FeatureExtractor", "extract", "extract_cached", "load_extractor"]
