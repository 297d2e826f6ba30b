"""The networks: presets of diffusers' `UNet2DModel`, the null label, and the bottleneck.

The `cifar` preset is the U-Net of pytorch-ddpm that every long-tailed paper uses; with 10 classes it has 35,751,939
parameters and computes what the official network computes (`t2h.convert`). "No label" is row K of the class
embedding, which stays zero.

A trap: the time and label embedding is added before a GroupNorm. With as many groups as channels that norm subtracts it
again, and the network is blind to t and y. The small presets therefore have at least 4 channels in a group.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from jaxtyping import Float, Int
from torch import Tensor, nn

from t2h.errors import UserError, unknown_name
from t2h.process import Images, Times


def unet_architecture(
    channels: tuple[int, ...], attention: tuple[int, ...], blocks: int, groups: int, dropout: float
) -> dict[str, Any]:
    """The architecture of pytorch-ddpm as a `UNet2DModel` configuration, without what the images decide.

    Args:
        channels: of each level, from the finest.
        attention: the levels with attention.
        blocks: residual blocks per level.
        groups: of every GroupNorm.
        dropout: in [0, 1).
    """
    down = tuple("AttnDownBlock2D" if level in attention else "DownBlock2D" for level in range(len(channels)))
    return {
        "freq_shift": 0,
        "flip_sin_to_cos": False,
        "down_block_types": down,
        "up_block_types": tuple(name.replace("Down", "Up") for name in reversed(down)),
        "block_out_channels": channels,
        "layers_per_block": blocks,
        "downsample_padding": 1,
        "attention_head_dim": None,
        "norm_num_groups": groups,
        "norm_eps": 1e-5,
        "dropout": dropout,
    }


PRESETS: dict[str, dict[str, Any]] = {
    # The papers' network (Ho et al. 2020; CBDM, T2H, CORAL, CM), for 32 px.
    "cifar": unet_architecture((128, 256, 256, 256), attention=(1,), blocks=2, groups=32, dropout=0.1),
    # The same network at 64 px: the official scripts change --img_size alone.
    "tiny-imagenet": unet_architecture((128, 256, 256, 256), attention=(1,), blocks=2, groups=32, dropout=0.1),
    # 28 and 32 px on a CPU.
    "small": unet_architecture((32, 64, 128), attention=(2,), blocks=1, groups=8, dropout=0.1),
    # 16 px on a CPU.
    "mini": unet_architecture((32, 64, 64), attention=(2,), blocks=1, groups=8, dropout=0.0),
    # 8 px, the embedded digits.
    "digits": unet_architecture((32, 64), attention=(1,), blocks=1, groups=8, dropout=0.0),
}


def network_config(
    preset: str, num_classes: int | None, channels: int, image_size: int, dropout: float | None = None
) -> dict[str, Any]:
    """The configuration of a `UNet2DModel` for these images.

    Args:
        preset: a name in `PRESETS`, or a `UNet2DModel` configuration: JSON text, or the path of a JSON file.
        num_classes: K; None for an unconditional network.
        channels: 1 or 3.
        image_size: height and width in pixels.
        dropout: replaces the preset's, in [0, 1).

    Raises:
        UserError: for an unknown preset, or an image size that the network cannot halve often enough.
    """
    if preset in PRESETS:
        config = dict(PRESETS[preset])
    elif preset.startswith("{") or preset.endswith(".json"):
        try:
            loaded = json.loads(preset if preset.startswith("{") else Path(preset).read_text("utf-8"))
        except ValueError as error:
            raise UserError(f"the network {preset} is not readable as JSON: {error}; give a UNet2DModel's.") from error
        config = {key: value for key, value in loaded.items() if not key.startswith("_")}
    else:
        raise unknown_name("network", preset, PRESETS)
    if dropout is not None:
        config["dropout"] = dropout
    factor = 2 ** (len(config["down_block_types"]) - 1)
    if image_size % factor:
        raise UserError(
            f"images of {image_size} px do not fit the network {preset!r}, which halves them "
            f"{len(config['down_block_types']) - 1} times; choose an image size that {factor} divides, "
            f"such as --image-size {round(image_size / factor) * factor or factor}."
        )
    embeds = None if num_classes is None else num_classes + 1
    return config | {
        "sample_size": image_size,
        "in_channels": channels,
        "out_channels": channels,
        "num_class_embeds": embeds,
    }


def build_network(config: dict[str, Any], seed: int = 0) -> UNet2DModel:
    """A fresh network with pytorch-ddpm's initial weights, drawn from ``seed`` alone.

    Weights are Xavier uniform, biases zero, and the last layer of each residual block, of each attention and of the
    network is all but zero (gain 1e-5), as in the official code; the class embedding is standard normal, its null row
    zero.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DModel(**config)
        for name, module in unet.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                last = name.endswith(("conv2", "to_out.0", "conv_out"))
                nn.init.xavier_uniform_(module.weight, gain=1e-5 if last else 1.0)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if unet.class_embedding is not None:
            nn.init.normal_(unet.class_embedding.weight)
    freeze_null_label(unet)
    return unet


