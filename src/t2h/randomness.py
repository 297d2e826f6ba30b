"""Randomness is an argument: every draw comes from a generator whose seed follows from what it is for.

A training step draws with a seed made of (seed, purpose, rank, images seen), so that nothing random has to be saved
for an exact resume, and two methods that are compared see the same images, timesteps and noise. The idea is that of
NVIDIA's EDM.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


def derive_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit seed that is different for every (seed, purpose, numbers), through NumPy's SeedSequence."""
    entropy = (seed, zlib.crc32(purpose.encode()), *numbers)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(device: torch.device | str, seed: int, purpose: str, *numbers: int) -> torch.Generator:
    """A torch generator on ``device``, seeded by `derive_seed`."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose, *numbers))
