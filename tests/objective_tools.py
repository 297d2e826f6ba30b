"""What the tests of the methods share: a small network, a real batch, a step of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from t2h import NoiseSchedule
from t2h.methods import MethodOptions, build_objective
from t2h.methods.base import Batch, Context
from t2h.methods.objective import Objective
from t2h.network import UNetDenoiser, build_network, network_config

NETWORK = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 2,
}
"""The configuration of a network that trains a step in no time."""
SCHEDULE = NoiseSchedule()
COUNTS = torch.tensor([140, 100, 70, 50, 35, 25, 18, 12, 8, 0])
K = len(COUNTS)
CONTEXT = Context(COUNTS, SCHEDULE, null_label=K)
UNCONDITIONAL = Context(COUNTS, SCHEDULE, null_label=None)


def small_denoiser(seed: int = 0, conditional: bool = True) -> UNetDenoiser:
    """An 8 px network whose outputs depend on everything: no layer begins at zero."""
    config = network_config("digits", K if conditional else None, channels=1, image_size=8)
    config |= {"block_out_channels": (16, 32), "norm_num_groups": 4}
    unet = build_network(config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in unet.named_parameters():
            if weight.ndim > 1 and "class_embedding" not in name and weight.abs().max() < 1e-3:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return UNetDenoiser(unet.eval())


def digits_batch(n: int = 16, seed: int = 0, dropout: float = 0.0, null_label: int | None = K) -> Batch:
    """Real digits of the classes that COUNTS has images of."""
    data = load_digits()
    rows = [i for i in range(300) if data.target[i] != 9][seed : seed + n]
    x0 = torch.tensor(data.images[rows] / 8 - 1, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(data.target[rows], dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    return Batch.noised(SCHEDULE, x0, y, generator, null_label, label_dropout=dropout)


def objective(name: str, denoiser: UNetDenoiser | None = None, **options: object) -> Objective:
    """A method by name, with its weights from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_objective(name, MethodOptions(**options), CONTEXT, denoiser)


def misspelt(options: Any, name: str, value: str) -> Any:
    """Options as a configuration file may bring them: past the tests' type checks."""
    object.__setattr__(options, name, value)
    return options


def gradients(loss: Tensor, *weights: Tensor) -> list[float]:
    """The norm of the gradient in each weight; 0 where there is none."""
    found = torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)
    return [0.0 if g is None else float(g.norm()) for g in found]


def train(
    loss: Callable[[], Tensor], weights: list[Tensor], steps: int = 1, lr: float = 1e-3
) -> tuple[float, float, dict[int, Tensor]]:
    """Some steps of Adam on one and the same loss: its value before and after, and the first gradients."""
    optimiser, first = torch.optim.Adam(weights, lr=lr), {}
    before = loss().item()
    for step in range(steps):
        optimiser.zero_grad()
        loss().backward()
        if step == 0:
            first = {i: w.grad.clone() for i, w in enumerate(weights) if w.grad is not None}
        optimiser.step()
    return before, loss().item(), first
