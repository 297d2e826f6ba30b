"""One cell of a benchmark: train, draw, judge. All of it resumes, and what is finished is not touched again."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from t2h.benchmark.plan import Cell, Plan
from t2h.device import pick_device
from t2h.errors import UserError
from t2h.evaluation.curve import Drawing, evaluate_run
from t2h.evaluation.judge import Judge
from t2h.evaluation.reference import reference_of
from t2h.evaluation.reference_file import load_reference, save_reference
from t2h.features.load import load_extractor
from t2h.results.result import Result, read_result
from t2h.sampling import CurveFlags

State = Literal["done", "failed", "begun", "to do"]
REFERENCE = "reference.safetensors"


@dataclass(frozen=True)
class BenchmarkFolder:
    """The folder of a benchmark, and what its cells are worked on with.

    Args:
        out: the benchmark's folder.
        device: for training, drawing and features; "auto" takes the best.
        inception_weights: see `t2h.features.load.load_extractor`.
        progress: show bars.
    """

    out: Path
    device: str = "auto"
    inception_weights: Path | None = None
    progress: bool = True

    def lock(self, name: str) -> FileLock:
        """The lock on a piece of work, which one process at a time can hold, of all that share the folder.

        The operating system releases it when its holder dies. So the folder must lie where files can be locked: local
        disks can, and network file systems as far as they were set up for it (NFS from version 4 on usually is).
        """
        folder = self.out / ".claims"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name.replace('/', '~')}.lock")

    def folder(self, cell: Cell) -> Path:
        """The cell's run folder."""
        return self.out / cell.name

    def result_file(self, cell: Cell) -> Path:
        """The cell's result."""
        return self.folder(cell) / "results" / "benchmark.json"

    def failure(self, cell: Cell) -> Path:
        """Why the cell failed."""
        return self.folder(cell) / "failed.txt"


def result_of(cell: Cell, plan: Plan, place: BenchmarkFolder) -> Result | None:
    """The cell's result, if it has all points that the plan asks for."""
    file = place.result_file(cell)
    if not file.exists():
        return None
    result = read_result(file)
    return result if set(plan.evaluation.w) <= {point.w for point in result.points} else None


def state_of(cell: Cell, plan: Plan, place: BenchmarkFolder) -> State:
    """How far the cell has come."""
    if result_of(cell, plan, place) is not None:
        return "done"
    if place.failure(cell).exists():
        return "failed"
    return "begun" if (place.folder(cell) / "config.yaml").exists() else "to do"


def work(cell: Cell, plan: Plan, place: BenchmarkFolder, judges: Judges) -> int | None:
    """Train and judge; returns the number of the signal that interrupted the training, or None when all is done.

    Raises:
        Exception: whatever goes wrong.
    """
    from t2h.training import train

    place.failure(cell).unlink(missing_ok=True)
    judge = judges.of(cell)  # first: what is wrong with the features shows before hours of training
    trained = train(cell.config, place.folder(cell), place.progress)
    if trained.status == "interrupted":
        return trained.signal or 2
    asked = plan.evaluation
    flags = CurveFlags(**vars(asked.sampling) | {"seed": cell.seed})
    drawing = Drawing(asked.per_class, flags, device=judges.device)
    out = place.result_file(cell)
    evaluate_run(place.folder(cell), asked.w, judge, out, drawing, cell.method, place.progress)
    return None


def note_failure(cell: Cell, place: BenchmarkFolder, error: Exception) -> str:
    """Write down why a cell failed; returns the last line."""
    text = str(error) if isinstance(error, UserError) else "".join(traceback.format_exception(error))
    file = place.failure(cell)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.rstrip() + "\n", encoding="utf-8")
    return text.rstrip().splitlines()[-1]


class Judges:
    """The judge of each data set: its reference is made once, by whichever process comes first."""

    def __init__(self, plan: Plan, place: BenchmarkFolder) -> None:
        self.asked, self.place = plan.evaluation, place
        self.device = str(pick_device(place.device))
        self._judges: dict[str, Judge] = {}

    def of(self, cell: Cell) -> Judge:
        """The judge of this cell's data set.

        Raises:
            UserError: for data or features that are not there.
        """
        if cell.data not in self._judges:
            self._judges[cell.data] = self._make(cell)
        return self._judges[cell.data]

    def _make(self, cell: Cell) -> Judge:
        asked, weights = self.asked, self.place.inception_weights
        file = self.place.out / cell.data / REFERENCE
        with self.place.lock(f"{cell.data}/reference"):
            if not file.exists():
                made = reference_of(
                    cell.config.data, asked.features, self.device, weights, asked.held_out_split, self.place.progress
                )
                save_reference(made, file)
        reference = load_reference(file)
        extractor = reference.extractor(self.device) or load_extractor(asked.features, self.device, weights)
        return Judge(reference, extractor, asked.options)
