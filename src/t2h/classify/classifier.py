"""Classifiers of small images: ResNet-32, and ResNet-8 for images of at most 16 px.

Source: He et al. 2016, "Deep residual learning for image recognition", section 4.2, shortcuts of option A.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from t2h.classify.config import ClassifierTraining
from t2h.data.batches import Order
from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.randomness import derive_seed, generator


class Block(nn.Module):
    """Two convolutions and a shortcut, which skips pixels and pads channels with zeros where the width grows."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.stride = 1 if before == width else 2
        self.conv1 = nn.Conv2d(before, width, 3, self.stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        short = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(short, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1])))


class ResNet(nn.Module):
    """The ResNet for small images: 6 ``blocks`` + 2 layers, widths 16, 32 and 64."""

    def __init__(self, channels: int, num_classes: int, blocks: int) -> None:
        super().__init__()
        widths = [16] * (blocks + 1) + [32] * blocks + [64] * blocks
        stem = [nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        body = [Block(before, width) for before, width in pairwise(widths)]
        self.body = nn.Sequential(*stem, *body, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.head(self.body(x))


def fit(
    images: UInt8[np.ndarray, "n c h w"],
    order: Order,
    num_classes: int,
    training: ClassifierTraining,
    seed: int,
    device: str = "cpu",
    title: str | None = None,
    weights: Float[np.ndarray, " n"] | None = None,
) -> ResNet:
    """A trained classifier; everything random follows from the seed.

    Args:
        images: to train on; their labels are the order's.
        order: in which they are seen.
        title: of a progress bar; None shows none.
        weights: of the images in the loss of a batch, which is their weighted mean; None weighs all alike.
    """
    channels, size = images.shape[1:3]
    small = size <= 16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "classifier weights"))
        network = ResNet(channels, num_classes, blocks=1 if small else 5).to(device).train()
    steps = training.steps or (1_000 if small else 12_000)
    warmup = max(1, min(400, steps // 10))
    flip = training.flip == "on" or (training.flip == "auto" and not (small and channels == 1))
    optimizer = torch.optim.SGD(
        network.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay, nesterov=True
    )
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min((k + 1) / warmup, 0.5 + 0.5 * float(np.cos(np.pi * k / steps)))
    )
    draws, labels = generator("cpu", seed, "classifier augmentation"), torch.from_numpy(order.labels)
    weight = torch.ones(len(images)) if weights is None else torch.from_numpy(weights).float()
    for step in tqdm(range(steps), desc=title, unit=" steps", mininterval=0.5, disable=title is None, leave=False):
        rows = order.rows(step * training.batch_size, training.batch_size)
        x = _augmented(torch.from_numpy(images[rows]), 1 if small else 4, flip, draws).to(device)
        w = weight[rows].to(device)
        loss = (w * F.cross_entropy(network(x), labels[rows].to(device), reduction="none")).sum() / w.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    if not loss.isfinite():
        raise UserError(
            f"the classifier's loss is {loss:.0f}: its training has diverged; lower --lr ({training.lr:g})."
        )
    return network.eval()


def _augmented(
    images: UInt8[Tensor, "n c h w"], pad: int, flip: bool, draws: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """In [-1, 1], shifted by up to ``pad`` pixels and perhaps mirrored, each image on its own."""
    n, c, h, w = images.shape
    x = F.pad(images.float() / 127.5 - 1, (pad,) * 4)
    down, right = torch.randint(0, 2 * pad + 1, (2, n), generator=draws)
    rows, columns = down[:, None] + torch.arange(h), right[:, None] + torch.arange(w)
    x = x[
        torch.arange(n)[:, None, None, None],
        torch.arange(c)[:, None, None],
        rows[:, None, :, None],
        columns[:, None, None],
    ]
    mirrored = torch.rand(n, generator=draws) < 0.5
    return torch.where((mirrored & flip)[:, None, None, None], x.flip(-1), x)


@torch.inference_mode()
def probabilities(network: ResNet, table: ImageTable, device: str, batch_size: int = 500) -> Float[np.ndarray, "n k"]:
    """p(class) of each image, as the network sees it."""
    found = []
    for start in range(0, len(table), batch_size):
        images = np.asarray(table.images[np.arange(start, min(start + batch_size, len(table)))])
        found.append(network(torch.from_numpy(images).to(device).float() / 127.5 - 1).softmax(1).cpu().numpy())
    return np.concatenate(found)
