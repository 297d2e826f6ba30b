"""From a configuration to the objects of a run: data, network, objective, pipeline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from t2h.data import ImageTable, load
from t2h.data.augment import PARAMETERS
from t2h.errors import UserError
from t2h.methods import build_objective
from t2h.methods.base import Batch, Context
from t2h.methods.objective import Objective
from t2h.network import UNetDenoiser, augmentation_embedding, build_network, network_config, null_label
from t2h.pipeline import T2HPipeline
from t2h.process import Process
from t2h.randomness import derive_seed
from t2h.samples.draw import make_scheduler
from t2h.sampling import own_sampling
from t2h.training.config import TrainConfig
from t2h.training.fine_tuning import Start, network_from


class TrainingModel(nn.Module):
    """Network and objective as one module, so that every pass of a step happens inside one call."""

    def __init__(self, denoiser: UNetDenoiser, objective: Objective) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.objective = objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss."""
        with self.denoiser.conditioned_on(batch.augmentation):
            return self.objective(self.denoiser, batch)


@dataclass(frozen=True)
class Setup:
    """What a run is made of, on the CPU, before training."""

    config: TrainConfig
    table: ImageTable
    process: Process
    denoiser: UNetDenoiser
    objective: Objective
    origin: str | None = None
    """Of the weights that another run gave, in words."""

    @property
    def unet(self) -> UNet2DModel:
        """The network that is trained, and whose average is sampled."""
        return self.denoiser.unet

    def model(self) -> TrainingModel:
        """What is optimised."""
        return TrainingModel(self.denoiser, self.objective)

    @property
    def null_label(self) -> int | None:
        """K; None for an unconditional network."""
        return null_label(self.unet)

    def pipeline(self, unet: UNet2DModel, images_seen: int) -> T2HPipeline:
        """The pipeline around a network of this run."""
        config, table = self.config, self.table
        training = {
            "Data": f"{table.name}, {table.split}, {len(table):,} images",
            "Imbalance": f"{config.data.imbalance:g} ({config.data.profile})",
            "Batch size": config.learning.batch_size,
            "Learning rate": config.learning.lr,
            "EMA decay": config.learning.ema_decay,
            "Seed": config.learning.seed,
        }
        if config.learning.augment:
            training["Augmentation"] = f"ADA, p = {config.learning.augment:g}"
        if config.network.init:
            training["Fine-tuned from"] = Path(config.network.init).name
        learning = config.learning
        own = own_sampling(learning.steps * learning.batch_size, self.process.num_timesteps)
        return T2HPipeline(
            unet,
            make_scheduler(own.scheduler, self.process),
            class_names=table.class_names,
            class_counts=table.class_counts.tolist(),
            method=config.objective,
            images_seen=images_seen,
            training=training,
            sampling=asdict(own),
        )


def network_of(config: TrainConfig, table: ImageTable) -> Start:
    """The network of a run as it begins: fresh, or from `init`.

    Raises:
        UserError: if the images are not square or do not fit the network, or there is no such `init`.
    """
    height, width = table.image_size
    if height != width:
        raise UserError(f"images are {height}×{width}; square ones are needed. Give --image-size to crop them.")
    name = config.network.network
    if name == "auto":
        name = "digits" if height <= 16 else "small" if height <= 32 else "tiny-imagenet"
    classes = table.num_classes if config.network.conditional else None
    seed = derive_seed(config.learning.seed, "weights")
    if config.network.init:
        return network_from(config, table, seed)
    architecture = network_config(name, classes, table.channels, height, config.network.dropout)
    return Start(build_network(architecture, seed))


def set_up(config: TrainConfig, architecture: dict[str, Any] | None = None) -> Setup:
    """Load the data and make network and objective.

    Args:
        config: the run's.
        architecture: of the network, where a checkpoint will replace its weights: `init` is not needed then.

    Raises:
        UserError: for data that cannot be read, and options that do not fit them.
    """
    table, process = load(config.data), config.process
    learning = config.learning
    start = network_of(config, table) if architecture is None else Start(build_network(architecture))
    unet = start.unet
    told = None
    if learning.augment:
        told = augmentation_embedding(unet, PARAMETERS, derive_seed(learning.seed, "augmentation weights"))
    denoiser = UNetDenoiser(unet, told)
    context = Context(torch.from_numpy(table.class_counts), process, null_label(unet))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(learning.seed, "objective weights"))
        objective = build_objective(config.objective, config.methods, context, denoiser)
    return Setup(config, table, process, denoiser, objective, start.origin)


class MovingAverage:
    """The exponential moving average of a network's weights: θ̄ ← decay θ̄ + (1 - decay) θ after every step, from step 0.

    As the official code: θ̄ begins as the initial weights, and the decay is constant.
    """

    def __init__(self, unet: UNet2DModel, decay: float) -> None:
        self.unet = type(unet).from_config(unet.config)
        self.unet.load_state_dict(unet.state_dict())
        self.unet.eval().requires_grad_(False).to(next(unet.parameters()).device)
        self._average = get_ema_multi_avg_fn(decay)

    def update(self, weights: list[Tensor]) -> None:
        """Take one step towards these weights, in the order of the network's parameters."""
        self._average(list(self.unet.parameters()), weights, None)
