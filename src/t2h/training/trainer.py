"""One run in the making: what it holds, one step of it, what it writes.

Nothing random is saved: every draw of a step comes from a generator that is seeded with (seed, rank, images seen). A
checkpoint holds weights, their moving average, the optimiser and the step; from there a run goes on exactly as if it
had not stopped.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from torch import Tensor

from t2h.data.augment import augment
from t2h.data.batches import BatchStream, Share
from t2h.device import check_precision, pick_device
from t2h.errors import UserError
from t2h.methods.base import Batch
from t2h.randomness import derive_seed, generator
from t2h.training.checkpoints import RunFolder
from t2h.training.config import TrainConfig
from t2h.training.setup import MovingAverage, set_up


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The devices and processes that the machine or `accelerate launch` offers.

    Raises:
        UserError: for a device that is not there, or a batch that does not divide.
    """
    machine, learning = config.machine, config.learning
    device = pick_device(machine.device)
    check_precision(device, machine.mixed_precision)
    if PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)  # an earlier run of this process may have had others
    # cpu=True also lets several processes share the work of a machine that has no other device
    accelerator = Accelerator(mixed_precision=machine.mixed_precision, cpu=device.type == "cpu")
    parts = accelerator.num_processes * learning.accumulate
    if learning.batch_size % parts:
        raise UserError(
            f"a batch of {learning.batch_size} images does not divide into {accelerator.num_processes} process(es) × "
            f"{learning.accumulate} part(s); choose a --batch-size that {parts} divides."
        )
    return accelerator


