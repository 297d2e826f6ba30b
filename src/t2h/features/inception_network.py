"""The layers of the FID Inception (TensorFlow's graph of 2015-12-05); see `t2h.features.inception`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Conv(nn.Conv2d):
    """Convolution and ReLU; the batch norm is in the weight and the bias."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(super().forward(x))


class Fork(nn.ModuleList):
    """Branches side by side, joined along the channels. A branch is one module, or several in a row."""

    def __init__(self, *branches: nn.Module | Sequence[nn.Module]) -> None:
        super().__init__(nn.Sequential(*branch) if isinstance(branch, Sequence) else branch for branch in branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], 1)


def _average() -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def _block_35(inputs: int, pool: int) -> Fork:
    double = [Conv(inputs, 48, 1), Conv(48, 64, 5, padding=2)]
    triple = [Conv(inputs, 64, 1), Conv(64, 96, 3, padding=1), Conv(96, 96, 3, padding=1)]
    return Fork(Conv(inputs, 64, 1), double, triple, [_average(), Conv(inputs, pool, 1)])


def _reduce_35() -> Fork:
    triple = [Conv(288, 64, 1), Conv(64, 96, 3, padding=1), Conv(96, 96, 3, stride=2)]
    return Fork(Conv(288, 384, 3, stride=2), triple, nn.MaxPool2d(3, 2))


def _row(inputs: int, outputs: int) -> Conv:
    return Conv(inputs, outputs, (1, 7), padding=(0, 3))


def _column(inputs: int, outputs: int) -> Conv:
    return Conv(inputs, outputs, (7, 1), padding=(3, 0))


def _block_17(width: int) -> Fork:
    double = [Conv(768, width, 1), _row(width, width), _column(width, 192)]
    turns = [_column(width, width), _row(width, width), _column(width, width), _row(width, 192)]
    return Fork(Conv(768, 192, 1), double, [Conv(768, width, 1), *turns], [_average(), Conv(768, 192, 1)])


def _reduce_17() -> Fork:
    turns = [_row(192, 192), _column(192, 192)]
    return Fork(
        [Conv(768, 192, 1), Conv(192, 320, 3, stride=2)],
        [Conv(768, 192, 1), *turns, Conv(192, 192, 3, stride=2)],
        nn.MaxPool2d(3, 2),
    )


def _block_8(inputs: int, pool: nn.Module) -> Fork:
    def ends() -> Fork:
        return Fork(Conv(384, 384, (1, 3), padding=(0, 1)), Conv(384, 384, (3, 1), padding=(1, 0)))

    far = [Conv(inputs, 448, 1), Conv(448, 384, 3, padding=1), ends()]
    return Fork(Conv(inputs, 320, 1), [Conv(inputs, 384, 1), ends()], far, [pool, Conv(inputs, 192, 1)])


class FIDInception(nn.Sequential):
    """Images in [-1, 1], (N, 3, 299, 299), to 2048 pooled features. The 94 convolutions are in the graph's order."""

    def __init__(self) -> None:
        super().__init__(
            *(Conv(3, 32, 3, stride=2), Conv(32, 32, 3), Conv(32, 64, 3, padding=1), nn.MaxPool2d(3, 2)),
            *(Conv(64, 80, 1), Conv(80, 192, 3), nn.MaxPool2d(3, 2)),
            *(_block_35(192, 32), _block_35(256, 64), _block_35(288, 64), _reduce_35()),
            *(_block_17(128), _block_17(160), _block_17(160), _block_17(192), _reduce_17()),
            *(_block_8(1280, _average()), _block_8(2048, nn.MaxPool2d(3, 1, 1))),
        )

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        return super().forward(x).mean((2, 3))

    def convolutions(self) -> list[Conv]:
        """The 94 convolutions, in the order in which both weight files list them."""
        return [module for module in self.modules() if isinstance(module, Conv)]
