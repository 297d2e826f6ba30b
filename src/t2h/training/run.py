"""The folder of a run. Everything in it is written whole or not at all.

RUN/config.yaml  classes.json  metrics.jsonl  pipeline/  grids/step_00000300.png
    checkpoints/step_00000300.pt      kept, by steps
    checkpoints/resume_00000340.pt    to go on from, by minutes and after an interruption; the newest only
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from t2h.data.sources import SOURCES
from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.files import json_lines, last_value, recover, replaced, write_json
from t2h.pipeline import T2HPipeline
from t2h.training.config import TrainConfig


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
        try:
            config = TrainConfig.from_yaml(self.config_file.read_text("utf-8"))
        except UserError as error:
            raise UserError(f"{self.config_file}: {error}") from error
        if config.learning.ema_rampup is None:  # written by version 0.1, whose average had a constant decay
            config = replace(config, learning=replace(config.learning, ema_rampup=0.0))
        return config

    def settled(self, config: TrainConfig, extend: bool = False) -> TrainConfig:
        """This configuration as the run in this folder has it: defaults as it began with them, paths absolute.

        Touches nothing. With ``extend`` the run that lives here may have fewer steps.

        Raises:
            UserError: if the folder holds another run, or files that are no run, or lies among the training images.
        """
        config = replace(config, data=replace(config.data, data=_absolute(config.data.data)))
        images = Path(config.data.data)
        if images.is_dir() and self.path.resolve().is_relative_to(images):
            raise UserError(
                f"the run {self.path} would lie among its training images ({images}), and its grids would be read as "
                f"images; choose a folder outside with --out, such as --out {images.parent / 'runs' / images.name}."
            )
        old = self.config()
        if old is None and self.path.exists() and any(self.path.iterdir()):
            raise UserError(f"{self.path} is not empty and holds no run; choose an empty or new folder with --out.")
        learning, own = config.learning, (old or config).learning
        warmup = own.warmup if learning.warmup_steps is None else learning.warmup_steps
        rampup = own.rampup if learning.ema_rampup is None else learning.ema_rampup
        config = replace(config, learning=replace(learning, warmup_steps=warmup, ema_rampup=rampup))
        if old is None:
            return config
        if extend and old.learning.steps < config.learning.steps:
            old = replace(old, learning=replace(old.learning, steps=config.learning.steps))
        before = _absolute(old.data.data)
        if before not in SOURCES and images.exists() and not Path(before).exists():
            before = str(images)  # they have moved: `check_images` compares their classes
        old = replace(old, data=replace(old.data, data=before))
        if changed := differences(old, config):
            raise UserError(
                f"{self.path} holds a run with another configuration ({'; '.join(changed)}). "
                "Choose another --out, or give the old options to go on with that run."
            )
        return config

    def check_images(self, table: ImageTable) -> None:
        """Whether the run that lives here began with these images, as far as their classes and numbers tell.

        Raises:
            UserError: if it did not.
        """
        now = _classes(table)
        old = json.loads(self.classes_file.read_text("utf-8")) if self.classes_file.exists() else now
        if old == now:
            return
        before, counts = (dict(zip(c["class_names"], c["class_counts"], strict=True)) for c in (old, now))
        names = [name for name in {**before, **counts} if before.get(name) != counts.get(name)]
        changed = [f"{name}: {before.get(name, 0):,} images, now {counts.get(name, 0):,}" for name in names[:5]]
        changed += ["..."] * (len(names) > 5)
        raise UserError(
            f"{self.path} began with other images ({'; '.join(changed)}). Give it those again, or go on from its "
            f"weights in a new run: --init {self.path} --out ANOTHER_FOLDER."
        )

    def begin(self, config: TrainConfig, table: ImageTable) -> None:
        """Write configuration and classes into the folder, which is made if it is missing."""
        with replaced(self.config_file) as file:
            file.write_text(config.to_yaml(), encoding="utf-8")
        write_json(self.classes_file, _classes(table))

    # --- checkpoints and pipeline -------------------------------------------------------------------------------------

    def checkpoints(self) -> dict[int, Path]:
        """All checkpoints by step, the oldest first."""
        files = (self.path / "checkpoints").glob("*_*.pt")
        return dict(sorted((int(file.stem.split("_")[1]), file) for file in files if not file.name.startswith(".")))

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

    def load(self, step: int | None = None) -> dict[str, Any] | None:
        """The checkpoint of ``step``, or the last one; None before the first.

        Raises:
            UserError: if there is no checkpoint of that step, or it cannot be read.
        """
        files = self.checkpoints()
        if step is None and not files:
            return None
        if step is not None and step not in files:
            there = ", ".join(map(str, files)) or "none"
            raise UserError(f"{self.path} has no checkpoint of step {step}; there are: {there}.")
        file = files[max(files) if step is None else step]
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise UserError(
                f"{file} cannot be read as a checkpoint; remove it to go on from the one before."
            ) from error

    def architecture(self) -> dict[str, Any] | None:
        """The configuration of the network that the checkpoints are of; None before the first."""
        file = self.pipeline_folder / "unet" / "config.json"
        if not self.checkpoints() or not file.exists():
            return None
        return json.loads(file.read_text("utf-8"))

    def save_pipeline(self, pipeline: T2HPipeline) -> None:
        """Write pipeline/, in place of the one that is there."""
        with replaced(self.pipeline_folder) as folder:
            pipeline.save_pretrained(folder)

    # --- metrics ------------------------------------------------------------------------------------------------------

    def log(self, line: dict[str, Any]) -> None:
        """Append a line to metrics.jsonl."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        return json_lines(self.metrics_file)

    def transfer(self) -> dict[str, Any] | None:
        """The last counts of transferred targets; None where the objective counts none."""
        return last_value(self.metrics(), "transfer")

    def rewind(self, step: int) -> None:
        """Drop the metrics after ``step``: they are written again."""
        lines = [json.dumps(line) for line in self.metrics() if line["step"] <= step]
        with replaced(self.metrics_file) as file:
            file.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What differs between two configurations in what is learned, as lines "learning.lr: 0.0002 -> 0.0001"."""

    def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        leaves: dict[str, Any] = {}
        for key, value in tree.items():
            leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return leaves

    a, b = flat(old.to_dict()), flat(new.to_dict())
    may = ("machine.", "sampling.", "data.root", "data.download")
    keys = [key for key in a | b if not key.startswith(may) and a.get(key) != b.get(key)]
    return [f"{key}: {a.get(key)} -> {b.get(key)}" for key in keys]


def _classes(table: ImageTable) -> dict[str, list[Any]]:
    return {"class_names": list(table.class_names), "class_counts": table.class_counts.tolist()}


def _absolute(data: str) -> str:
    """The data, absolute if it is the path of a folder or file: "x", "./x/" and "/place/x" are the same images."""
    path = Path(data).expanduser()
    return str(path.resolve()) if data not in SOURCES and path.exists() else data
