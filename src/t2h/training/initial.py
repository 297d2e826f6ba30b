"""The network that a run begins with: a fresh one, or that of another run (`--init`)."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from diffusers import ModelMixin

from t2h.backbones import freeze_null_label, label_tables
from t2h.data import ImageTable
from t2h.errors import UserError
from t2h.network import build_network, network_config
from t2h.pipeline import T2HPipeline
from t2h.process import Process, is_flow
from t2h.randomness import derive_seed
from t2h.samples.draw import load_pipeline
from t2h.training.config import TrainConfig


def initial_network(config: TrainConfig, table: ImageTable) -> tuple[ModelMixin, str | None]:
    """The network of a run as it begins, and in words where its weights come from; None for fresh ones.

    Raises:
        UserError: if the images are not square or do not fit the network, or there is no such `init`.
    """
    height, width = table.image_size
    if height != width:
        raise UserError(f"images are {height}×{width}; square ones are needed. Give --image-size to crop them.")
    seed = derive_seed(config.learning.seed, "weights")
    if config.network.init:
        return _network_of_another(config, table, seed)
    name = config.network.network
    if name == "auto":
        name = "digits" if height <= 16 else "small" if height <= 32 else "tiny-imagenet"
    return build_network(_architecture(config, table, name), seed), None


def _architecture(config: TrainConfig, table: ImageTable, preset: str) -> dict[str, Any]:
    classes = table.num_classes if config.network.conditional else None
    return network_config(preset, classes, table.channels, table.image_size[0], config.network.dropout)


def _network_of_another(config: TrainConfig, table: ImageTable, seed: int) -> tuple[ModelMixin, str]:
    """The network of `config.network.init`, for the classes of ``table``.

    Every weight is taken over but the class embedding: a class keeps its row where the other network knows its name
    (its number, where it has no names, as networks of official checkpoints), and gets a fresh one elsewhere.
    """
    source = Path(str(config.network.init))
    if config.network.network != "auto":
        raise UserError(
            f"--network {config.network.network} and --init {source}: the network comes with --init; "
            "leave out --network."
        )
    pipeline = load_pipeline(source)
    _check(pipeline, source, config, table)
    given = json.dumps({**pipeline.unet.config, "_class_name": type(pipeline.unet).__name__})
    unet = build_network(_architecture(config, table, given), seed)
    weights, known = pipeline.unet.state_dict(), _known_classes(pipeline, table)
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise UserError(f"--init {source}: its weights are no numbers: its training has diverged; give another.")
    theirs = {name: weights.pop(name) for name in label_tables(pipeline.unet)}
    for name, embedding in label_tables(unet).items():
        weights[name] = embedding.weight.detach().clone()
        if name in theirs:
            weights[name][list(known)] = theirs[name][list(known.values())]
    unet.load_state_dict(weights)
    freeze_null_label(unet)
    facts = [pipeline.config["method"], f"{pipeline.config['images_seen']:,} images seen"]
    knows = f"; knows {len(known)} of {table.num_classes} classes" if config.network.conditional else ""
    return unet, f"{source} ({', '.join(facts)}{knows})"


def _known_classes(pipeline: T2HPipeline, table: ImageTable) -> dict[int, int]:
    """The classes that both know: {number in the table: number in the pipeline}."""
    names = list(pipeline.config["class_names"] or [])
    if names == [str(number) for number in range(len(names))] and len(names) == table.num_classes:
        return {number: number for number in range(len(names))}
    return {number: names.index(name) for number, name in enumerate(table.class_names) if name in names}


def _check(pipeline: T2HPipeline, source: Path, config: TrainConfig, table: ImageTable) -> None:
    vae = source / "vae" if (source / "vae").exists() else source / "pipeline" / "vae"
    if (pipeline.vae is None) != (config.network.autoencoder is None):
        remedy = "leave out --autoencoder" if pipeline.vae is None else f"give --autoencoder {vae}"
        raise UserError(f"--init {source} draws {'images' if pipeline.vae is None else 'latents'}; {remedy}.")
    channels = pipeline.noise_shape[0]
    if channels != table.channels:
        raise UserError(
            f"--init {source} is a network for images of {channels} channel(s), and {table.name} has {table.channels}."
        )
    theirs: Any = Process.of(pipeline.scheduler)
    if theirs != config.process.make():
        flags = [f"--{f.name.replace('_', '-')} {getattr(theirs, f.name)}" for f in fields(theirs)]
        given = "--process flow" if is_flow(pipeline.scheduler) else " ".join(["--process ddpm", *flags])
        raise UserError(f"--init {source} was trained with another noise schedule or prediction; give {given}.")
