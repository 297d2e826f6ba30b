"""Training. `train` is read from top to bottom: set up, then step after step until the last one.

Nothing random is saved: every draw of a step comes from a generator that is seeded with (seed, rank, images seen). A
checkpoint holds weights, their average, the optimiser and the step; from there a run goes on exactly as if it had not
stopped.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from t2h.device import make_accelerator, own_accelerate_state
from t2h.errors import UserError
from t2h.files import replaced
from t2h.samples.draw import draw_grid
from t2h.training.config import TrainConfig
from t2h.training.draw import calibrate, draw_batch
from t2h.training.run import RunFolder
from t2h.training.setup import Training
from t2h.training.watch import Clock, Watch


@dataclass(frozen=True)
class TrainResult:
    """How a call of `train` ended.

    Attributes:
        status: "finished" now, "already finished" before, or "interrupted" (saved; the same call goes on).
        step: the step that was reached.
        images_seen: step × batch size.
        signal: the number of the signal that interrupted.
        main_process: whether this is the process that writes; the others should say nothing.
    """

    status: Literal["finished", "already finished", "interrupted"]
    step: int
    images_seen: int
    signal: int | None = None
    main_process: bool = True

    @property
    def exit_status(self) -> int:
        """Of a command: 0, or 128 + the number of the signal."""
        return 128 + (self.signal or 2) if self.status == "interrupted" else 0


@own_accelerate_state()
def train(config: TrainConfig, out: Path, progress: bool = True, extend: bool = False) -> TrainResult:
    """Train, or go on with the run in ``out``, until ``config.learning.steps``.

    Args:
        config: the run's configuration; it must be that of the run in ``out``, if there is one.
        out: the run's folder.
        progress: show a bar with loss, images/s and time left.
        extend: the run may have been begun with fewer steps.

    Raises:
        UserError: for data, options or a folder that do not fit; for a loss that is no number.
    """
    # --- set up; nothing is written before everything fits
    run = RunFolder(out)
    config = run.settled(config, extend)
    learning, machine = config.learning, config.machine
    accelerator = make_accelerator(machine.device, learning.mixed_precision)
    main = accelerator.is_main_process
    training = Training(config, accelerator, run.architecture())
    run.check_images(training.table)
    if not run.checkpoints():
        calibrate(training)
    accelerator.wait_for_everyone()
    if main:
        run.begin(config, training.table)
    accelerator.wait_for_everyone()
    if (state := run.load()) is not None:
        training.restore(state)
        del state
    if training.step >= learning.steps:
        return TrainResult("already finished", training.step, training.images_seen, None, main)
    if main:
        run.rewind(training.step)
    if main and progress:
        print(training.summary() + (f"\nresuming    at step {training.step:,}" if training.step else ""), flush=True)
    start_trackers(accelerator, machine.trackers, out)

    # --- the loop
    clock = Clock(training.images_seen, run.metrics())
    batches = training.stream.batches(training.images_seen, training.share)
    bar = tqdm(
        initial=training.images_seen,
        total=learning.steps * learning.batch_size,
        unit="img",
        unit_scale=True,
        desc=out.name,
        disable=not (progress and main),
        mininterval=0.5,
    )
    with bar, Watch(accelerator, machine.checkpoint_minutes) as watch:
        while training.step < learning.steps:
            take_step(training, batches)
            bar.update(learning.batch_size)
            step, last = training.step, training.step == learning.steps
            if step % machine.log_every == 0 or last:
                line = metrics_of(training) | clock.read(training.images_seen)
                bar.set_postfix(loss=f"{line['loss']:.4f}", step=step)
                if main:
                    accelerator.log({k: v for k, v in line.items() if k != "step"}, step=step)
                    run.log(line | training.objective.statistics())
            asked = watch.asked(step)
            if last or (machine.save_every and step % machine.save_every == 0):
                save(training, run)
            elif asked:
                save(training, run, resume_only=True)
            grids = machine.grid_every
            if main and ((last and grids is not None) or (grids and step % grids == 0)):
                with replaced(out / "grids" / f"step_{step:08d}.png") as file:
                    draw_grid(training.pipeline()).save(file, format="PNG")
            if asked == "stop":
                break

    if machine.trackers:
        accelerator.end_training()
    status: Literal["finished", "interrupted"] = "finished" if training.step >= learning.steps else "interrupted"
    return TrainResult(status, training.step, training.images_seen, watch.signal, main)


def take_step(training: Training, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
    """One optimisation step: batch, loss, backward; clip, step, average."""
    learning, accelerator = training.config.learning, training.accelerator
    # from step 0 on, as the official code: the very first step has rate 0
    warmed = min(training.step / learning.warmup, 1.0) if learning.warmup else 1.0
    for group in training.optimizer.param_groups:
        group["lr"] = learning.lr * warmed
    for part in range(learning.accumulate):
        batch = draw_batch(training, *next(batches), part)
        last = part == learning.accumulate - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(training.model):
            terms = training.model(batch)
            loss = torch.stack(list(terms.values())).sum()
            accelerator.backward(loss / learning.accumulate)
        for name, term in {"loss": loss, **terms}.items():  # stays on the device
            training.window[name] = training.window.get(name, 0) + term.detach().float()
        training.window_parts += 1
    if learning.grad_clip:
        accelerator.clip_grad_norm_(training.model.parameters(), learning.grad_clip)
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)
    training.average.update(training.objective.merged(training.unet), training.step)
    training.step += 1


def check_finite(training: Training) -> dict[str, float]:
    """The means of the loss terms since the last line of metrics.

    Raises:
        UserError: in all processes, if the loss is no number in one of them; checkpoints are left as they are.
    """
    means = {name: total.item() / training.window_parts for name, total in training.window_means().items()}
    if not math.isfinite(means.get("loss", 0.0)):
        raise UserError(
            f"the loss is no number at step {training.step}; lower --lr, or use --mixed-precision bf16 or no. "
            "The last checkpoint is as it was."
        )
    return means


def metrics_of(training: Training) -> dict[str, Any]:
    """A line of metrics; the window begins anew."""
    means = check_finite(training)
    training.gather_counts()
    training.window, training.window_parts = {}, 0
    seen, lr = training.images_seen, training.optimizer.param_groups[0]["lr"]
    return {"step": training.step, "images_seen": seen, **means, "lr": lr}


def save(training: Training, run: RunFolder, resume_only: bool = False) -> None:
    """Write a checkpoint and the pipeline folder, from the main process."""
    check_finite(training)
    state = training.state()
    if training.accelerator.is_main_process:
        run.save(state, training.step, training.config.machine.keep, resume_only)
        run.save_pipeline(training.pipeline())
    training.accelerator.wait_for_everyone()


def start_trackers(accelerator: Accelerator, names: tuple[str, ...], out: Path) -> None:
    """Raises `UserError` for a tracker that is unknown or not installed."""
    if not names:
        return
    from accelerate.tracking import filter_trackers

    try:
        accelerator.log_with = filter_trackers(list(names), out / "trackers")
        if len(accelerator.log_with) < len(names):
            raise ValueError("not installed")
    except ValueError as error:
        raise UserError(
            f"--trackers {', '.join(names)}: {error}; install them (pip install tensorboard, wandb, trackio)."
        ) from error
    accelerator.project_configuration.logging_dir = str(out / "trackers")
    accelerator.init_trackers("t2h")
