"""The classes of diffusers that can be the network, and where they differ: labels, sizes, bottleneck, first weights.

A class qualifies if it is called as (x_t, timestep, class_labels): `UNet2DModel`, and `DiTTransformer2DModel` of
Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023. Unlike the paper's, diffusers' DiT embeds t and y
anew in every block, so `dit-s/2` has 35.2 million parameters with 10 classes of RGB images.
"""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
from diffusers import DiTTransformer2DModel, ModelMixin, UNet2DModel
from diffusers.models.embeddings import LabelEmbedding
from torch import nn

from t2h.errors import UserError

UNET = UNet2DModel.__name__


def dit_architecture(depth: int, width: int, heads: int, patch: int = 2) -> dict[str, Any]:
    """The architecture of a DiT without what the images decide."""
    return {
        "_class_name": DiTTransformer2DModel.__name__,
        "num_layers": depth,
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "patch_size": patch,
        "dropout": 0.0,
    }


def backbone_class(config: dict[str, Any]) -> type[ModelMixin]:
    """The class that a configuration names as `_class_name`; `UNet2DModel` if it names none.

    Raises:
        UserError: if there is no such class, or it is called otherwise.
    """
    name = config.get("_class_name", UNET)
    found: Any = getattr(diffusers, str(name), None)
    usable = isinstance(found, type) and issubclass(found, ModelMixin)
    if not usable or list(inspect.signature(found.forward).parameters)[2:4] != ["timestep", "class_labels"]:
        raise UserError(
            f"{name} is no model of diffusers that is called as (x_t, timestep, class_labels); such are {UNET} and "
            f"{DiTTransformer2DModel.__name__}."
        )
    return found


def image_factor(config: dict[str, Any]) -> int:
    """What must divide the height and width of images."""
    down = config.get("down_block_types")
    return 2 ** (len(down) - 1) if down else config.get("patch_size", 1)


def label_entry(config: dict[str, Any], num_classes: int | None) -> dict[str, int | None]:
    """The entry that says how many labels there are: K and the null label; None for an unconditional network.

    Raises:
        UserError: if the class cannot be unconditional.
    """
    if "num_embeds_ada_norm" not in inspect.signature(backbone_class(config)).parameters:
        return {"num_class_embeds": None if num_classes is None else num_classes + 1}
    if num_classes is None:
        raise UserError(f"a {config['_class_name']} always sees labels; leave out --no-conditional.")
    return {"num_embeds_ada_norm": num_classes}  # diffusers adds the row of the null label


def null_label(network: nn.Module) -> int | None:
    """K, the label that means "none"; None for an unconditional network."""
    config: Any = network.config
    if "num_embeds_ada_norm" in config:
        return config["num_embeds_ada_norm"]
    embeds = config["num_class_embeds"]
    return None if embeds is None else embeds - 1


def label_tables(network: nn.Module) -> dict[str, nn.Embedding]:
    """The embeddings of labels, by the names of their weights."""
    tables = {name: part for name, part in network.named_modules() if isinstance(part, nn.Embedding)}
    ours = ("class_embedding", "class_embedder.embedding_table")
    return {f"{name}.weight": table for name, table in tables.items() if name.endswith(ours)}


def bottleneck_of(network: nn.Module) -> tuple[nn.Module, int] | None:
    """The part whose output is the bottleneck, and its channels; None if there is none.

    Of a U-Net it is the middle block; of a transformer of N blocks, block ⌊N/4⌋ + 1, as in CCUA's official code.
    """
    config: Any = network.config
    if (middle := getattr(network, "mid_block", None)) is not None:
        return middle, config["block_out_channels"][-1]
    if blocks := getattr(network, "transformer_blocks", None):
        return blocks[len(blocks) // 4], config["num_attention_heads"] * config["attention_head_dim"]
    return None


def freeze_null_label(network: nn.Module) -> None:
    """Make row K of the label embeddings zero, and keep gradients from it; the training alone drops labels.

    Zero loses nothing in either class: the embedding of t, to which that of the label is added, has a bias.
    """
    for table in label_tables(network).values():
        table.padding_idx = table.num_embeddings - 1
        table.weight.data[table.padding_idx] = 0
    for part in network.modules():
        if isinstance(part, LabelEmbedding):
            part.dropout_prob = 0.0


def draw_weights(network: nn.Module) -> None:
    """Fresh weights, from torch's global generator; a class that is neither of ours keeps those of diffusers.

    U-Nets: pytorch-ddpm's, Xavier uniform, biases zero, and the last layer of each residual block, of each attention
    and of the network all but zero (gain 1e-5). DiT: the paper's, where every block is the identity at first
    (adaLN-Zero) and the output zero. Embeddings of labels are standard normal in both; a DiT with the small ones of its
    official code (0.02) learns the classes later.
    """
    if isinstance(network, UNet2DModel):
        last, gain = ("conv2", "to_out.0", "conv_out"), 1e-5
    elif isinstance(network, DiTTransformer2DModel):
        last, gain = ("norm1.linear", "proj_out_1", "proj_out_2"), 0.0
    else:
        return
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, gain=gain if name.endswith(last) else 1.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for table in label_tables(network).values():
        nn.init.normal_(table.weight)
