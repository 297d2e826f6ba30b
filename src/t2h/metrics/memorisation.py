"""Memorisation: the share of generated images that are nearer to a training image than real images are.

Ours, by the idea of Meehan et al. 2020 ("A non-parametric test to detect data-copying in generative models"): real
images that the model has not seen tell how near to the training set an honest image comes. All three sets are of one
class; for a group of classes, pool the images.
"""

from __future__ import annotations

import math

import numpy as np

from t2h.errors import UserError
from t2h.metrics._checks import Features
from t2h.metrics.neighbours import nearest


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
