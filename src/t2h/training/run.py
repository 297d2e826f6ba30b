"""The folder of a run. Everything in it is written whole or not at all.

RUN/config.yaml  classes.json  metrics.jsonl  pipeline/  grids/step_00000300.png  .lock  .holder.json
    checkpoints/step_00000300.pt      kept, by steps
    checkpoints/resume_00000340.pt    to go on from, by minutes and after an interruption; the newest only
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from filelock import FileLock, Timeout

from t2h.data.table import ImageTable
from t2h.device import on_main
from t2h.errors import UserError
from t2h.files import (
    finite,
    json_lines,
    last_value,
    read_object,
    reading,
    recover,
    replaced,
    sweep,
    write_json,
    write_text,
)
from t2h.pipeline import T2HPipeline
from t2h.pipeline.read import read_checkpoint
from t2h.training.config import TrainConfig

LOCK_SECONDS = 6.0  # a training that was killed may leave loaders, which hold its lock for up to 5 s


class RunFolder:
    """Where a run lives. The folder is made when the run begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.classes_file = path / "classes.json"
        self.metrics_file = path / "metrics.jsonl"

    @property
    def pipeline_folder(self) -> Path:
        """pipeline/, whole even after a crash in the middle of replacing it."""
        return recover(self.path / "pipeline")

    # --- what is trained ----------------------------------------------------------------------------------------------

    def config(self) -> TrainConfig | None:
        """The configuration of the run that lives here; None before it has begun.

        Raises:
            UserError: if config.yaml is not such a configuration.
        """
        if not self.config_file.exists():
            return None
        with reading(self.config_file, "configuration of a run", "restore it, or begin anew with another --out"):
            config = TrainConfig.from_yaml(self.config_file.read_text("utf-8"))
        if config.learning.ema_rampup is None:  # written by version 0.1, whose average had a constant decay
            config = replace(config, learning=replace(config.learning, ema_rampup=0.0))
        return config

    def found(self) -> list[Path]:
        """What a training changes."""
        return [path for path in (self.config_file, *self.checkpoints().values()) if path.exists()]

    @contextmanager
    def held(self, accelerator: Accelerator, found: list[Path]) -> Iterator[None]:
        """Inside, no other training writes into the folder. The operating system ends it when the main process dies.

        Raises:
            UserError: if another training does, or has done so since this was ``found``.
        """
        lock = FileLock(self.path / ".lock")
        try:
            on_main(accelerator, lambda: self._claim(lock, found))
            yield
        finally:
            lock.release()

    def _claim(self, lock: FileLock, found: list[Path]) -> None:
        holder = self.path / ".holder.json"
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except Timeout as error:
            who = "another"
            with suppress(OSError, ValueError, KeyError, TypeError):
                who = "process {pid} on {host}, since {since}".format(**read_object(holder))
            raise UserError(f"{self.path} is trained by {who}; stop it, or choose another --out.") from error
        if self.found() != found:
            raise UserError(f"{self.path} was trained by another process just now; run the same command again.")
        write_json(holder, {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")})

    def begin(self, config: TrainConfig, table: ImageTable, step: int) -> None:
        """Write configuration and classes; remove what was written after ``step``, and what a kill has left."""
        write_text(self.config_file, config.to_yaml())
        write_json(self.classes_file, classes_of(table))
        self.rewind(step)
        sweep(self.path, "config.yaml", "classes.json", "metrics.jsonl", "pipeline", ".holder.json")
        sweep(self.path / "checkpoints")
        sweep(self.path / "grids")

    # --- checkpoints and pipeline -------------------------------------------------------------------------------------

    def checkpoints(self) -> dict[int, Path]:
        """All checkpoints by step, the oldest first."""
        files = (self.path / "checkpoints").glob("*.pt")
        named = [(re.fullmatch(r"(?:step|resume)_(\d+)", file.stem), file) for file in files]
        return dict(sorted((int(name[1]), file) for name, file in named if name))

    def save(self, state: dict[str, Any], step: int, keep: int | None, resume_only: bool = False) -> None:
        """Write a checkpoint (tensors and plain values), and remove those that it replaces.

        Args:
            keep: how many of those that are kept by steps; None keeps all.
            resume_only: it is only to go on from, and the next checkpoint replaces it.
        """
        folder = self.path / "checkpoints"
        before = list(folder.glob("resume_*.pt"))
        target = folder / f"{'resume' if resume_only else 'step'}_{step:08d}.pt"
        with replaced(target, durable=True) as file:
            torch.save(state, file)
        kept = sorted(folder.glob("step_*.pt"))
        for old in {*before, *kept[: -keep if keep else 0]} - {target}:
            old.unlink()

    def load(self, step: int | None = None, quiet: bool = False) -> dict[str, Any] | None:
        """The checkpoint of ``step``, or the last one that is not damaged; None before the first.

        Args:
            quiet: do not say that there are damaged ones.

        Raises:
            UserError: if there is no checkpoint of that step, or none that can be read.
        """
        files = self.checkpoints()
        if step is not None and step not in files:
            there = ", ".join(map(str, files)) or "none"
            raise UserError(f"{self.path} has no checkpoint of step {step}; there are: {there}.")
        if step is not None:
            return read_checkpoint(files[step])
        damaged = []
        for at in sorted(files, reverse=True):
            try:
                state = read_checkpoint(files[at])
            except UserError as error:
                damaged.append(str(error))
            else:
                for why in [] if quiet else damaged:
                    print(f"t2h: {why} Step {at}, before it, is taken.", file=sys.stderr)
                return state
        if not damaged:
            return None
        raise UserError(
            f"{damaged[0]} There is no other: remove it to begin this run anew, or begin another one from its last "
            f"weights: --init {self.pipeline_folder} --out ANOTHER_FOLDER."
        )

    def architecture(self) -> dict[str, Any] | None:
        """The configuration of the network that the checkpoints are of; None before the first."""
        file = self.pipeline_folder / "unet" / "config.json"
        if not self.checkpoints() or not file.exists():
            return None
        with reading(file, "configuration of a network", "remove the pipeline folder, and it is written anew"):
            return read_object(file)

    def autoencoder(self) -> str | None:
        """The folder of the run's own copy of its autoencoder, where it has one."""
        folder = self.pipeline_folder / "vae"
        return str(folder) if folder.exists() else None

    def save_pipeline(self, pipeline: T2HPipeline) -> None:
        """Write pipeline/, in place of the one that is there."""
        with replaced(self.pipeline_folder) as folder:
            pipeline.save_pretrained(folder)

    # --- metrics ------------------------------------------------------------------------------------------------------

    def metrics(self) -> list[dict[str, Any]]:
        return json_lines(self.metrics_file)

    def transfer(self) -> dict[str, Any] | None:
        """The last counts of transferred targets; None where the objective counts none."""
        return last_value(self.metrics(), "transfer")

    def rewind(self, step: int) -> None:
        """Drop the metrics after ``step``, which are written again, and a line that a kill cut short."""
        text = "".join(
            json.dumps(line) + "\n" for line in self.metrics() if (finite(line.get("step")) or step + 1) <= step
        )
        if not self.metrics_file.exists() or self.metrics_file.read_bytes() != text.encode():
            write_text(self.metrics_file, text)


def classes_of(table: ImageTable) -> dict[str, list[Any]]:
    """The content of classes.json."""
    return {"class_names": list(table.class_names), "class_counts": table.class_counts.tolist()}
