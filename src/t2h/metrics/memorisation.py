"""Memorisation: the share of generated images that are nearer to a training image than real images are.

Ours, by the idea of Meehan et al. 2020 ("A non-parametric test to detect data-copying in generative models"): real
images that the model has not seen tell how near to the training set an honest image comes. All sets are of one class;
for a group of classes, pool the images. `near_copies` needs no unseen images and no features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from t2h.errors import UserError
from t2h.metrics._checks import Features
from t2h.metrics.neighbours import exact_distances, nearest

Pixels = UInt8[np.ndarray, "_ _ _ _"] | Float[np.ndarray, "_ _ _ _"]
NEIGHBOURS = 6
"""The nearest training image counts against the mean of the following ones up to this."""
BLOCK = 256  # images whose distances to all others are in memory at once


def memorisation_threshold(training: Features, held_out: Features, quantile: float = 0.05) -> float:
    """The distance from its nearest training image (m, D) at or below which an image counts as a copy.

    It is the ``quantile`` of the distances of unseen real images (h, D), so a model that does not copy has a share of
    copies near the quantile, and one that only copies 1. That it is 5 %, not a half, is ours.

    Raises:
        UserError: if there are too few held-out images to place the quantile (fewer than 1 / quantile), no training
            image, a feature is not finite, or the dimensions differ.
    """
    if not 0 < quantile < 1:
        raise UserError(f"quantile is {quantile}; it must lie between 0 and 1.")
    needed = math.ceil(1 / quantile - 1e-9)
    if len(held_out) < needed:
        given = f"{len(held_out) or 'no'} held-out image{'' if len(held_out) == 1 else 's'}"
        raise UserError(f"{given} of this class; at least {needed} are needed for their {quantile:.0%} quantile.")
    return float(np.quantile(nearest(held_out, training, ("held-out", "training")).distance, quantile))


@dataclass(frozen=True, eq=False)
class NearCopies:
    """Samples of one class beside the training images of that class, in pixels.

    Args:
        near: which samples are near copies (n,).
        ratio: the distance to the nearest training image over the mean distance to the next ones (n,).
        index: the nearest training image (n,), and whether it is the mirror image of it.
        mirrored: see ``index``.
        expected: the largest share of near copies to expect among fresh images of the same kind.
        distance: the median distance of a sample to its nearest training image, in units of what it is between
            training images: 0 of copies, about 1 of fresh images.
        far: whether half of the samples are farther from the training images than 95 % of these are from each other.
    """

    near: Bool[np.ndarray, " n"]
    ratio: Float[np.ndarray, " n"]
    index: Int[np.ndarray, " n"]
    mirrored: Bool[np.ndarray, " n"]
    expected: float
    distance: float
    far: bool


def near_copies(samples: Pixels, training: Pixels, quantile: float = 0.05, most: int = 500) -> NearCopies:
    """Samples (n, C, H, W) that stand out as close to one training image (m, C, H, W) or its mirror image.

    A near copy has both its distance to the nearest training image and its `NearCopies.ratio` at or below the
    ``quantile`` of these among the training images, each without itself. The distance alone would not do, for blurred
    images are near to all images: with 40 training images of a CIFAR class it calls 36 % of blurred unseen images
    copies, both together 11 %, and 96 % of copies under noise, 99 % under blur. A ratio tests matches in Lowe 2004
    ("Distinctive image features from scale-invariant keypoints") and copies in Carlini et al. 2023 ("Extracting
    training data from diffusion models"); the thresholds are ours.

    By exchangeability a fresh image is below either with the chance (1 + quantile (m - 1)) / (m + 1): 5 % of many
    training images, 12 % of twelve. Below both it is less often, about half as often for CIFAR.

    Args:
        most: training images whose ratios are computed, evenly spread.

    Raises:
        UserError: if there are fewer than three different training images or no sample, or their shapes differ.
    """
    if samples.shape[1:] != training.shape[1:]:
        raise UserError(
            f"samples of shape {samples.shape[1:]}, training images of {training.shape[1:]}; give equal ones."
        )
    distinct = np.asarray(sorted({image.tobytes(): i for i, image in enumerate(training)}.values()), dtype=np.int64)
    m = len(distinct)
    if m < 3 or not len(samples):
        given = f"{m} different training images, {len(samples)} samples"
        raise UserError(f"{given}; at least three and one are needed to tell copies.")
    count = min(NEIGHBOURS, m - 1)
    theirs, mirrored = _rows(training[distinct]), _rows(training[distinct][..., ::-1])
    some = np.unique(np.linspace(0, m - 1, min(m, most)).round().astype(int))
    own, _, _ = _nearest(theirs[some], theirs, mirrored, count, some)
    found, index, turned = _nearest(_rows(samples), theirs, mirrored, count)
    ratio, between = _ratios(found), own[:, 0]
    return NearCopies(
        (ratio <= np.quantile(_ratios(own), quantile)) & (found[:, 0] <= np.quantile(between, quantile)),
        ratio,
        distinct[index],
        turned,
        (1 + quantile * (m - 1)) / (m + 1),
        float(np.median(found[:, 0]) / max(np.median(between), 1e-12)),
        bool(np.median(found[:, 0]) > np.quantile(between, 0.95)),
    )


def _rows(images: Pixels) -> Float[np.ndarray, "n d"]:
    """As float32 in [0, 1], one row per image."""
    scale = 255 if images.dtype == np.uint8 else 1
    return (np.ascontiguousarray(images).reshape(len(images), -1) / scale).astype(np.float32)


def _ratios(distances: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " n"]:
    return distances[:, 0] / np.maximum(distances[:, 1:].mean(axis=1), 1e-12)


def _nearest(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "m d"],
    mirrored: Float[np.ndarray, "m d"],
    count: int,
    own: Int[np.ndarray, " n"] | None = None,
) -> tuple[Float[np.ndarray, "n k"], Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Distances to the nearest ``count`` rows of y or their mirror images, without row ``own``; the nearest one's index
    and whether it is mirrored. The nearest distance is exact, the others are within float32 rounding.
    """
    centre = y.mean(axis=0)
    sides = [side - centre for side in (y, mirrored)]
    lengths = [np.square(side).sum(axis=1) for side in sides]
    distances, indices = [], []
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK] - centre
        squares = np.minimum(*(length - 2 * block @ side.T for side, length in zip(sides, lengths, strict=True)))
        if own is not None:
            squares[np.arange(len(block)), own[start : start + BLOCK]] = np.inf
        indices.append(squares.argmin(axis=1))
        least = np.sort(np.partition(squares, count - 1, axis=1)[:, :count], axis=1)
        distances.append(np.sqrt(np.maximum(least + np.square(block).sum(axis=1, keepdims=True), 0.0)))
    distance, index = np.concatenate(distances).astype(np.float64), np.concatenate(indices)
    straight, turned = (exact_distances(x, side, np.arange(len(x)), index) for side in (y, mirrored))
    distance[:, 0] = np.minimum(straight, turned)
    return distance, index, turned < straight
