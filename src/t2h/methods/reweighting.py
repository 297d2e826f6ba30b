"""Re-weighting: a sample's squared error counts the more, the rarer its class.

    inverse     w_c ∝ 1/n_c
    effective   w_c ∝ (1-β)/(1-β^n_c)       Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", 2019

scaled so that the mean over the training images is 1, Σ_c n_c w_c = Σ_c n_c: the learning rate keeps its meaning.
β = 0 weighs all alike, β → 1 is the inverse frequency. A class without images has weight 0.

The weight applies to the squared error, not to the terms that other methods add. Cost: no network pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from t2h.errors import check_choices, check_ranges
from t2h.methods.base import Context, Method


@dataclass(frozen=True)
class Reweighting(Method):
    """Re-weighting: the squared error of rare classes counts more."""

    rule: Literal["inverse", "effective"] = "inverse"
    """Weights by 1/n, or by the effective number (1-beta)/(1-beta^n) (Cui et al., CVPR 2019)."""
    beta: float = 0.999
    """Beta of the effective number, in [0, 1)."""

    def __post_init__(self) -> None:
        check_choices(self, "reweighting")
        check_ranges(self, "reweighting.", beta="[0, 1)")

    def class_weight(self, context: Context) -> Float[Tensor, " k"]:
        n = context.class_counts.double()
        weight = 1 / n if self.rule == "inverse" else (1 - self.beta) / (1 - self.beta**n)
        weight = torch.where(n > 0, weight, 0.0)
        return (weight * n.sum() / (weight * n).sum()).float()