def augmentation_embedding(unet: UNet2DModel, parameters: int, seed: int = 0) -> nn.Linear:
    """A fresh embedding of an augmentation's parameters, as `UNetDenoiser` takes it; Xavier uniform."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(parameters, unet.time_embedding.linear_2.out_features, bias=False)
        nn.init.xavier_uniform_(linear.weight)
    return linear


def freeze_null_label(unet: UNet2DModel) -> None:
    """Make row K of the class embedding zero, and keep gradients from it."""
    if unet.class_embedding is not None:
        null = unet.class_embedding.num_embeddings - 1
        unet.class_embedding.padding_idx = null
        with torch.no_grad():
            unet.class_embedding.weight[null].zero_()


def null_label(unet: UNet2DModel) -> int | None:
    """K, the label that means "none"; None for an unconditional network."""
    embeds = unet.config["num_class_embeds"]
    return None if embeds is None else embeds - 1


class UNetDenoiser(nn.Module):
    """A `UNet2DModel` as methods call it: `denoiser(xt, t, class_labels) -> output`.

    Args:
        unet: the network.
        augmentation: the embedding of an augmentation's parameters (`t2h.data.augment`): linear and without bias, added
            to the time embedding. Zeros add nothing: the network is sampled without it.
    """

    def __init__(self, unet: UNet2DModel, augmentation: nn.Linear | None = None) -> None:
        super().__init__()
        self.unet = unet
        self.augmentation = augmentation
        self._parameters_of_augmentation: Tensor | None = None
        self._keeps_bottleneck = False
        self._bottleneck: Tensor | None = None
        # Hooks are registered once: a compiled network does not see hooks that come and go.
        unet.mid_block.register_forward_hook(self._after_middle)
        if augmentation is not None:
            unet.time_embedding.register_forward_hook(self._after_time_embedding)

    def _after_middle(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if self._keeps_bottleneck:
            self._bottleneck = output

    def _after_time_embedding(self, _module: nn.Module, _inputs: tuple[Tensor, ...], embedding: Tensor) -> Tensor:
        parameters = self._parameters_of_augmentation
        return embedding if parameters is None else embedding + self.augmentation(parameters)  # type: ignore[misc]

    @contextmanager
    def conditioned_on(self, augmentation: Float[Tensor, "b p"] | None) -> Iterator[None]:
        """Inside, every pass sees these parameters of its images' augmentation, row by row; None adds nothing."""
        self._parameters_of_augmentation = augmentation
        try:
            yield
        finally:
            self._parameters_of_augmentation = None

    @property
    def bottleneck_channels(self) -> int:
        """The number of channels after the middle block."""
        return self.unet.config["block_out_channels"][-1]

    def forward(self, xt: Images, t: Times, class_labels: Int[Tensor, " b"] | None) -> Images:
        """What the network predicts at (x_t, t, y); label K means "no label", and None an unconditional network."""
        return self.unet(xt, t, class_labels, return_dict=False)[0]

    def with_bottleneck(
        self, xt: Images, t: Times, class_labels: Int[Tensor, " b"] | None
    ) -> tuple[Images, Float[Tensor, "b k i j"]]:
        """The output, and the activations after the middle block, with gradient."""
        self._keeps_bottleneck = True
        try:
            output, bottleneck = self(xt, t, class_labels), self._bottleneck
        finally:
            self._keeps_bottleneck, self._bottleneck = False, None
        assert bottleneck is not None
        return output, bottleneck
