"""One cell of a benchmark: train, draw, judge. All of it resumes, and what is finished is not touched again."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from t2h.benchmark.claim import claim
from t2h.benchmark.plan import Cell, Judging, Plan
from t2h.data import ImageTable, load_images, long_tail_rows
from t2h.device import pick_device
from t2h.errors import UserError
from t2h.evaluation.curve import Drawing, evaluate_run
from t2h.evaluation.figures import Judge
from t2h.evaluation.reference import Reference, make_reference
from t2h.evaluation.reference_file import load_reference, save_reference
from t2h.features.base import FeatureExtractor
from t2h.features.load import extractor_like, load_extractor
from t2h.results.result import Result, read_result

State = Literal["done", "failed", "begun", "to do"]
REFERENCE = "reference.safetensors"


@dataclass(frozen=True)
class Workplace:
    """Where the cells of a plan are worked on, and with what.

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

    @property
    def claims(self) -> Path:
        """Where tickets lie: outside the runs, whose folders hold nothing but the run."""
        return self.out / ".claims"

    def folder(self, cell: Cell) -> Path:
        """The cell's run folder."""
        return self.out / cell.name

    def result_file(self, cell: Cell) -> Path:
        """The cell's result."""
        return self.folder(cell) / "results" / "benchmark.json"

    def failure(self, cell: Cell) -> Path:
        """Why the cell failed."""
        return self.folder(cell) / "failed.txt"


def result_of(cell: Cell, plan: Plan, place: Workplace) -> Result | None:
    """The cell's result, if it has all points that the plan asks for."""
    file = place.result_file(cell)
    if not file.exists():
        return None
    result = read_result(file)
    return result if set(plan.evaluation.w) <= {point["w"] for point in result["points"]} else None


def state_of(cell: Cell, plan: Plan, place: Workplace) -> State:
    """How far the cell has come."""
    if result_of(cell, plan, place) is not None:
        return "done"
    if place.failure(cell).exists():
        return "failed"
    return "begun" if (place.folder(cell) / "config.yaml").exists() else "to do"


def work(cell: Cell, plan: Plan, place: Workplace, judges: Judges) -> int | None:
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
    drawing = Drawing(asked.per_class, asked.sampling(cell.seed), device=judges.device)
    out = place.result_file(cell)
    evaluate_run(place.folder(cell), asked.w, judge, out, drawing, cell.method, place.progress)
    return None


def note_failure(cell: Cell, place: Workplace, error: Exception) -> str:
    """Write down why a cell failed; returns the last line."""
    text = str(error) if isinstance(error, UserError) else "".join(traceback.format_exception(error))
    file = place.failure(cell)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.rstrip() + "\n", encoding="utf-8")
    return text.rstrip().splitlines()[-1]


class Judges:
    """The judge of each data set: its reference is made once, by whichever process comes first."""

    def __init__(self, asked: Judging, place: Workplace) -> None:
        self.asked, self.place = asked, place
        self.device = str(pick_device(place.device))
        self._judge = cache(self._make)
        self._configs: dict[str, Cell] = {}

    def of(self, cell: Cell) -> Judge:
        """The judge of this cell's data set.

        Raises:
            UserError: for data or features that are not there.
        """
        self._configs.setdefault(cell.data, cell)
        return self._judge(cell.data)

    def _make(self, data: str) -> Judge:
        file = self.place.out / data / REFERENCE
        while not file.exists():
            with_claim = claim(self.place.claims, f"{data}~reference")
            if with_claim is None:
                time.sleep(1.0)  # another process is making it
                continue
            with with_claim:
                if not file.exists():
                    save_reference(self._reference(self._configs[data]), file)
        reference = load_reference(file)
        return Judge(reference, self._extractor(reference), self.asked.options)

    def _reference(self, cell: Cell) -> Reference:
        config, asked = cell.config.data, self.asked
        table = _images(cell, config.split)
        rows = long_tail_rows(table, config)
        extractor: FeatureExtractor
        if asked.features == "classifier":
            from t2h.features.classifier import classifier_for

            extractor = classifier_for(table.images, table.labels, table.num_classes, device=self.device)
        else:
            extractor = load_extractor(asked.features, self.device, self.place.inception_weights)
        held_out = None if asked.held_out_split is None else _images(cell, asked.held_out_split)
        return make_reference(table, extractor, rows, held_out, self.place.progress)

    def _extractor(self, reference: Reference) -> FeatureExtractor:
        own = reference.extractor(self.device)
        if own is not None:
            return own
        assert reference.seen_by is not None
        return load_extractor(extractor_like(reference.seen_by.name), self.device, self.place.inception_weights)


def _images(cell: Cell, split: str) -> ImageTable:
    config = cell.config.data
    return load_images(config.data, config.root, split, config.image_size, config.channels, config.download)
