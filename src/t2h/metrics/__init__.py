"""The figures: pure functions on arrays of features, labels and logits. They import nothing of ours but the error."""

from t2h.metrics.bootstrap import Interval, PairedDifference, Spread, bootstrap, mean_std, paired_bootstrap
from t2h.metrics.fid import (
    FeatureStatistics,
    StatisticsAccumulator,
    feature_statistics,
    fid_bootstrap,
    fid_from_features,
    frechet_distance,
)
from t2h.metrics.kid import KID, kernel_inception_distance, unbiased_mmd2
from t2h.metrics.neighbours import Neighbours, kth_neighbour_distance, nearest, neighbour_distances

__all__ = [
    "KID",
    "FeatureStatistics",
    "Interval",
    "Neighbours",
    "PairedDifference",
    "Spread",
    "StatisticsAccumulator",
    "bootstrap",
    "feature_statistics",
    "fid_bootstrap",
    "fid_from_features",
    "frechet_distance",
    "kernel_inception_distance",
    "kth_neighbour_distance",
    "mean_std",
    "nearest",
    "neighbour_distances",
    "paired_bootstrap",
    "unbiased_mmd2",
]
