"""The layers of the FID Inception (TensorFlow's graph of 2015-12-05); see `t2h.features.inception`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Conv(nn.Conv2d):
    """Convolution and ReLU; the batch norm is in the weight and the bias."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(super().forward(x))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class Block(nn.Module):
    """Branches side by side, joined along the channels. A branch is a chain of convolutions; `pool` is the last branch.

    Args:
        branches: for each branch its convolutions, as (inputs, outputs, kernel, stride, padding).
        pool: outputs of the 1x1 convolution after the average pool, or 0 for a bare maximum pool with stride 2.
    """

    def __init__(self, inputs: int, branches: list[list[Conv]], pool: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*chain) for chain in branches)
        self.pool = Conv(inputs, pool, 1) if pool else None

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(_average(x)) if self.pool is not None else F.max_pool2d(x, 3, 2)
        return torch.cat([*(branch(x) for branch in self.branches), pooled], 1)


class WideBlock(nn.Module):
    """The 8x8 blocks, whose branches end in a 1x3 and a 3x1 convolution side by side."""

    def __init__(self, inputs: int, maximum: bool) -> None:
        super().__init__()
        self.maximum = maximum
        self.single = Conv(inputs, 320, 1)
        self.near = Conv(inputs, 384, 1)
        self.near_ends = _ends()
        self.far = nn.Sequential(Conv(inputs, 448, 1), Conv(448, 384, 3, padding=1))
        self.far_ends = _ends()
        self.pool = Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        near, far = self.near(x), self.far(x)
        pooled = F.max_pool2d(x, 3, 1, 1) if self.maximum else _average(x)
        ends = [end(near) for end in self.near_ends] + [end(far) for end in self.far_ends]
        return torch.cat([self.single(x), *ends, self.pool(pooled)], 1)


def _ends() -> nn.ModuleList:
    return nn.ModuleList([Conv(384, 384, (1, 3), padding=(0, 1)), Conv(384, 384, (3, 1), padding=(1, 0))])


def _block_35(inputs: int, pool: int) -> Block:
    double = [Conv(inputs, 48, 1), Conv(48, 64, 5, padding=2)]
    triple = [Conv(inputs, 64, 1), Conv(64, 96, 3, padding=1), Conv(96, 96, 3, padding=1)]
    return Block(inputs, [[Conv(inputs, 64, 1)], double, triple], pool)


def _row(inputs: int, outputs: int) -> Conv:
    return Conv(inputs, outputs, (1, 7), padding=(0, 3))


def _column(inputs: int, outputs: int) -> Conv:
    return Conv(inputs, outputs, (7, 1), padding=(3, 0))


def _block_17(width: int) -> Block:
    double = [Conv(768, width, 1), _row(width, width), _column(width, 192)]
    turns = [_column(width, width), _row(width, width), _column(width, width), _row(width, 192)]
    return Block(768, [[Conv(768, 192, 1)], double, [Conv(768, width, 1), *turns]], 192)


def _reduce_35() -> Block:
    triple = [Conv(288, 64, 1), Conv(64, 96, 3, padding=1), Conv(96, 96, 3, stride=2)]
    return Block(288, [[Conv(288, 384, 3, stride=2)], triple], 0)


def _reduce_17() -> Block:
    turns = [_row(192, 192), _column(192, 192)]
    branches = [
        [Conv(768, 192, 1), Conv(192, 320, 3, stride=2)],
        [Conv(768, 192, 1), *turns, Conv(192, 192, 3, stride=2)],
    ]
    return Block(768, branches, 0)


class FIDInception(nn.Module):
    """Images in [-1, 1], (N, 3, 299, 299), to 2048 pooled features. The 94 convolutions are in the graph's order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            Conv(3, 32, 3, stride=2),
            Conv(32, 32, 3),
            Conv(32, 64, 3, padding=1),
            nn.MaxPool2d(3, 2),
            Conv(64, 80, 1),
            Conv(80, 192, 3),
            nn.MaxPool2d(3, 2),
        )
        self.blocks = nn.Sequential(
            *(_block_35(192, 32), _block_35(256, 64), _block_35(288, 64), _reduce_35()),
            *(_block_17(128), _block_17(160), _block_17(160), _block_17(192), _reduce_17()),
            *(WideBlock(1280, maximum=False), WideBlock(2048, maximum=True)),
        )

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        return self.blocks(self.stem(x)).mean((2, 3))

    def convolutions(self) -> list[Conv]:
        """The 94 convolutions, in the order in which both weight files list them."""
        return [module for module in self.modules() if isinstance(module, Conv)]
