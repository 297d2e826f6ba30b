"""The metrics: pure functions on arrays of features, labels and logits. They import nothing of ours but the error."""

from t2h.metrics.accuracy import Accuracy, accuracy
from t2h.metrics.diversity import mean_pairwise_distance
from t2h.metrics.fid import (
    FeatureStatistics,
    feature_statistics,
    fid_bootstrap,
    fid_from_features,
    frechet_distance,
)
from t2h.metrics.inception_score import InceptionScore, inception_score
from t2h.metrics.kid import KID, kernel_inception_distance, unbiased_mmd2
from t2h.metrics.memorisation import memorisation_threshold
from t2h.metrics.neighbours import Neighbours, nearest, neighbour_distances
from t2h.metrics.prd import PRD, f_beta, prd_curve, precision_recall_distributions
from t2h.metrics.precision_recall import manifold_metrics

__all__ = [
    "KID",
    "PRD",
    "Accuracy",
    "FeatureStatistics",
    "InceptionScore",
    "Neighbours",
    "accuracy",
    "f_beta",
    "feature_statistics",
    "fid_bootstrap",
    "fid_from_features",
    "frechet_distance",
    "inception_score",
    "kernel_inception_distance",
    "manifold_metrics",
    "mean_pairwise_distance",
    "memorisation_threshold",
    "nearest",
    "neighbour_distances",
    "prd_curve",
    "precision_recall_distributions",
    "unbiased_mmd2",
]
