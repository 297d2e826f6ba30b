"""The posterior over clean images that T2H and STF share: which of the references did x_t come from?"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from t2h.process import Images, Process, Times


def reference_posterior(
    x0: Images,
    eps: Images,
    references: Float[Tensor, "n c h w"],
    t: Times,
    schedule: Process,
    log_prior: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, "b n"]:
    """p_ij: how probably the noisy image of sample i came from reference j.

    With d_ij = x_0^i - x_0^j the exponent is -(‖d_ij‖² + 2σ⟨d_ij, ε_i⟩)/(2σ²) plus a constant of the row. The inner
    products are one matrix product in float64: no (B, N, D) tensor, and exact also at t = 0, where 1/(2σ²) is 5,000 and
    float32 would lose near-duplicates.

    Args:
        x0: the clean images that were noised, (B, C, H, W).
        eps: the noise that was added, like x0.
        references: the candidates, (N, C, H, W).
        t: times, (B,).
        schedule: the noise process, of which only σ counts.
        log_prior: added to the exponent of each reference, (N,); -inf excludes one.

    Returns:
        Rows that sum to 1, (B, N), in the dtype of x0.

    Source: Zhang et al. 2024; `do_transfer_x0` in the official code.
    """
    device = x0.device
    work = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
    x, r, e = (a.to(work).flatten(1).double() for a in (x0, references, eps))
    centre = r.mean(dim=0)
    x, r = x - centre, r - centre
    sigma = schedule.sigma(t.to(work)).unsqueeze(1)
    noisy = x + sigma * e
    # ‖x̃ - r‖² less the row's constant ‖x̃‖²
    distance = r.square().sum(dim=1) - 2 * noisy @ r.T
    logits = distance / (-2 * sigma.square())
    if log_prior is not None:
        logits = logits + log_prior.to(logits)
    return logits.softmax(dim=1).to(device=device, dtype=x0.dtype)
