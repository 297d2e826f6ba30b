"""The posterior over clean images that T2H and STF share: which of the references did x_t come from?

With x̃_i = x_0^i + σ ε_i the exponent of reference j is (⟨x̃_i, x_0^j⟩ - ½‖x_0^j‖²)/σ² plus a constant of the row: one
matrix product, linear in the references, without a (B, N, D) tensor. It is made in float32. Its error, divided by σ²,
matters where p_ij is large: at little noise (1/σ² is 10,000 at t = 0), for near-duplicates. Those few pairs are made
again in float64.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from t2h.methods.base import Batch
from t2h.process import Images, Process, Times

ERROR = 2e-6  # of a p_ij, from which on its exponent is made again in float64
PAIRS = 2048  # that are made again at once: 2 × 50 MB at 3 × 32 × 32


def half_squares(references: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    """½‖x_0^j‖² of every reference, float64 (N,): float32 sums of 64 numbers, added in float64."""
    sums = [part.square().sum(dim=1).double() for part in references.flatten(1).split(64, dim=1)]
    return torch.stack(sums).sum(dim=0) / 2


def batch_posterior(
    batch: Batch, process: Process, class_prior: Float[Tensor, " k"] | None = None
) -> Float[Tensor, "b n"]:
    """p_ij of a batch over its references; ``class_prior`` is added to the exponents of each class."""
    prior: Float[Tensor, "... n"] | None = None if class_prior is None else class_prior[batch.reference_y]
    if batch.shared:
        rows = torch.arange(len(batch.reference_y), device=batch.own.device)
        candidate = (rows == batch.own.unsqueeze(1)) | (rows >= batch.shared)
        prior = torch.where(candidate, 0.0 if prior is None else prior, -torch.inf)
    return reference_posterior(batch.x0, batch.eps, batch.reference_x0, batch.t, process, prior, batch.halves)


def reference_posterior(
    x0: Images,
    eps: Images,
    references: Float[Tensor, "n c h w"],
    t: Times,
    schedule: Process,
    log_prior: Float[Tensor, "... n"] | None = None,
    halves: Float[Tensor, " n"] | None = None,
) -> Float[Tensor, "b n"]:
    """p_ij: how probably the noisy image of sample i came from reference j; equal to the exact form to 1e-5.

    Args:
        x0: the clean images that were noised, (B, C, H, W).
        eps: the noise that was added, like x0.
        references: the candidates, (N, C, H, W).
        t: times, (B,).
        schedule: the noise process, of which only σ counts.
        log_prior: added to the exponent of each reference, (N,), or for each sample, (B, N); -inf excludes one.
        halves: `half_squares(references)`, where the same references are used again.

    Returns:
        Rows that sum to 1, (B, N), in the dtype of x0.

    Source: Zhang et al. 2024; `do_transfer_x0` in the official code.
    """
    device = x0.device
    if device.type == "mps":  # which has no float64
        x0, eps, references, t = x0.cpu(), eps.cpu(), references.cpu(), t.cpu()
    r, sigma = references.flatten(1), schedule.sigma(t).unsqueeze(1)
    noisy = x0.flatten(1).double() + sigma * eps.flatten(1).double()
    halves = half_squares(r) if halves is None else halves.to(r.device)
    logits = (noisy.to(r.dtype) @ r.T).double().sub_(halves).div_(sigma.square())
    prior = None if log_prior is None else log_prior.to(logits).expand_as(logits)
    if prior is not None:
        logits += prior
    p = logits.softmax(dim=1)
    rounding = 1e-3 if torch.backends.cuda.matmul.allow_tf32 and r.is_cuda else torch.finfo(r.dtype).eps
    error = 4 * rounding * noisy.norm(dim=1, keepdim=True) * (2 * halves.max()).sqrt() / sigma.square()
    enough = ERROR / error * (-2 * error).exp()  # a smaller p, or one as near to 1, is exact enough
    found = ((p > enough) & (p < 1 - enough)).nonzero()
    for i, j in (pairs.unbind(dim=1) for pairs in found.split(PAIRS)):
        exact = inner(noisy, r, i, j) / sigma[i, 0].square()
        logits[i, j] = exact if prior is None else exact + prior[i, j]
    again = found[:, 0].unique()
    p[again] = logits[again].softmax(dim=1)
    return p.to(device=device, dtype=eps.dtype)


def inner(
    noisy: Float[Tensor, "b d"], r: Float[Tensor, "n d"], i: Int[Tensor, " p"], j: Int[Tensor, " p"]
) -> Float[Tensor, " p"]:
    """⟨x̃_i, r_j⟩ - ½‖r_j‖² of pairs, float64 (P,)."""
    reference = r[j].double()
    return torch.linalg.vecdot(noisy[i] - reference / 2, reference)
