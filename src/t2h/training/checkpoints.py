"""The folder of a run: configuration, classes, metrics, checkpoints, pipeline. Everything is written whole or not at
all.

RUN/config.yaml  classes.json  metrics.jsonl  checkpoints/step_00000300.pt  pipeline/  grids/step_00000300.png
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.files import json_lines, last_value, recover, replaced
from t2h.pipeline import T2HPipeline
from t2h.training.config import TrainConfig, differences


class RunFolder:
    """Where a run lives.

    Args:
        path: the folder; made when the run begins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config_file(self) -> Path:
        """config.yaml."""
        return self.path / "config.yaml"

    @property
    def classes_file(self) -> Path:
        """classes.json."""
        return self.path / "classes.json"

    @property
    def metrics_file(self) -> Path:
        """metrics.jsonl."""
        return self.path / "metrics.jsonl"

    @property
    def pipeline_folder(self) -> Path:
        """pipeline/."""
        return recover(self.path / "pipeline")

    def config(self) -> TrainConfig | None:
        """The configuration of the run that lives here; None where there is none yet.

        Raises:
            UserError: if config.yaml is not such a configuration.
        """
        return TrainConfig.from_yaml(self.config_file.read_text("utf-8")) if self.config_file.exists() else None

    def check(self, config: TrainConfig, extend: bool = False) -> None:
        """Whether a run of this configuration can live here; touches nothing.

        Args:
            config: of the run.
            extend: the run that lives here may have fewer steps.

        Raises:
            UserError: if the folder holds another run, or files that are no run.
        """
        old = self.config()
        if old is not None:
            if extend and old.learning.steps < config.learning.steps:
                old = replace(old, learning=replace(old.learning, steps=config.learning.steps))
            if changed := differences(old, config):
                raise UserError(
                    f"{self.path} holds a run with another configuration ({'; '.join(changed)}). "
                    "Choose another --out, or give the old options to go on with that run."
                )
        elif self.path.exists() and any(self.path.iterdir()):
            raise UserError(f"{self.path} is not empty and holds no run; choose an empty or new folder with --out.")

    def begin(self, config: TrainConfig, table: ImageTable) -> None:
        """Write configuration and classes into the folder, which is made if it is missing.

        Raises:
            UserError: if a run lives there that began with other images, as far as their classes and numbers tell.
        """
        classes = {"class_names": list(table.class_names), "class_counts": table.class_counts.tolist()}
        old = json.loads(self.classes_file.read_text("utf-8")) if self.classes_file.exists() else classes
        if old != classes:
            before, counts = (dict(zip(c["class_names"], c["class_counts"], strict=True)) for c in (old, classes))
            names = [name for name in {**before, **counts} if before.get(name) != counts.get(name)]
            changed = [f"{name}: {before.get(name, 0):,} images, now {counts.get(name, 0):,}" for name in names[:5]]
            changed += ["..."] * (len(names) > 5)
            raise UserError(
                f"{self.path} began with other images ({'; '.join(changed)}). Give it those again, or go on from its "
                f"weights in a new run: --init {self.path} --out ANOTHER_FOLDER."
            )
        with replaced(self.config_file) as file:
            file.write_text(config.to_yaml(), encoding="utf-8")
        with replaced(self.classes_file) as file:
            file.write_text(json.dumps(classes, indent=1, ensure_ascii=False), encoding="utf-8")

    def architecture(self) -> dict[str, Any] | None:
        """The configuration of the network that the checkpoints are of; None where there is none yet."""
        file = self.pipeline_folder / "unet" / "config.json"
        if not self.checkpoints() or not file.exists():
            return None
        return {key: value for key, value in json.loads(file.read_text("utf-8")).items() if not key.startswith("_")}

    def checkpoints(self) -> dict[int, Path]:
        """The checkpoints by step, the oldest first."""
        files = (self.path / "checkpoints").glob("step_*.pt")
        return dict(sorted((int(file.stem.removeprefix("step_")), file) for file in files))

    def save(self, state: dict[str, Any], step: int, keep: int | None) -> None:
        """Write a checkpoint, then remove all but the last ``keep``."""
        with replaced(self.path / "checkpoints" / f"step_{step:08d}.pt", durable=True) as file:
            torch.save(state, file)
        for old in list(self.checkpoints().values())[: -keep if keep else 0]:
            old.unlink()

    def load(self, step: int | None = None) -> dict[str, Any] | None:
        """The checkpoint of ``step``, or the last one; None where there is none.

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

    def pipeline(self, step: int | None = None) -> T2HPipeline:
        """The pipeline with the EMA weights of the checkpoint of ``step``, or of the last one.

        Raises:
            UserError: if there is no such checkpoint.
        """
        state = self.load(step)
        if state is None:
            raise UserError(f"{self.path} has no checkpoint yet.")
        pipeline: Any = T2HPipeline.from_pretrained(self.pipeline_folder)
        pipeline.unet.load_state_dict(state["ema"])
        pipeline.register_to_config(images_seen=state["images_seen"])
        return pipeline

    def save_pipeline(self, pipeline: T2HPipeline) -> None:
        """Write pipeline/, in place of the one that is there."""
        with replaced(self.pipeline_folder) as folder:
            pipeline.save_pretrained(folder)

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
