"""Augmentation, on which the network is conditioned: Karras et al., "Training Generative Adversarial Networks with
Limited Data", NeurIPS 2020 (ADA), in the form for diffusion models of Karras et al., "Elucidating the Design Space of
Diffusion-Based Generative Models", NeurIPS 2022 (table 6), which CBDM uses with p = 0.12.

    what                         drawn                                       condition
    mirror left to right         a_0 = 0 or 1, always                        a_0
    mirror top to bottom         a_1 = 0 or 1, with chance p                 a_1
    scale by 2^(0.2 a_2)         a_2 ~ N(0, 1), with chance p                a_2
    rotate by a_3                a_3 ~ U(-π, π), with chance p               cos a_3 - 1, sin a_3
    stretch along a_4 by         a_4 ~ U(-π, π), a_5 ~ N(0, 1),              a_5 cos a_4, a_5 sin a_4
      2^(0.2 a_5), across by       with chance p
      its inverse
    shift by a_6/8 and a_7/8     a_6, a_7 ~ N(0, 1), with chance p           a_6, a_7
      of the image's size

in this order, about the centre of the image. All nine numbers are zero for an image as it is, so a network that gets
zeros draws images as they are: augmentation does not leak into the samples.

A negative a_5 along a_4 gives the condition of a positive one along the opposite direction, though one shrinks and the
other stretches; so it is in the source.

*Ours*: pixels by bicubic interpolation of an image that is mirrored at its border pixels, and clamped to [-1, 1];
an image of which nothing but a mirror was drawn keeps its exact pixels. Grid sampling is torch's, on any device.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

PARAMETERS = 9
SCALE = 0.2
"""The standard deviation of scale and stretch, in octaves."""
SHIFT = 1 / 8
"""The standard deviation of shifts, in sizes of the image."""


def augment(
    images: Float[Tensor, "b c h w"], probability: float, generator: torch.Generator
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 9"]]:
    """Transform each image on its own.

    Args:
        images: in [-1, 1].
        probability: p, the chance of each transformation but the mirror left to right, in [0, 1].
        generator: on the device of the images.

    Returns:
        The images, and what the network is conditioned on.
    """
    a = _draw(len(images), probability, generator)
    angles = [a[3].cos() - 1, a[3].sin(), a[5] * a[4].cos(), a[5] * a[4].sin()]
    condition = torch.stack([a[0], a[1], a[2], *angles, a[6], a[7]], dim=1)
    mirrored = _mirror(_mirror(images, a[0], -1), a[1], -2)
    height, width = images.shape[2:]
    moved = (a[2:] != 0).any(dim=0).reshape(-1, 1, 1, 1)
    return torch.where(moved, _resample(mirrored, _matrix(a, height, width)), mirrored), condition


def _draw(n: int, probability: float, generator: torch.Generator) -> Float[Tensor, "8 b"]:
    """a_0 ... a_7, zero where a transformation is not drawn."""
    device = generator.device
    coin = torch.randint(2, (2, n), generator=generator, device=device).float()
    drawn = (torch.rand((5, n), generator=generator, device=device) < probability).float()
    angle = (torch.rand((2, n), generator=generator, device=device) * 2 - 1) * math.pi
    normal = torch.randn((4, n), generator=generator, device=device)
    flip, scale, rotation, stretch, shift = drawn
    mirrors = torch.stack([coin[0], coin[1] * flip])
    turns = torch.stack([normal[0] * scale, angle[0] * rotation, angle[1] * stretch, normal[1] * stretch])
    return torch.cat([mirrors, turns, normal[2:] * shift])


def _mirror(images: Tensor, where: Tensor, axis: int) -> Tensor:
    return torch.where(where.reshape(-1, 1, 1, 1) == 1, images.flip(axis), images)


def _matrix(a: Float[Tensor, "8 b"], height: int, width: int) -> Float[Tensor, "b 2 3"]:
    """From a pixel of the result to the place in the mirrored image that it shows: (x, y) in pixels from the centre."""
    inverse = _scaling(-SCALE * a[2], -SCALE * a[2]) @ _rotation(-a[3])
    inverse = inverse @ _rotation(a[4]) @ _scaling(-SCALE * a[5], SCALE * a[5]) @ _rotation(-a[4])
    shift = torch.stack([a[6] * SHIFT * width, a[7] * SHIFT * height], dim=1)[:, :, None]
    return torch.cat([inverse, -inverse @ shift], dim=2)


def _rotation(angle: Float[Tensor, " b"]) -> Float[Tensor, "b 2 2"]:
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cos, -sin], dim=1), torch.stack([sin, cos], dim=1)], dim=1)


def _scaling(x: Float[Tensor, " b"], y: Float[Tensor, " b"]) -> Float[Tensor, "b 2 2"]:
    """By 2^x and 2^y."""
    return torch.diag_embed(torch.stack([x, y], dim=1).exp2())


def _resample(images: Float[Tensor, "b c h w"], matrix: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b c h w"]:
    height, width = images.shape[2:]
    # torch counts from -1 to 1 between the centres of the border pixels
    unit = torch.tensor([max(width - 1, 1) / 2, max(height - 1, 1) / 2], device=images.device)
    theta = torch.cat([matrix[:, :, :2] * unit[None, None] / unit[:, None], matrix[:, :, 2:] / unit[:, None]], dim=2)
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, "bicubic", "reflection", align_corners=True).clamp(-1, 1)
