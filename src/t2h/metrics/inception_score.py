"""Inception score (IS): how sure a classifier is of each image, and how varied the images are for it.

Source: Salimans et al. 2016, "Improved techniques for training GANs": exp E_x KL(p(y|x) ‖ p(y)), over 10 splits. The
published code splits in the order of the samples, which is wrong when they are sorted by class: a split then holds one
class, and p(y) is that class. Here the order is shuffled first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr, softmax

from t2h.errors import UserError
from t2h.metrics._checks import Features, rows


@dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation (n in the denominator, as published) over the splits; IS lies in 1 ... C."""

    mean: float
    std: float
    splits: int


def inception_score(logits: Features, splits: int = 10, seed: int = 0) -> InceptionScore:
    """IS from the classifier's logits (n, C).

    Raises:
        UserError: if there are fewer images than splits, no splits, or a logit is not finite.
    """
    p = softmax(rows(logits, "given").astype(np.float64), axis=1)
    if not 1 <= splits <= len(p):
        raise UserError(f"{splits} splits of {len(p)} images; splits must lie in 1 ... {len(p)}.")
    order = np.random.default_rng(seed).permutation(len(p))
    scores = [np.exp(rel_entr(part, part.mean(axis=0)).sum(axis=1).mean()) for part in np.array_split(p[order], splits)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)), splits)
