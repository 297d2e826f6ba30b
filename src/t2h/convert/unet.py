"""The official U-Net (that of pytorch-ddpm), told from the shapes of its weights, and its names in diffusers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from t2h.errors import UserError
from t2h.network import unet_architecture

Weights = dict[str, Tensor]
GROUPS = 32  # of every GroupNorm in the official network

TIME_TABLE = "time_embedding.timembedding.0.weight"
LABELS = "label_embedding.weight"
_FIRST_TIME_LAYER = "time_embedding.timembedding.1.weight"
# Here and there. Within a block the official attention is a part of the residual block; diffusers has it beside.
_RESIDUAL = {
    "norm1": "block1.0",
    "conv1": "block1.2",
    "time_emb_proj": "temb_proj.1",
    "norm2": "block2.0",
    "conv2": "block2.3",
}
_ATTENTION = {
    "group_norm": "attn.group_norm",
    "to_q": "attn.proj_q",
    "to_k": "attn.proj_k",
    "to_v": "attn.proj_v",
    "to_out.0": "attn.proj",
}
_ENDS = {
    "time_embedding.linear_1": "time_embedding.timembedding.1",
    "time_embedding.linear_2": "time_embedding.timembedding.3",
    "conv_in": "head",
    "conv_norm_out": "tail.0",
    "conv_out": "tail.2",
}


@dataclass(frozen=True)
class Architecture:
    """What the shapes of its weights tell of an official network.

    Attributes:
        channels: ch × ch_mult, one per level.
        attention: the levels with attention.
        blocks: residual blocks per level.
        num_classes: K; None for an unconditional network.
        in_channels, out_channels: of the images.
        num_timesteps: T.
    """

    channels: tuple[int, ...]
    attention: tuple[int, ...]
    blocks: int
    num_classes: int | None
    in_channels: int = 3
    out_channels: int = 3
    num_timesteps: int = 1000

    def config(self, image_size: int | Sequence[int]) -> dict[str, Any]:
        """The configuration of the `UNet2DModel` that computes the same."""
        return unet_architecture(self.channels, self.attention, self.blocks, GROUPS, dropout=0.1) | {
            "sample_size": image_size,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "num_class_embeds": None if self.num_classes is None else self.num_classes + 1,
        }


def infer_architecture(weights: Weights) -> Architecture:
    """The architecture of the network with these (official) weights.

    Raises:
        UserError: if these are not the weights of an official U-Net, or of one that `UNet2DModel` cannot be.
    """
    try:
        architecture = _infer(weights)
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"these are not the weights of the official U-Net: {error} is missing or misshapen.") from error
    expected = set(official_names(architecture).values()) | {TIME_TABLE}
    expected |= {LABELS} if architecture.num_classes is not None else set()
    for kind, keys in (("lack", expected - set(weights)), ("have unknown", set(weights) - expected)):
        if keys:
            raise UserError(
                f"these are not the weights of the official U-Net: they {kind} {min(keys)} ({len(keys)} such)."
            )
    if not torch.allclose(weights[TIME_TABLE].float(), time_table(*weights[TIME_TABLE].shape), atol=1e-2):
        raise UserError("the time table is not that of the official U-Net; such a network cannot be converted.")
    return architecture


def _infer(weights: Weights) -> Architecture:
    numbers = {kind: _block_numbers(weights, kind) for kind in ("main", "block1.0")}
    levels = len(numbers["main"]) + 1
    blocks = len(numbers["block1.0"]) // levels
    first = [level * (blocks + 1) for level in range(levels)]
    channels = tuple(weights[f"downblocks.{i}.block1.2.weight"].shape[0] for i in first)
    num_timesteps, ch = weights[TIME_TABLE].shape
    if channels[0] != ch:
        raise UserError(
            f"ch is {ch} and ch_mult begins with {channels[0] / ch:g}; only networks with 1 can be converted."
        )
    return Architecture(
        channels=channels,
        attention=tuple(level for level, i in enumerate(first) if f"downblocks.{i}.attn.proj.weight" in weights),
        blocks=blocks,
        num_classes=weights[LABELS].shape[0] if LABELS in weights else None,
        in_channels=weights["head.weight"].shape[1],
        out_channels=weights["tail.2.weight"].shape[0],
        num_timesteps=num_timesteps,
    )


def _block_numbers(weights: Weights, kind: str) -> list[int]:
    found = (re.fullmatch(rf"downblocks\.(\d+)\.{re.escape(kind)}\.weight", key) for key in weights)
    return [int(match[1]) for match in found if match]


def official_names(architecture: Architecture) -> dict[str, str]:
    """{name in diffusers: official name} of every weight that both have."""
    levels, blocks = len(architecture.channels), architecture.blocks
    pairs = dict(_ENDS)

    def block(here: str, number: int, there: str, attention: bool, shortcut: bool) -> None:
        pairs.update({f"{here}.resnets.{number}.{a}": f"{there}.{b}" for a, b in _RESIDUAL.items()})
        if shortcut:
            pairs[f"{here}.resnets.{number}.conv_shortcut"] = f"{there}.shortcut"
        if attention:
            pairs.update({f"{here}.attentions.{number}.{a}": f"{there}.{b}" for a, b in _ATTENTION.items()})

    for level, channels in enumerate(architecture.channels):
        here, start, attention = f"down_blocks.{level}", level * (blocks + 1), level in architecture.attention
        changes = channels != architecture.channels[max(level - 1, 0)]
        for number in range(blocks):
            block(here, number, f"downblocks.{start + number}", attention, shortcut=changes and number == 0)
        if level < levels - 1:
            pairs[f"{here}.downsamplers.0.conv"] = f"downblocks.{start + blocks}.main"
    block("mid_block", 0, "middleblocks.0", attention=True, shortcut=False)
    block("mid_block", 1, "middleblocks.1", attention=False, shortcut=False)
    for level in reversed(range(levels)):
        up = levels - 1 - level
        here, start, attention = f"up_blocks.{up}", up * (blocks + 2), level in architecture.attention
        for number in range(blocks + 1):  # fed with a concatenation, so always wider than what they give
            block(here, number, f"upblocks.{start + number}", attention, shortcut=True)
        if level > 0:
            pairs[f"{here}.upsamplers.0.conv"] = f"upblocks.{start + blocks + 1}.main"
    return {f"{a}.{kind}": f"{b}.{kind}" for a, b in pairs.items() for kind in ("weight", "bias")}


def to_diffusers(weights: Weights, architecture: Architecture) -> Weights:
    """The same network's weights for `UNet2DModel`, with a null row of zeros in the class embedding."""
    renamed = {}
    for here, there in official_names(architecture).items():
        weight = weights[there].float()
        if ".to_" in here and weight.ndim == 4:  # attention's 1×1 convolutions are linear layers there
            weight = weight.flatten(1)
        if there == _FIRST_TIME_LAYER:  # from sin, cos, sin, cos, ... to all sines, then all cosines
            weight = torch.cat([weight[:, 0::2], weight[:, 1::2]], dim=1)
        renamed[here] = weight.clone()
    if architecture.num_classes is not None:
        labels = weights[LABELS].float()
        renamed["class_embedding.weight"] = torch.cat([labels, torch.zeros_like(labels[:1])])
    return renamed


def from_diffusers(weights: Weights, architecture: Architecture) -> Weights:
    """The inverse of `to_diffusers`."""
    renamed = {TIME_TABLE: time_table(architecture.num_timesteps, architecture.channels[0])}
    for here, there in official_names(architecture).items():
        weight = weights[here].float()
        if ".to_" in here and here.endswith("weight"):
            weight = weight[:, :, None, None]
        if there == _FIRST_TIME_LAYER:
            weight = torch.stack(weight.chunk(2, dim=1), dim=2).flatten(1)
        renamed[there] = weight.clone()
    if architecture.num_classes is not None:
        renamed[LABELS] = weights["class_embedding.weight"].float()[:-1].clone()
    return renamed


def time_table(num_timesteps: int, dim: int) -> Float[Tensor, "t d"]:
    """sin(t ω_k) and cos(t ω_k) with ω_k = 10000^(-2k/d), interleaved."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(0, dim, 2) / dim)
    angles = torch.arange(num_timesteps).float()[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
