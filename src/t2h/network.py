"""The networks: presets, fresh ones, and how methods call them.

The `cifar` preset is the U-Net of pytorch-ddpm that every long-tailed paper uses; with 10 classes it has 35,751,939
parameters and computes what the official network computes (`t2h.convert`). "No label" is row K of the class
embedding, which stays zero.

A trap: the time and label embedding is added before a GroupNorm. With as many groups as channels that norm subtracts it
again, and the network is blind to t and y. The small presets therefore have at least 4 channels in a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from jaxtyping import Float, Int
from torch import Tensor, nn

from t2h.backbones import (
    UNET,
    backbone_class,
    bottleneck_of,
    dit_architecture,
    draw_weights,
    freeze_null_label,
    image_factor,
    label_entry,
)
from t2h.errors import UserError, unknown_name
from t2h.files import read_object, reading
from t2h.process import Images, Times


def unet_architecture(
    channels: tuple[int, ...], attention: tuple[int, ...], blocks: int, groups: int, dropout: float
) -> dict[str, Any]:
    """The architecture of pytorch-ddpm as a `UNet2DModel` configuration, without what the images decide.

    ``channels`` are those of each level, from the finest; ``attention`` has the numbers of the levels with attention.
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


# The papers' network (Ho et al. 2020; CBDM, T2H, CORAL, CM). At 64 px the official scripts change --img_size alone.
_PAPERS = unet_architecture((128, 256, 256, 256), attention=(1,), blocks=2, groups=32, dropout=0.1)

PRESETS: dict[str, dict[str, Any]] = {
    "cifar": _PAPERS,
    "tiny-imagenet": _PAPERS,
    # 28 and 32 px on a CPU
    "small": unet_architecture((32, 64, 128), attention=(2,), blocks=1, groups=8, dropout=0.1),
    # 16 px on a CPU
    "mini": unet_architecture((32, 64, 64), attention=(2,), blocks=1, groups=8, dropout=0.0),
    # 8 px, the embedded digits
    "digits": unet_architecture((32, 64), attention=(1,), blocks=1, groups=8, dropout=0.0),
    # DiT-S/2 of the paper (Peebles and Xie 2023), for 32 px and latents.
    "dit-s/2": dit_architecture(depth=12, width=384, heads=6),
    # 8 to 16 px on a CPU.
    "dit-tiny": dit_architecture(depth=4, width=128, heads=4),
}


def network_config(
    preset: str, num_classes: int | None, channels: int, image_size: int, dropout: float | None = None
) -> dict[str, Any]:
    """The configuration of a network for these images.

    Args:
        preset: a name in `PRESETS`, or the configuration of a diffusers model, whose class `_class_name` says
            (`UNet2DModel` if it is missing): JSON text, or the path of a JSON file.
        num_classes: K; None for an unconditional network.
        channels: of the images, or latents.
        image_size: their height and width.
        dropout: replaces the preset's, in [0, 1).

    Raises:
        UserError: for an unknown preset or class, and images or labels that the network cannot take.
    """
    if preset in PRESETS:
        config = dict(PRESETS[preset])
    elif preset.startswith("{") or preset.endswith(".json"):
        place = preset if preset.startswith("{") else Path(preset)
        with reading(place, "configuration of a diffusers model in JSON", "give another --network"):
            loaded = read_object(place)
        named = {"_class_name": loaded["_class_name"]} if loaded.get("_class_name", UNET) != UNET else {}
        config = named | {key: value for key, value in loaded.items() if not key.startswith("_")}
    else:
        raise unknown_name("network", preset, PRESETS)
    if dropout is not None:
        config["dropout"] = dropout
    labels, factor = label_entry(config, num_classes), image_factor(config)
    if image_size % factor:
        raise UserError(
            f"images of {image_size} px do not fit the network {preset!r}; choose an image size that {factor} divides, "
            f"such as --image-size {round(image_size / factor) * factor or factor}."
        )
    return config | {"sample_size": image_size, "in_channels": channels, "out_channels": channels} | labels


