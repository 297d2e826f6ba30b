"""Which figures an evaluation computes, and the settings that a result records."""

from __future__ import annotations

from dataclasses import dataclass

from t2h.errors import unknown_name

KINDS = ("fid", "kid", "is", "manifold", "prd", "diversity", "memorisation", "accuracy")


@dataclass(frozen=True)
class FigureOptions:
    """Which figures, and the settings that a result records."""

    figures: tuple[str, ...] = KINDS
    """Figures to compute; `manifold` is precision, recall, density and coverage."""
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
    quantile: float = 0.05
    """Of the held-out images' distances to the training images: a sample nearer than that counts as memorised."""
    resamples: int = 100
    """Bootstrap resamples for intervals; 0 for none. FID gets one where features have at most 256 dimensions."""
    figure_seed: int = 0
    """Of every random choice that figures make: subsets, clusters, resamples."""

    def __post_init__(self) -> None:
        for kind in self.figures:
            if kind not in KINDS:
                raise unknown_name("figure", kind, KINDS)
