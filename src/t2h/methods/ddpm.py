"""DDPM: Ho, Jain, Abbeel, "Denoising Diffusion Probabilistic Models", NeurIPS 2020.

‖ε_θ(x_t, t, y) - ε‖²                                                              (their eq. 14)
"""

from __future__ import annotations

from dataclasses import dataclass

from t2h.methods.base import Method


@dataclass(frozen=True)
class DDPM(Method):
    """The baseline (Ho et al., NeurIPS 2020): every image aims at itself."""
