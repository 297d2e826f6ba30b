"""The noise of each image: from a generator of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from t2h.errors import UserError

Generators = torch.Generator | Sequence[torch.Generator] | None


def one_per_image(generator: Generators, count: int) -> list[torch.Generator]:
    """Generators of ``count`` images; of a single one, or of none, their seeds are drawn.

    Raises:
        UserError: if there are neither one nor ``count``.
    """
    if isinstance(generator, torch.Generator) or generator is None:
        source = generator or torch.Generator().manual_seed(torch.seed())
        seeds = torch.randint(2**62, (count,), generator=source, device=source.device).tolist()
        return [torch.Generator().manual_seed(seed) for seed in seeds]
    if len(generator) != count:
        raise UserError(f"{len(generator)} generators for {count} images; give one generator, or one per image.")
    return list(generator)


def starting_noise(
    latents: Tensor | None, shape: tuple[int, ...], generators: list[torch.Generator]
) -> Float[Tensor, "b c h w"]:
    """``latents``, or noise of this shape (B, C, H, W), drawn image by image.

    Raises:
        UserError: for latents of another shape.
    """
    if latents is None:
        return torch.stack([torch.randn(shape[1:], generator=g, device=g.device) for g in generators])
    if tuple(latents.shape) != shape:
        raise UserError(f"latents have shape {tuple(latents.shape)}; {shape} is needed for {shape[0]} images.")
    return latents