def build_network(config: dict[str, Any], seed: int = 0) -> ModelMixin:
    """A fresh network with weights from ``seed`` alone (`draw_weights`); the embedding of the null label is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        options = {key: value for key, value in config.items() if not key.startswith("_")}
        try:
            network = backbone_class(config)(**options)
        except (TypeError, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"the network cannot be built: {' '.join(str(error).split())[:200]}") from error
        draw_weights(network)
    freeze_null_label(network)
    return network


def augmentation_embedding(unet: ModelMixin, parameters: int, seed: int = 0) -> nn.Linear:
    """A fresh embedding of an augmentation's parameters, as `UNetDenoiser` takes it; Xavier uniform.

    Raises:
        UserError: if the network has no embedding of time that all its layers share.
    """
    if not hasattr(unet, "time_embedding"):
        raise UserError(f"--augment needs one time_embedding for all layers; a {type(unet).__name__} has none.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(parameters, unet.time_embedding.linear_2.out_features, bias=False)
        nn.init.xavier_uniform_(linear.weight)
    return linear


class UNetDenoiser(nn.Module):
    """A diffusers model as methods call it: `denoiser(xt, t, class_labels) -> output`.

    Args:
        unet: the network.
        augmentation: the embedding of an augmentation's parameters (`t2h.data.augment`): linear and without bias, added
            to the time embedding. Zeros add nothing: the network is sampled without it.
    """

    def __init__(self, unet: ModelMixin, augmentation: nn.Linear | None = None) -> None:
        super().__init__()
        self.unet = unet.to(memory_format=torch.channels_last)  # convolutions are a fifth faster
        self.augmentation = augmentation
        self._augmented_by: Tensor | None = None
        self._keeps_bottleneck = False
        self._bottleneck: Tensor | None = None
        # Hooks are registered once: a compiled network does not see hooks that come and go.
        found = bottleneck_of(unet)
        self.bottleneck_channels = None if found is None else found[1]
        """Channels of the bottleneck; None if the network has none."""
        if found is not None:
            found[0].register_forward_hook(self._after_bottleneck)
        if augmentation is not None:
            unet.time_embedding.register_forward_hook(self._after_time_embedding)

    def _after_bottleneck(self, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if self._keeps_bottleneck:  # tokens (B, n, k) become a column of n pixels
            self._bottleneck = output if output.ndim == 4 else output.transpose(1, 2).unsqueeze(-1)

    def _after_time_embedding(self, _module: nn.Module, _inputs: tuple[Tensor, ...], embedding: Tensor) -> Tensor:
        parameters = self._augmented_by
        return embedding if parameters is None else embedding + self.augmentation(parameters)  # type: ignore[misc]

    @contextmanager
    def conditioned_on(self, augmentation: Float[Tensor, "b p"] | None) -> Iterator[None]:
        """Inside, every pass sees these parameters of its images' augmentation, row by row; None adds nothing."""
        self._augmented_by = augmentation
        try:
            yield
        finally:
            self._augmented_by = None

    def forward(self, xt: Images, t: Times, class_labels: Int[Tensor, " b"] | None) -> Images:
        """What the network predicts at (x_t, t, y); label K means "no label", and None an unconditional network."""
        return self.unet(xt, t, class_labels, return_dict=False)[0]

    def with_bottleneck(
        self, xt: Images, t: Times, class_labels: Int[Tensor, " b"] | None
    ) -> tuple[Images, Float[Tensor, "b k i j"]]:
        """The output, and the activations of the bottleneck, with gradient."""
        self._keeps_bottleneck = True
        try:
            output, bottleneck = self(xt, t, class_labels), self._bottleneck
        finally:
            self._keeps_bottleneck, self._bottleneck = False, None
        assert bottleneck is not None
        return output, bottleneck
