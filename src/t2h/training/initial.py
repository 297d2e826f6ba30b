"""The network that a run begins with: a fresh one, or that of another run (`--init`)."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
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


@dataclass(frozen=True)
class InitialNetwork:
    """The network that a run begins with, and where its weights come from, in words; None for fresh ones."""

    unet: ModelMixin
    origin: str | None = None


def initial_network(config: TrainConfig, table: ImageTable) -> InitialNetwork:
    """The network of a run as it begins: fresh, or from `init`.

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
    classes = table.num_classes if config.network.conditional else None
    architecture = network_config(name, classes, table.channels, height, config.network.dropout)
    return InitialNetwork(build_network(architecture, seed))


def _network_of_another(config: TrainConfig, table: ImageTable, seed: int) -> InitialNetwork:
    """The network of `config.network.init`, for the classes of ``table``.

    Every weight is taken over but the class embedding: a class keeps its row where the other network knows its name
    (its number, where it has no names, as networks of official checkpoints), and gets a fresh one elsewhere.

    Args:
        config: the run's.
        table: its images.
        seed: of the fresh rows.

    Raises:
        UserError: if there is no such network, or it is of other images or another noise schedule.
    """
    source = Path(str(config.network.init))
    if config.network.network != "auto":
        raise UserError(
            f"--network {config.network.network} and --init {source}: the network comes with --init; "
            "leave out --network."
        )
    pipeline = load_pipeline(source)
    _check(pipeline, source, config, table)
    classes = table.num_classes if config.network.conditional else None
    given = json.dumps({**pipeline.unet.config, "_class_name": type(pipeline.unet).__name__})
    size, dropout = table.image_size[0], config.network.dropout
    unet = build_network(network_config(given, classes, table.channels, size, dropout), seed)
    weights, known = pipeline.unet.state_dict(), known_classes(pipeline, table)
    theirs = {name: weights.pop(name) for name in label_tables(pipeline.unet)}
    for name, embedding in label_tables(unet).items():
        weights[name] = embedding.weight.detach().clone()
        for mine, other in known.items() if name in theirs else ():
            weights[name][mine] = theirs[name][other]
    unet.load_state_dict(weights)
    freeze_null_label(unet)
    knows = f"; knows {len(known)} of {table.num_classes} classes" * config.network.conditional
    return InitialNetwork(
        unet, f"{source} ({pipeline.config['method']}, {pipeline.config['images_seen']:,} images seen{knows})"
    )


def known_classes(pipeline: T2HPipeline, table: ImageTable) -> dict[int, int]:
    """The classes that both know: {number in the table: number in the pipeline}."""
    names = list(pipeline.config["class_names"] or [])
    if names == [str(number) for number in range(len(names))] and len(names) == table.num_classes:
        return {number: number for number in range(len(names))}
    return {number: names.index(name) for number, name in enumerate(table.class_names) if name in names}


def _check(pipeline: T2HPipeline, source: Path, config: TrainConfig, table: ImageTable) -> None:
    channels = pipeline.image_shape[0]
    if channels != table.channels:
        raise UserError(
            f"--init {source} is a network for images of {channels} channel(s), and {table.name} has {table.channels}."
        )
    theirs: Any = Process.of(pipeline.scheduler)
    if theirs != config.process.make():
        flags = [f"--{f.name.replace('_', '-')} {getattr(theirs, f.name)}" for f in fields(theirs)]
        given = "--process flow" if is_flow(pipeline.scheduler) else " ".join(["--process ddpm", *flags])
        raise UserError(f"--init {source} was trained with another noise schedule or prediction; give {given}.")
