"""Training: `train(config, out)` runs the loop, and goes on where an earlier call stopped."""

from __future__ import annotations

import contextlib
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator
from tqdm import tqdm

from t2h.errors import UserError
from t2h.files import replaced
from t2h.samples.draw import draw_grid
from t2h.training.checkpoints import RunFolder
from t2h.training.config import TrainConfig
from t2h.training.plan import summary
from t2h.training.trainer import Trainer, make_accelerator


@dataclass(frozen=True)
class TrainResult:
    """How a call of `train` ended.

    Attributes:
        status: "finished" now, "already finished" before, or "interrupted" (saved; the same call goes on).
        step: the step that was reached.
        images_seen: step × batch size.
        run: the run's folder.
        signal: the number of the signal that interrupted.
    """

    status: Literal["finished", "already finished", "interrupted"]
    step: int
    images_seen: int
    run: Path
    signal: int | None = None


class Interruption:
    """Ctrl-C and SIGTERM ask the loop to save and leave, instead of killing it."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        with contextlib.suppress(ValueError):  # not in the main thread: nobody sends signals here
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._asked)
        return self

    def _asked(self, number: int, _frame: object) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: leave at once
        self.signal = number

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self, accelerator: Accelerator, step: int) -> bool:
        """Whether any process was asked to stop; processes agree every 10 steps."""
        if accelerator.num_processes == 1:
            return self.signal is not None
        if step % 10:
            return False
        flag = torch.tensor(float(self.signal or 0), device=accelerator.device)
        found = int(accelerator.gather(flag.reshape(1)).max().item())
        self.signal = found or self.signal
        return bool(found)


def train(config: TrainConfig, out: Path, progress: bool = True, extend: bool = False) -> TrainResult:
    """Train, or go on with the run in ``out``, until ``config.learning.steps``.

    Args:
        config: the run's configuration; it must be that of the run in ``out``, if there is one.
        out: the run's folder.
        progress: show a bar with loss, images/s and time left.
        extend: the run may have been begun with fewer steps.

    Raises:
        UserError: for data, options or a folder that do not fit.
    """
    run, total = RunFolder(out), config.learning.steps
    run.check(config, extend)
    accelerator = make_accelerator(config)
    trainer = Trainer(config, out, accelerator)
    if accelerator.is_main_process:
        run.begin(config, trainer.setup.table)
    accelerator.wait_for_everyone()
    if (state := run.load()) is not None:
        trainer.restore(state)
        del state
    if trainer.step >= total:
        return TrainResult("already finished", trainer.step, trainer.images_seen, out)
    if accelerator.is_main_process:
        run.rewind(trainer.step)
        if progress:
            print(summary(trainer) + (f"\nresuming    at step {trainer.step:,}" if trainer.step else ""), flush=True)
    _start_trackers(accelerator, config, out)
    with Interruption() as interruption:
        _loop(trainer, interruption, progress)
    if config.machine.trackers:
        accelerator.end_training()
    status: Literal["finished", "interrupted"] = "finished" if trainer.step >= total else "interrupted"
    return TrainResult(status, trainer.step, trainer.images_seen, out, interruption.signal)


def _loop(trainer: Trainer, interruption: Interruption, progress: bool) -> None:
    config, accelerator = trainer.config, trainer.accelerator
    machine, learning = config.machine, config.learning
    main = accelerator.is_main_process
    before = [line for line in trainer.run.metrics() if "seconds" in line]
    clock = _Clock(before[-1]["seconds"] if before else 0.0, trainer.images_seen)
    batches = trainer.stream.batches(trainer.images_seen, trainer.share)
    with tqdm(
        initial=trainer.images_seen,
        total=learning.steps * learning.batch_size,
        unit="img",
        unit_scale=True,
        desc=trainer.run.path.name,
        disable=not (progress and main),
        mininterval=0.5,
    ) as bar:
        while trainer.step < learning.steps and not interruption.asked(accelerator, trainer.step):
            trainer.take_step(batches)
            bar.update(learning.batch_size)
            done = trainer.step == learning.steps
            if trainer.step % machine.log_every == 0 or done:
                line = trainer.flush() | clock.read(trainer.images_seen)
                bar.set_postfix(loss=f"{line['loss']:.4f}", step=trainer.step)
                _log(trainer, line)
            if machine.save_every and trainer.step % machine.save_every == 0 and not done:
                trainer.save()
            if machine.grid_every and trainer.step % machine.grid_every == 0 and not done:
                save_grid(trainer)
    trainer.save()
    if trainer.step == learning.steps and machine.grid_every is not None:
        save_grid(trainer)


def _log(trainer: Trainer, line: dict[str, Any]) -> None:
    """A line of metrics, with what the objective has counted, in the file and in the trackers."""
    if not trainer.accelerator.is_main_process:
        return
    if trainer.config.machine.trackers:
        trainer.accelerator.log({k: v for k, v in line.items() if k != "step"}, step=trainer.step)
    objective = trainer.accelerator.unwrap_model(trainer.model).objective
    trainer.run.log(line | objective.statistics())


class _Clock:
    """Seconds of training, earlier calls included, and images per second since the last reading."""

    def __init__(self, seconds: float, images_seen: int) -> None:
        self.start = time.perf_counter() - seconds
        self.last = time.perf_counter(), images_seen

    def read(self, images_seen: int) -> dict[str, float]:
        now = time.perf_counter()
        rate = (images_seen - self.last[1]) / (now - self.last[0])
        self.last = now, images_seen
        return {"images_per_second": round(rate, 1), "seconds": round(now - self.start, 2)}


def save_grid(trainer: Trainer) -> None:
    """Draw a grid of samples from fixed noise, rows from head to tail, into RUN/grids."""
    if not trainer.accelerator.is_main_process:
        return
    config = trainer.config
    pipeline = trainer.setup.pipeline(trainer.average.unet, trainer.images_seen)
    grid = draw_grid(pipeline, replace(pipeline.sampling, w=config.machine.grid_w, seed=config.learning.seed))
    with replaced(trainer.run.path / "grids" / f"step_{trainer.step:08d}.png") as file:
        grid.save(file, format="PNG")


def _start_trackers(accelerator: Accelerator, config: TrainConfig, out: Path) -> None:
    if not config.machine.trackers:
        return
    from accelerate.tracking import filter_trackers

    try:
        accelerator.log_with = filter_trackers(list(config.machine.trackers), out / "trackers")
        if len(accelerator.log_with) < len(config.machine.trackers):
            raise ValueError("not installed")
    except ValueError as error:
        names = ", ".join(config.machine.trackers)
        raise UserError(
            f"--trackers {names}: {error}; install them (pip install tensorboard, wandb, trackio)."
        ) from error
    accelerator.project_configuration.logging_dir = str(out / "trackers")
    accelerator.init_trackers("t2h")
