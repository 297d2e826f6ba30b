"""How long the metrics take at the 2,048 dimensions of Inception features, beside the plain way of computing them.

    python benchmarks/metrics_speed.py             # about a minute
    python benchmarks/metrics_speed.py --full      # instead, neighbours among 50,000 x 50,000: some minutes

Times depend on the machine and its load; the ratios hardly do. Both sides of a ratio run in the same process.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
from scipy import linalg
from scipy.spatial.distance import cdist

from t2h.metrics import (
    feature_statistics,
    fid_from_features,
    frechet_distance,
    kernel_inception_distance,
    manifold_metrics,
    nearest,
    neighbour_distances,
)

DIM = 2048


def features(seed: int, n: int, shift: float = 0.0) -> np.ndarray:
    """Rectified mixtures of 100 factors, float32: as skewed and as far from the origin as Inception features."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(100, DIM)).astype(np.float32) / 10
    x = rng.standard_normal((n, 100), dtype=np.float32) @ mix
    x += 0.3 * rng.standard_normal((n, DIM), dtype=np.float32) + np.float32(0.2 + shift)
    return np.maximum(x, 0, out=x)


def timed(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def row(name: str, seconds: float, plain: str = "", plain_seconds: float | None = None) -> None:
    ratio = f"   {plain} {plain_seconds:6.2f} s   ratio {plain_seconds / seconds:5.1f}" if plain_seconds else ""
    print(f"{name:<58}{seconds:7.2f} s{ratio}", flush=True)


def fid() -> None:
    seconds, a = timed(lambda: feature_statistics(features(0, 5000)))
    row("statistics of 5,000 images (with making them)", seconds)
    b = feature_statistics(features(1, 5000, 0.05))
    ours, value = timed(lambda: frechet_distance(a, b))
    plain, root = timed(lambda: linalg.sqrtm(a.covariance @ b.covariance))
    expected = np.square(a.mean - b.mean).sum() + np.trace(a.covariance + b.covariance - 2 * root.real)
    row("frechet_distance, 2,048 dimensions", ours, "scipy.linalg.sqrtm", plain)
    print(f"{'':<4}{value:.9f}, with sqrtm {expected:.9f}")

    x, y = features(2, 1000), features(3, 1000, 0.05)
    ours, value = timed(lambda: fid_from_features(x, y))
    plain, stored = timed(lambda: frechet_distance(feature_statistics(x), feature_statistics(y)))
    row("fid_from_features, a class of 1,000 x 1,000 images", ours, "from covariances  ", plain)
    print(f"{'':<4}{value:.9f}, from covariances {stored:.9f}")
    row("fid_from_features, 50 x 5,000 images", timed(lambda: fid_from_features(x[:50], features(4, 5000)))[0])


def neighbours() -> None:
    x, y = features(0, 4000), features(1, 4000, 0.05)
    row("KID, 10 of the 100 subsets of 1,000", timed(lambda: kernel_inception_distance(x, y, subsets=10))[0])
    ours, found = timed(lambda: neighbour_distances(x, 5))
    plain, pairs = timed(lambda: np.sort(cdist(x, x), axis=1)[:, 1:6])
    row("neighbour_distances, 4,000, images, k = 5", ours, "every pair (cdist) ", plain)
    print(f"{'':<4}largest difference {np.abs(found - pairs).max():.1e}")
    row("manifold_metrics, 4,000 x 4,000 images, k = 3 and 5", timed(lambda: manifold_metrics(x, y))[0])


def full() -> None:
    x, y = features(0, 50_000), features(1, 50_000, 0.05)
    row("nearest, 50,000 x 50,000 images", timed(lambda: nearest(x, y))[0])
    print(f"{'':<4}peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="neighbours among 50,000 x 50,000 images only")
    (full if parser.parse_args().full else lambda: (fid(), neighbours()))()
