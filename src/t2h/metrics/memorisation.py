"""Memorisation: the share of generated images that are nearer to a training image than real images are.

Ours, by the idea of Meehan et al. 2020 ("A non-parametric test to detect data-copying in generative models"): real
images that the model has not seen tell how near to the training set an honest image comes. All three sets are of one
class; for a group of classes, average the shares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from t2h.errors import UserError
from t2h.metrics._checks import Features
from t2h.metrics.neighbours import nearest


@dataclass(frozen=True, eq=False)
class Memorisation:
    """Share of generated images at or below the threshold, 0 ... 1, where held-out images have about ``quantile``; and
    what it is made of: the distance from each generated image to its nearest training image, and that image.
    """

    share: float
    threshold: float
    quantile: float
    distances: Float[np.ndarray, " n"]
    nearest_index: Int[np.ndarray, " n"]


def memorisation(samples: Features, training: Features, held_out: Features, quantile: float = 0.05) -> Memorisation:
    """Compare generated images (n, D) with the training images (m, D) and unseen real images (h, D) of their class.

    The quantile is ours: with 5 %, an image counts as a copy if it is nearer to the training set than 95 % of unseen
    real images, so a model that does not copy has a share near 0.05, and one that only copies 1. (A median would give
    an honest model a share of one half.)

    Raises:
        UserError: if there are too few held-out images to place the quantile (fewer than 1 / quantile), a set is empty,
            a feature is not finite, or the dimensions differ.
    """
    threshold = memorisation_threshold(training, held_out, quantile)
    found = nearest(samples, training, ("generated", "training"))
    share = float((found.distance <= threshold).mean())
    return Memorisation(share, threshold, quantile, found.distance, found.index)


def memorisation_threshold(training: Features, held_out: Features, quantile: float = 0.05) -> float:
    """The ``quantile`` of the distances from unseen real images to their nearest training image. Errors as above."""
    if not 0 < quantile < 1:
        raise UserError(f"quantile is {quantile}; it must lie between 0 and 1.")
    needed = math.ceil(1 / quantile - 1e-9)
    if len(held_out) < needed:
        given = f"{len(held_out) or 'no'} held-out image{'' if len(held_out) == 1 else 's'}"
        raise UserError(f"{given} of this class; at least {needed} are needed for their {quantile:.0%} quantile.")
    return float(np.quantile(nearest(held_out, training, ("held-out", "training")).distance, quantile))
