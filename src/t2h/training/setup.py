"""From a configuration to the objects of a run: data, network, objective, optimiser, average."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from t2h.backbones import null_label
from t2h.data import load
from t2h.data.augment import PARAMETERS
from t2h.data.batches import BatchStream, Share
from t2h.errors import UserError
from t2h.files import reading
from t2h.methods import build_objective
from t2h.methods.base import Batch, Context
from t2h.methods.objective import Objective
from t2h.methods.window import Window
from t2h.network import UNetDenoiser, augmentation_embedding, build_network
from t2h.pipeline import T2HPipeline
from t2h.pipeline.autoencoder import load_autoencoder
from t2h.randomness import derive_seed
from t2h.sampling import set_steps
from t2h.training.average import MovingAverage
from t2h.training.config import TrainConfig
from t2h.training.initial import initial_network
from t2h.training.latents import encoded
from t2h.training.references import ReferenceImages
from t2h.training.skipped import Skipped


class TrainingModel(nn.Module):
    """Network and objective as one module, so that every pass of a step happens inside one call."""

    def __init__(self, denoiser: UNetDenoiser, objective: Objective) -> None:
        super().__init__()
        self.denoiser, self.objective = denoiser, objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        with self.denoiser.conditioned_on(batch.augmentation):
            return self.objective(self.denoiser, batch)


class Training:
    """What a run is made of, on its device, and how far it has come.

    With ``architecture`` a checkpoint will replace the network's weights: `init` is not needed then. ``autoencoder`` is
    the run's own copy of its autoencoder.

    Attributes:
        share: this process's share of each pass.
        step: optimisation steps so far.
        window, window_parts: sums of the loss terms since the last line of metrics, and over how many passes.
        skipped: what is known of steps that were left out.

    Raises:
        UserError: for data that cannot be read, and options that do not fit them.
    """

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Accelerator,
        architecture: dict[str, Any] | None = None,
        autoencoder: str | None = None,
    ) -> None:
        self.config, self.accelerator = config, accelerator
        learning, machine, device = config.learning, config.machine, accelerator.device
        self.process = config.process.make()
        self.scheduler = self.process.scheduler(config.own_sampling.scheduler)
        set_steps(self.scheduler, config.own_sampling.steps)  # what cannot be drawn shows before hours of training
        self.table = load(config.data)
        # the augmentation has mirrors of its own, of which it tells the network
        flip = learning.flip == "on" or (learning.flip == "auto" and self.table.name != "digits")
        flip = flip and not learning.augment
        self.autoencoder = autoencoder or config.network.autoencoder
        if self.autoencoder:
            with accelerator.main_process_first():  # the others read what it has kept
                self.table = encoded(self.table, load_autoencoder(self.autoencoder), flip, device)
        begun = (build_network(architecture), None) if architecture else initial_network(config, self.table)
        self.unet, self.origin = begun
        self.null_label = null_label(self.unet)
        seed = derive_seed(learning.seed, "augmentation weights")
        embedding = augmentation_embedding(self.unet, PARAMETERS, seed) if learning.augment else None
        self.denoiser = UNetDenoiser(self.unet, embedding)
        context = Context(torch.from_numpy(self.table.class_counts), self.process, self.null_label)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(learning.seed, "objective weights"))
            self.objective = build_objective(config.objective, config.methods, context, self.denoiser)
        model = TrainingModel(self.denoiser, self.objective).to(device)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=learning.lr, fused=device.type in ("cuda", "cpu"))
        self.average = MovingAverage(self.unet, learning.ema_decay, learning.rampup)
        if machine.compile == "on" or (machine.compile == "auto" and device.type == "cuda"):
            self.unet.compile()
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.stream = BatchStream(
            self.table,
            device,
            learning.seed,
            learning.resampling,
            flip,
            int(machine.resident_gib * 2**30),
            machine.workers,
        )
        parts = accelerator.num_processes * learning.accumulate
        if learning.batch_size % parts:
            raise UserError(
                f"a batch of {learning.batch_size} images does not divide into {accelerator.num_processes} process(es) "
                f"× {learning.accumulate} part(s); choose a --batch-size that {parts} divides."
            )
        self.share = Share(learning.batch_size // parts, accelerator.process_index, accelerator.num_processes)
        self.references = None
        if (kind := self.objective.references) is not None:
            self.references = ReferenceImages(kind, learning, self.stream, self.share, accelerator)
        self.step = 0
        self.window: dict[str, Tensor] = {}
        self.window_parts = 0
        self.skipped = Skipped()

    @property
    def images_seen(self) -> int:
        return self.step * self.config.learning.batch_size

    def summary(self) -> str:
        """What the run is made of, in lines: data, network, its origin, objective, images to see."""
        table, learning = self.table, self.config.learning
        counts, total = table.class_counts, learning.steps * learning.batch_size
        windows = [part for part in self.objective.modules() if isinstance(part, Window)]
        parameters, passes = sum(p.numel() for p in self.model.parameters()), self.objective.passes
        kind = "unconditional" if self.null_label is None else "class-conditional"
        size = f"{table.image_size[0]} px" + " of latents" * bool(self.autoencoder)
        return "\n".join(
            [
                f"data        {table.name} ({table.split}): {len(table):,} images of {table.num_classes} classes, "
                f"{counts.max():,} … {counts.min():,} a class; {self.stream.describe()}",
                f"network     {parameters:,} parameters, {size}, {kind}",
                *([f"latents     {table.channels} channels, of {self.autoencoder}"] if self.autoencoder else []),
                *([f"begins with {self.origin}"] if self.origin else []),
                f"objective   {self.config.objective}, {passes} network pass{'es' * (passes > 1)} a step",
                *(f"window      {part.extra_repr()}" for part in windows if part.bounds),
                f"images      {total:,} to see: {learning.steps:,} steps of {learning.batch_size}, "
                f"{total / len(table):,.0f} times the data",
                *(f"warning     {line}" for line in learning.warnings()),
            ]
        )

    def pipeline(self) -> T2HPipeline:
        """The pipeline of the average, as it is stored."""
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
        if config.network.autoencoder:
            training["Autoencoder"] = Path(config.network.autoencoder).name
        if config.network.init:
            training["Fine-tuned from"] = Path(config.network.init).name
        return T2HPipeline(
            self.average.unet,
            self.scheduler,
            class_names=table.class_names,
            class_counts=table.class_counts.tolist(),
            method=config.objective,
            images_seen=self.images_seen,
            sampling=asdict(config.own_sampling),
            training=training,
            vae=load_autoencoder(self.autoencoder) if self.autoencoder else None,
        )

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def gather_counts(self) -> None:
        """Move what the objective has counted in other processes to the main one, which logs and saves it."""
        if self.accelerator.num_processes > 1:
            for count in self.objective.counts().values():
                total = self.accelerator.reduce(count, "sum")
                count.copy_(total if self.accelerator.is_main_process else torch.zeros_like(count))

    def count(self, terms: dict[str, Tensor], parts: int) -> None:
        """Take the sums of a step's loss terms into the window; they stay on the device."""
        self.window = {name: self.window.get(name, 0) + term for name, term in terms.items()}
        self.window_parts += parts

    def window_means(self) -> dict[str, Tensor]:
        """The sums of the window, as means over the processes."""
        return {name: self.accelerator.reduce(total, "mean") for name, total in self.window.items()}

    def _parts(self) -> dict[str, Any]:
        """What has a state, under its name in a checkpoint; None for what this run has none of."""
        return {
            "unet": self.unet,
            "ema": self.average.unet,
            "augmentation": self.denoiser.augmentation,
            "objective": self.objective,
            "optimizer": self.optimizer,
            "scaler": self.accelerator.scaler,
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: tensors and plain values only. All processes call it together."""
        self.gather_counts()
        return {
            "format": "t2h-checkpoint",
            "step": self.step,
            "images_seen": self.images_seen,
            **{name: None if part is None else part.state_dict() for name, part in self._parts().items()},
            "window": self.window_means(),
            "window_parts": self.window_parts,
            "skipped": asdict(self.skipped),
        }

    def restore(self, state: dict[str, Any], run: Path) -> None:
        """Go on from a checkpoint of ``run``; a `UserError` if it does not fit."""
        remedy = f"begin anew from its weights: --init {run} --out ANOTHER_FOLDER"
        with reading(run, "run whose last checkpoint fits these options and this version", remedy):
            for name, part in self._parts().items():
                if part is not None and state[name] is not None:
                    part.load_state_dict(state[name])
            self.step = state["step"]
            self.window = {name: total.to(self.accelerator.device) for name, total in state["window"].items()}
            self.window_parts = state["window_parts"]
            self.skipped = Skipped(**state.get("skipped", {}))
        if not self.accelerator.is_main_process:
            for count in self.objective.counts().values():
                count.zero_()
