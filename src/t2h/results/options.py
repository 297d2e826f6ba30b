"""Which metrics an evaluation computes, and the settings that a result records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from t2h.errors import UserError, check_known, check_numbers
from t2h.results.metrics import COMPUTED, METRICS


@dataclass(frozen=True)
class MetricOptions:
    """Which metrics, and the settings that a result records."""

    metrics: tuple[str, ...] = COMPUTED
    """Metrics to compute; `manifold` is precision, recall, density and coverage."""
    ks: tuple[int, ...] = (3, 5)
    """Neighbours for precision, recall, density and coverage."""
    kid_subsets: int = 100
    """Random subsets of KID."""
    kid_subset_size: int = 1000
    """Images in each, or all of the smaller set."""
    is_splits: int = 10
    """Parts of the Inception Score, after a seeded shuffle."""
    prd_runs: int = 10
    """Clusterings that PRD is averaged over, of 20 clusters per class."""
    quantile: float = METRICS["memorisation"].target or 0.05
    """Of the held-out images' distances to the training images: a sample nearer than that counts as memorised."""
    resamples: int = 100
    """Bootstrap resamples for FID's interval; 0 for none. It needs features of at most 256 dimensions."""
    metric_seed: int = 0
    """Of every random choice that metrics make: subsets, clusters, resamples."""
    w_per: Literal["class", "group"] | None = None
    """Choose a w for each class, or for head, medium and tail, among the weights of --w, on one half of the images, and
    judge it on the other. `t2h sample --w-table RESULT` draws with it."""

    def __post_init__(self) -> None:
        check_known("metric", self.metrics, COMPUTED)
        check_numbers(self, ks=1, kid_subsets=1, kid_subset_size=2, is_splits=1, prd_runs=1, resamples=0, metric_seed=0)
        if not 0 < self.quantile < 1:
            raise UserError(f"quantile is {self.quantile}; it must be in (0, 1).")

    def keys(self, computed_by: str) -> list[str]:
        """The keys of the metrics that an entry of `metrics` computes."""
        stems = [key for key, metric in METRICS.items() if metric.computed_by == computed_by]
        return [f"{stem}_k{k}" for k in self.ks for stem in stems] if computed_by == "manifold" else stems
