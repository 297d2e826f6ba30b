"""Precision and recall for distributions (PRD): F8 and F1/8.

Source: Sajjadi et al. 2018, "Assessing generative models via precision and recall", with the settings of CBDM's
evaluation: k-means on the union of both sets into 20·C clusters, the curve at 1,001 angles, averaged over 10 runs.
F8 weighs recall, F1/8 precision. (CBDM prints F8 under the label "precision".)
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.cluster import MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning

from t2h.errors import UserError
from t2h.metrics._checks import Features, pair


@dataclass(frozen=True, eq=False)
class PRD:
    """F8 (recall) and F1/8 (precision), the averaged curve they are the maxima of, and how it was taken.

    ``n`` images of each set were compared in each of ``runs`` runs, in ``clusters`` clusters.
    """

    f8: float
    f1_8: float
    precision: Float[np.ndarray, " angles"]
    recall: Float[np.ndarray, " angles"]
    clusters: int
    runs: int
    n: int


def precision_recall_distributions(
    real: Features, fake: Features, num_classes: int, runs: int = 10, angles: int = 1001, seed: int = 0
) -> PRD:
    """PRD of two sets (n, D) and (m, D) with ``num_classes`` classes, in 20 · num_classes clusters.

    Sets of different sizes would pull the clusters towards the larger one, so each run draws min(n, m) images of it.

    Raises:
        UserError: if the sets together are no larger than the number of clusters, a feature is not finite, the
            dimensions differ, or an option is below its least value.
    """
    x, y = pair(real, fake)
    if num_classes < 1 or runs < 1 or angles < 3:
        raise UserError(f"num_classes={num_classes}, runs={runs}, angles={angles}: at least 1, 1 and 3 are needed.")
    clusters, n = 20 * num_classes, min(len(x), len(y))
    if 2 * n <= clusters:
        raise UserError(f"{n} images of each set for {clusters} clusters; more than {clusters // 2} are needed.")
    curves = []
    for run in np.random.SeedSequence(seed).spawn(runs):
        rng = np.random.default_rng(run)
        parts = [points if len(points) == n else points[rng.choice(len(points), n, replace=False)] for points in (x, y)]
        curves.append(prd_curve(*_histograms(parts[0], parts[1], clusters, int(rng.integers(2**31))), angles))
    precision, recall = np.mean(curves, axis=0)
    return PRD(f_beta(precision, recall, 8), f_beta(precision, recall, 1 / 8), precision, recall, clusters, runs, n)


def prd_curve(
    real: Float[np.ndarray, " bins"], fake: Float[np.ndarray, " bins"], angles: int = 1001
) -> tuple[Float[np.ndarray, " angles"], Float[np.ndarray, " angles"]]:
    """(precision, recall) of two histograms over the same bins, each summing to 1.

    For slopes λ = tan θ, θ from 0 to π/2: precision Σ_b min(λ real_b, fake_b), and recall = precision / λ (eq. 4).
    """
    # The ends 0 and π/2 are approached only: there one of the two is 0/0.
    slope = np.tan(np.linspace(1e-10, math.pi / 2 - 1e-10, angles))
    precision = np.minimum(slope[:, None] * real, fake).sum(axis=1)
    return np.minimum(precision, 1.0), np.minimum(precision / slope, 1.0)


def f_beta(precision: Float[np.ndarray, " angles"], recall: Float[np.ndarray, " angles"], beta: float | int) -> float:
    """The largest F_β = (1 + β²) p r / (β² p + r) on the curve; β > 1 weighs recall."""
    bottom = beta**2 * precision + recall
    return float(((1 + beta**2) * precision * recall / np.where(bottom > 0, bottom, 1)).max())


def _histograms(real: np.ndarray, fake: np.ndarray, clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        # Fewer distinct images than clusters, as when a model has collapsed, give empty bins: that is what we measure.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means = MiniBatchKMeans(clusters, n_init=10, random_state=seed).fit(np.concatenate([real, fake]).astype(float))
    labels = means.labels_
    counts = [np.bincount(part, minlength=clusters) / len(part) for part in (labels[: len(real)], labels[len(real) :])]
    return counts[0], counts[1]
