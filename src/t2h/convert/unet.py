"""The official U-Net (that of pytorch-ddpm), inferred from the shapes of its weights, and its names in diffusers.

* The official time table interleaves sin and cos, diffusers' has all sines first: the columns of the first time
  layer are permuted.
* "No label" adds nothing there: the class embedding gets one more row, zero.
* Attention's 1×1 convolutions become linear layers.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from diffusers import UNet2DModel
from jaxtyping import Float
from torch import Tensor

from t2h.errors import UserError
from t2h.network import unet_architecture

Weights = dict[str, Tensor]
GROUPS = 32  # of every GroupNorm in the official network

TIME_TABLE = "time_embedding.timembedding.0.weight"
LABELS, _LABELS_HERE = "label_embedding.weight", "class_embedding.weight"
_FIRST_TIME_LAYER = "time_embedding.timembedding.1.weight"
# Modules here and there. Within a block the official attention is a part of the residual block.
_MODULES = {
    "norm1": "block1.0",
    "conv1": "block1.2",
    "time_emb_proj": "temb_proj.1",
    "norm2": "block2.0",
    "conv2": "block2.3",
    "conv_shortcut": "shortcut",
    "group_norm": "attn.group_norm",
    "to_q": "attn.proj_q",
    "to_k": "attn.proj_k",
    "to_v": "attn.proj_v",
    "to_out.0": "attn.proj",
    "conv": "main",  # of a resampling
    "time_embedding.linear_1": "time_embedding.timembedding.1",
    "time_embedding.linear_2": "time_embedding.timembedding.3",
    "conv_in": "head",
    "conv_norm_out": "tail.0",
    "conv_out": "tail.2",
}


def infer_config(weights: Weights) -> dict[str, Any]:
    """The configuration of the `UNet2DModel` that computes what the network with these (official) weights does.

    It lacks `sample_size`, which no weight depends on.

    Raises:
        UserError: if these are not the weights of an official U-Net, or of one that `UNet2DModel` cannot be.
    """
    try:
        config = _infer(weights)
        expected = {*official_names(config).values(), TIME_TABLE, *([LABELS] if config["num_class_embeds"] else [])}
    except (KeyError, IndexError, AttributeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"these are not the weights of the official U-Net: {error} is missing or misshapen.") from error
    for kind, keys in (("lack", expected - set(weights)), ("have unknown", set(weights) - expected)):
        if keys:
            raise UserError(
                f"these are not the weights of the official U-Net: they {kind} {min(keys)} ({len(keys)} such)."
            )
    if not torch.allclose(weights[TIME_TABLE].float(), time_table(*weights[TIME_TABLE].shape), atol=1e-2):
        raise UserError("the time table is not that of the official U-Net; such a network cannot be converted.")
    return config


def _infer(weights: Weights) -> dict[str, Any]:
    down = [match for key in weights if (match := re.fullmatch(r"downblocks\.(\d+)\.(main|block1\.0)\.weight", key))]
    levels = sum(match[2] == "main" for match in down) + 1
    blocks = (len(down) - levels + 1) // levels
    first = [level * (blocks + 1) for level in range(levels)]
    channels = tuple(weights[f"downblocks.{i}.block1.2.weight"].shape[0] for i in first)
    attention = tuple(level for level, i in enumerate(first) if f"downblocks.{i}.attn.proj.weight" in weights)
    if channels[0] != (ch := weights[TIME_TABLE].shape[1]):
        raise UserError(
            f"ch is {ch} and ch_mult begins with {channels[0] / ch:g}; only networks with 1 can be converted."
        )
    return unet_architecture(channels, attention, blocks, GROUPS, dropout=0.1) | {
        "in_channels": weights["head.weight"].shape[1],
        "out_channels": weights["tail.2.weight"].shape[0],
        "num_class_embeds": weights[LABELS].shape[0] + 1 if LABELS in weights else None,
    }


def official_names(config: dict[str, Any]) -> dict[str, str]:
    """{name in diffusers: official name} of every weight that both have, for a `UNet2DModel` configuration."""
    with torch.device("meta"):
        names = UNet2DModel(**config).state_dict()
    return {name: _official_name(name, config["layers_per_block"]) for name in names if name != _LABELS_HERE}


def _official_name(name: str, blocks: int) -> str:
    module, _, kind = name.rpartition(".")
    place = re.fullmatch(r"(down|mid|up)_blocks?\.?(\d*)\.\w+?(samplers)?\.(\d+)\.(.+)", module)
    if place is None:
        return f"{_MODULES[module]}.{kind}"
    part, level, resampling, number, inner = place.groups()
    # Blocks are numbered through all levels there; the last one of a level resamples.
    per_level = {"down": blocks + 1, "mid": 2, "up": blocks + 2}[part]
    index = int(level or 0) * per_level + (per_level - 1 if resampling else int(number))
    return f"{'middle' if part == 'mid' else part}blocks.{index}.{_MODULES[inner]}.{kind}"


def to_diffusers(weights: Weights, config: dict[str, Any]) -> Weights:
    """The same network's weights for `UNet2DModel`, with a null row of zeros in the class embedding."""
    renamed = {}
    for here, there in official_names(config).items():
        weight = weights[there].float()
        if ".to_" in here and weight.ndim == 4:
            weight = weight.flatten(1)
        if there == _FIRST_TIME_LAYER:  # from sin, cos, sin, cos, ... to all sines, then all cosines
            weight = torch.cat([weight[:, 0::2], weight[:, 1::2]], dim=1)
        renamed[here] = weight.clone()
    if config["num_class_embeds"] is not None:
        labels = weights[LABELS].float()
        renamed[_LABELS_HERE] = torch.cat([labels, torch.zeros_like(labels[:1])])
    return renamed


def from_diffusers(weights: Weights, config: dict[str, Any], num_timesteps: int) -> Weights:
    """The inverse of `to_diffusers`."""
    renamed = {TIME_TABLE: time_table(num_timesteps, config["block_out_channels"][0])}
    for here, there in official_names(config).items():
        weight = weights[here].float()
        if ".to_" in here and here.endswith("weight"):
            weight = weight[:, :, None, None]
        if there == _FIRST_TIME_LAYER:
            weight = torch.stack(weight.chunk(2, dim=1), dim=2).flatten(1)
        renamed[there] = weight.clone()
    if config["num_class_embeds"] is not None:
        renamed[LABELS] = weights[_LABELS_HERE].float()[:-1].clone()
    return renamed


def time_table(num_timesteps: int, dim: int) -> Float[Tensor, "t d"]:
    """sin(t ω_k) and cos(t ω_k) with ω_k = 10000^(-2k/d), interleaved."""
    frequencies = torch.exp(-math.log(10000) * torch.arange(0, dim, 2) / dim)
    angles = torch.arange(num_timesteps).float()[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