class Trainer:
    """One run, in the making.

    Args:
        config: the run's configuration.
        out: its folder.
        accelerator: device and processes.
    """

    def __init__(self, config: TrainConfig, out: Path, accelerator: Accelerator) -> None:
        self.config, self.run, self.accelerator = config, RunFolder(out), accelerator
        learning, machine = config.learning, config.machine
        self.setup = set_up(config, self.run.architecture())
        device = accelerator.device
        model = self.setup.model().to(device)
        self.unet = self.setup.unet
        fused = device.type in ("cuda", "cpu")
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning.lr, fused=fused)
        self.average = MovingAverage(self.unet, learning.ema_decay)
        if machine.compile == "on" or (machine.compile == "auto" and device.type == "cuda"):
            self.unet.compile()
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.stream = BatchStream(
            self.setup.table,
            device,
            learning.seed,
            learning.resampling,
            # the augmentation has mirrors of its own, of which it tells
            not learning.augment
            and (learning.flip == "on" or (learning.flip == "auto" and self.setup.table.name != "digits")),
            int(machine.resident_gib * 2**30),
            machine.workers,
        )
        self.step = 0
        self.window: dict[str, Tensor] = {}  # sums of the loss terms since the last line of metrics,
        self.window_parts = 0  # and over how many passes

    @property
    def images_seen(self) -> int:
        """How many images the run has shown to the network."""
        return self.step * self.config.learning.batch_size

    @property
    def share(self) -> Share:
        """This process's share of each pass."""
        world = self.accelerator.num_processes
        size = self.config.learning.batch_size // (world * self.config.learning.accumulate)
        return Share(size, self.accelerator.process_index, world)

    # --- one step ---------------------------------------------------------------------------------------------------

    def noised(self, x0: Tensor, y: Tensor, position: int) -> Batch:
        """The batch at ``position`` of the run's sequence, noised; its references are those of all processes."""
        learning, rank = self.config.learning, self.accelerator.process_index
        x0, told = self._augmented(x0, "augmentation", rank, position)
        draws = generator(x0.device, learning.seed, "noise", rank, position)
        batch = Batch.noised(
            self.setup.process,
            x0,
            y,
            draws,
            self.setup.null_label,
            learning.label_dropout,
            learning.dropout_unit,
            told,
        )
        if not self.setup.objective.needs_references:
            return batch
        if self.accelerator.num_processes > 1:
            x0, y = self.accelerator.gather(x0), self.accelerator.gather(y)
        if learning.references:
            k = position // (self.share.size * self.share.world)
            more, classes = self.stream.references(k, learning.references)
            more, _ = self._augmented(more, "augmentation of others", k)
            x0, y = torch.cat([x0, more]), torch.cat([y, classes])
        return batch.with_references(x0, y, offset=rank * len(batch.y))

    def _augmented(self, x0: Tensor, purpose: str, *numbers: int) -> tuple[Tensor, Tensor | None]:
        """The images augmented, and what the network is told of it."""
        learning = self.config.learning
        if not learning.augment:
            return x0, None
        return augment(x0, learning.augment, generator(x0.device, learning.seed, purpose, *numbers))

    def take_step(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """One optimisation step."""
        learning, share = self.config.learning, self.share
        self.set_lr()
        for part in range(learning.accumulate):
            position = self.images_seen + part * share.size * share.world
            batch = self.noised(*next(batches), position)
            torch.manual_seed(derive_seed(learning.seed, "dropout", share.rank, position))
            last = part == learning.accumulate - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                terms = self.model(batch)
                loss = torch.stack(list(terms.values())).sum()
                self.accelerator.backward(loss / learning.accumulate)
            self.note({"loss": loss, **terms})
        if learning.grad_clip:
            self.accelerator.clip_grad_norm_(self.model.parameters(), learning.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.setup.objective.merged(self.unet))
        self.step += 1

    def set_lr(self) -> None:
        """lr × min(step, warmup)/warmup, from step 0 on, as the official code: the very first step has rate 0."""
        learning = self.config.learning
        factor = min(self.step / learning.warmup_steps, 1.0) if learning.warmup_steps else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = learning.lr * factor

    def note(self, terms: dict[str, Tensor]) -> None:
        """Add terms to the window of the next metrics line; stays on the device."""
        self.window_parts += 1
        for name, term in terms.items():
            value = term.detach().float()
            self.window[name] = self.window[name] + value if name in self.window else value

    # --- what is written --------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Stop where the loss is no number.

        Raises:
            UserError: with what to change; checkpoints are left as they are.
        """
        if "loss" in self.window and not math.isfinite(self.window["loss"].item()):
            raise UserError(
                f"the loss is no number at step {self.step}; lower --lr, or use --mixed-precision bf16 or no. "
                "The last checkpoint is as it was."
            )

    def flush(self) -> dict[str, Any]:
        """The means of the window for a line of metrics; the window begins anew."""
        self.check()
        means = {
            name: self.accelerator.reduce(total, "mean").item() / self.window_parts
            for name, total in self.window.items()
        }
        self.window, self.window_parts = {}, 0
        return {
            "step": self.step,
            "images_seen": self.images_seen,
            **means,
            "lr": self.optimizer.param_groups[0]["lr"],
        }

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: tensors and plain values only."""
        model, scaler = self.accelerator.unwrap_model(self.model), self.accelerator.scaler
        told = self.setup.denoiser.augmentation
        return {
            "format": "t2h-checkpoint",
            "step": self.step,
            "images_seen": self.images_seen,
            "unet": self.unet.state_dict(),
            "ema": self.average.unet.state_dict(),
            "augmentation": None if told is None else told.state_dict(),
            "objective": model.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "window": self.window,
            "window_parts": self.window_parts,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.step = state["step"]
        self.unet.load_state_dict(state["unet"])
        self.average.unet.load_state_dict(state["ema"])
        if self.setup.denoiser.augmentation is not None:
            self.setup.denoiser.augmentation.load_state_dict(state["augmentation"])
        self.accelerator.unwrap_model(self.model).objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.window = {name: total.to(self.accelerator.device) for name, total in state["window"].items()}
        self.window_parts = state["window_parts"]

    def save(self) -> None:
        """Checkpoint and pipeline folder, from the main process."""
        self.check()
        if self.accelerator.is_main_process:
            self.run.save(self.state(), self.step, self.config.machine.keep)
            self.run.save_pipeline(self.setup.pipeline(self.average.unet, self.images_seen))
        self.accelerator.wait_for_everyone()
