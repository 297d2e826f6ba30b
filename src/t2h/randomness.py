"""Randomness is an argument: every draw comes from a generator whose seed follows from what it is for.

A training step draws with a seed made of (seed, purpose, rank, images seen), so that nothing random has to be saved
for an exact resume, and two methods that are compared see the same images, timesteps and noise. The idea is that of
NVIDIA's EDM.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from t2h.errors import UserError

if TYPE_CHECKING:
    import torch


def check_seed(seed: int) -> None:
    """Raise a `UserError` for a seed that is none."""
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be a whole number, at least 0.")


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit seed that is different for every (seed, purpose, numbers), through NumPy's SeedSequence.

    Raises:
        UserError: for a negative seed.
    """
    check_seed(seed)
    # SeedSequence takes (s, p, 0) for (s, p): zeros at the end choose a further word of the same sequence instead
    zeros = len(numbers) - max((i + 1 for i, number in enumerate(numbers) if number), default=0)
    words = np.random.SeedSequence((seed, zlib.crc32(purpose.encode()), *numbers)).generate_state(zeros + 1, np.uint64)
    return int(words[zeros] >> np.uint64(1))


def generator(device: torch.device | str, seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """A torch generator on ``device``, seeded by `derive_seed`."""
    import torch

    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose, *numbers))


def one_per_image(given: torch.Generator | Sequence[torch.Generator] | None, count: int) -> list[torch.Generator]:
    """Generators of ``count`` images; of a single one, or of none, their seeds are drawn.

    Raises:
        UserError: if there are neither one nor ``count``.
    """
    import torch

    if isinstance(given, torch.Generator) or given is None:
        source = given or torch.Generator().manual_seed(torch.seed())
        seeds = torch.randint(2**62, (count,), generator=source, device=source.device).tolist()
        return [torch.Generator().manual_seed(seed) for seed in seeds]
    if len(given) != count:
        raise UserError(f"{len(given)} generators for {count} images; give one generator, or one per image.")
    return list(given)
