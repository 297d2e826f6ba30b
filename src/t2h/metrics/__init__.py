"""The metrics: pure functions on arrays of features, labels and logits. They import nothing of ours but the error."""

from t2h.metrics.accuracy import Accuracy, accuracy
from t2h.metrics.diversity import mean_pairwise_distance
from t2h.metrics.fid import (
    FeatureStatistics,
    StatisticsAccumulator,
    feature_statistics,
    fid_bootstrap,
    fid_from_features,
    frechet_distance,
)
from t2h.metrics.inception_score import InceptionScore, inception_score, inception_score_from_probabilities
from t2h.metrics.kid import KID, kernel_inception_distance, unbiased_mmd2
from t2h.metrics.memorisation import Memorisation, memorisation, memorisation_threshold
from t2h.metrics.neighbours import Neighbours, kth_neighbour_distance, nearest, neighbour_distances
from t2h.metrics.prd import PRD, f_beta, prd_curve, precision_recall_distributions
from t2h.metrics.precision_recall import manifold_metrics

__all__ = [
    "KID",
    "PRD",
    "Accuracy",
    "FeatureStatistics",
    "InceptionScore",
    "Memorisation",
    "Neighbours",
    "StatisticsAccumulator",
    "accuracy",
    "f_beta",
    "feature_statistics",
    "fid_bootstrap",
    "fid_from_features",
    "frechet_distance",
    "inception_score",
    "inception_score_from_probabilities",
    "kernel_inception_distance",
    "kth_neighbour_distance",
    "manifold_metrics",
    "mean_pairwise_distance",
    "memorisation",
    "memorisation_threshold",
    "nearest",
    "neighbour_distances",
    "prd_curve",
    "precision_recall_distributions",
    "unbiased_mmd2",
]
