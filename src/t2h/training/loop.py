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
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from t2h.device import make_accelerator, on_main, own_accelerate_state
from t2h.errors import UserError
from t2h.files import append_json, replaced
from t2h.samples.draw import draw_grid
from t2h.training.config import TrainConfig
from t2h.training.draw import calibrate, draw_batch
from t2h.training.run import RunFolder
from t2h.training.same import as_begun, check_images
from t2h.training.setup import Training
from t2h.training.skipped import or_nan
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
        UserError: for data, options, a folder or a checkpoint that do not fit; if another process trains in the folder;
            for many losses in a row that are no numbers.
    """
    # --- set up; nothing is written before everything fits
    run = RunFolder(out)
    found = run.found()
    config = as_begun(run, config, extend)
    accelerator = make_accelerator(config.machine.device, config.learning.mixed_precision)
    training = Training(config, accelerator, run.architecture(), run.autoencoder())
    check_images(run, training.table)
    if (state := run.load(quiet=not accelerator.is_main_process)) is not None:
        training.restore(state, out)
        del state
    else:
        calibrate(training)
    with run.held(accelerator, found):
        on_main(accelerator, lambda: run.begin(config, training.table, training.step))
        return go_on(training, run, progress)


def go_on(training: Training, run: RunFolder, progress: bool) -> TrainResult:
    """Step after step until the last one, or a signal."""
    accelerator, learning, machine = training.accelerator, training.config.learning, training.config.machine
    main = accelerator.is_main_process
    if training.step >= learning.steps:
        if machine.grid_every is not None:
            on_main(accelerator, lambda: save_grid(training, run))  # a kill may have come before it
        return TrainResult("already finished", training.step, training.images_seen, None, main)
    if main and progress:
        print(training.summary() + (f"\nresuming    at step {training.step:,}" if training.step else ""), flush=True)
    start_trackers(accelerator, machine.trackers, run.path)
    clock = Clock(training.images_seen, run.metrics())
    batches = training.stream.batches(training.images_seen, training.share)
    bar = tqdm(
        initial=training.images_seen,
        total=learning.steps * learning.batch_size,
        unit="img",
        unit_scale=True,
        desc=run.path.name,
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
                bar.set_postfix(loss=f"{line.get('loss', math.nan):.4f}", step=step, **training.skipped.shown())
                accelerator.log({k: v for k, v in line.items() if k != "step"}, step=step)
                line |= training.objective.statistics()
                on_main(accelerator, partial(append_json, run.metrics_file, line))
            asked = watch.asked()
            if last or (machine.save_every and step % machine.save_every == 0):
                save(training, run)
            elif asked:
                save(training, run, resume_only=True)
            grids = machine.grid_every
            if asked != "stop" and ((last and grids is not None) or (grids and step % grids == 0)):
                on_main(accelerator, lambda: save_grid(training, run))
            if asked == "stop":
                break

    if machine.trackers:
        accelerator.end_training()
    status: Literal["finished", "interrupted"] = "finished" if training.step >= learning.steps else "interrupted"
    return TrainResult(status, training.step, training.images_seen, watch.signal, main)


def take_step(training: Training, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
    """One optimisation step: batch, loss, backward; clip, step, average. One that is no number changes none of them."""
    learning, accelerator = training.config.learning, training.accelerator
    # from step 0 on, as the official code: the very first step has rate 0
    warmed = min(training.step / learning.warmup, 1.0) if learning.warmup else 1.0
    for group in training.optimizer.param_groups:
        group["lr"] = learning.lr * warmed
    seen: list[tuple[Tensor, Tensor]] = []
    sums: dict[str, Tensor] = {}
    for part in range(learning.accumulate):
        batch = draw_batch(training, *next(batches), part)
        seen.append((batch.t, batch.y))
        last = part == learning.accumulate - 1
        with contextlib.nullcontext() if last else accelerator.no_sync(training.model):
            terms = training.model(batch)
            loss = torch.stack(list(terms.values())).sum()
            accelerator.backward(loss * or_nan(loss) / learning.accumulate)
        for name, term in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, 0.0) + term.detach().float()
    norm = float(accelerator.clip_grad_norm_(training.model.parameters(), learning.grad_clip or math.inf))
    if math.isfinite(norm):
        training.optimizer.step()
        training.average.update(training.objective.merged(training.unet), training.step)
        training.count(sums, learning.accumulate)
        training.skipped.taken(norm)
    else:
        if accelerator.scaler is not None:
            accelerator.scaler.update()  # lowers the scale of fp16
        training.skipped.left_out(training.step + 1, norm, sums, seen, accelerator)
    training.optimizer.zero_grad(set_to_none=True)
    training.step += 1


def metrics_of(training: Training) -> dict[str, Any]:
    """A line of metrics; the window begins anew. It has no loss where every step was left out."""
    means = {name: total.item() / training.window_parts for name, total in training.window_means().items()}
    training.gather_counts()
    training.window, training.window_parts = {}, 0
    seen, lr = training.images_seen, training.optimizer.param_groups[0]["lr"]
    rest = {"lr": lr, "grad_norm": training.skipped.norm, **training.skipped.shown()}
    return {"step": training.step, "images_seen": seen, **means, **rest}


def save(training: Training, run: RunFolder, resume_only: bool = False) -> None:
    """Write a checkpoint and the pipeline folder, from the main process.

    The checkpoint comes last: what a kill in between leaves undone is done again.
    """
    state = training.state()

    def write() -> None:
        run.save_pipeline(training.pipeline())
        training.autoencoder = run.autoencoder()
        run.save(state, training.step, training.config.machine.keep, resume_only)

    on_main(training.accelerator, write)


def save_grid(training: Training, run: RunFolder) -> None:
    """Draw a grid of samples from fixed noise, unless it is there."""
    target = run.path / "grids" / f"step_{training.step:08d}.png"
    if not target.exists():
        with replaced(target) as file:
            draw_grid(training.pipeline()).save(file, format="PNG")


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
