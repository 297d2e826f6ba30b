"""Works through a plan: train, draw and judge each cell. Any number of processes may do so at once, on one folder.

All of it resumes, and what is finished is not touched again.
"""

from __future__ import annotations

import errno
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

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
from t2h.training.run import RunFolder
from t2h.training.same import as_begun

State = Literal["done", "failed", "begun", "to do"]


@dataclass(frozen=True)
class BenchmarkFolder:
    """The folder of a benchmark, and what its cells are trained, drawn and judged with."""

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
        return self.out / cell.name

    def result_file(self, cell: Cell) -> Path:
        return self.folder(cell) / "results" / "benchmark.json"

    def failure(self, cell: Cell) -> Path:
        return self.folder(cell) / "failed.txt"


def result_of(cell: Cell, plan: Plan, place: BenchmarkFolder) -> Result | None:
    """The cell's result, if it has all points that the plan asks for, and the w of each class."""
    file = place.result_file(cell)
    if not file.exists():
        return None
    result = read_result(file)
    asked, points = plan.evaluation, {point.w for point in result.points}
    chosen = asked.w_per is None or (result.choice is not None and result.choice.per == asked.w_per)
    return result if chosen and set(asked.w) <= points else None


def state_of(cell: Cell, plan: Plan, place: BenchmarkFolder) -> State:
    """How far the cell has come."""
    if result_of(cell, plan, place) is not None:
        return "done"
    if place.failure(cell).exists():
        return "failed"
    return "begun" if (place.folder(cell) / "config.yaml").exists() else "to do"


@dataclass(frozen=True)
class Outcome:
    """How a call of `run` ended: cells with a complete result, and others; the signal that interrupted."""

    done: int
    failed: tuple[Cell, ...]
    """Their `failed.txt` says why."""
    elsewhere: int
    """Other processes were working on these."""
    signal: int | None = None


def run(
    plan: Plan, cells: Sequence[Cell], place: BenchmarkFolder, retry: bool = False, say: Callable[[str], None] = print
) -> Outcome:
    """Do what is left of a plan: all cells that are not done, not failed, and not locked by other processes.

    Args:
        retry: try failed cells again, once.
        say: takes a line for each cell.

    Raises:
        UserError: if a folder of the benchmark holds a run of another configuration; nothing has begun then.
    """
    for cell in cells:
        folder = RunFolder(place.folder(cell))
        if folder.config() is not None:
            as_begun(folder, cell.config)
    signal = None
    judges: dict[str, Judge] = {}
    locked: list[Cell] = []
    for cell in cells:
        state = state_of(cell, plan, place)
        if state == "done" or (state == "failed" and not retry):
            continue
        try:
            lock = place.lock(cell.name).acquire(timeout=0)
        except Timeout:
            locked.append(cell)
            continue
        with lock:
            if state_of(cell, plan, place) == "done":  # by another process, just now
                continue
            signal = _attempt(cell, plan, place, judges, say)
        if signal is not None:
            break
    states = {cell: state_of(cell, plan, place) for cell in cells}
    return Outcome(
        done=sum(state == "done" for state in states.values()),
        failed=tuple(cell for cell, state in states.items() if state == "failed"),
        elsewhere=sum(states[cell] != "done" for cell in locked),
        signal=signal,
    )


def _attempt(
    cell: Cell, plan: Plan, place: BenchmarkFolder, judges: dict[str, Judge], say: Callable[[str], None]
) -> int | None:
    """Work on one cell. A failure is written into its folder and reported, and the other cells go on."""
    begun, failure = time.perf_counter(), place.failure(cell)
    try:
        failure.unlink(missing_ok=True)
        signal = _work(cell, plan, place, judges)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise  # no other cell can be written either
        reason = str(error) if isinstance(error, UserError) else "".join(traceback.format_exception(error)).rstrip()
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_text(reason + "\n", encoding="utf-8")
        say(f"{cell.name}  FAILED: {reason.splitlines()[-1]}")
        return None
    what = "finished" if signal is None else "interrupted"
    say(f"{cell.name}  {what} after {time.perf_counter() - begun:.0f} s")
    return signal


def _work(cell: Cell, plan: Plan, place: BenchmarkFolder, judges: dict[str, Judge]) -> int | None:
    """Train and judge; returns the number of the signal that interrupted the training, or None when all is done."""
    from t2h.training import train

    device, asked = str(pick_device(place.device)), plan.evaluation
    if cell.data not in judges:  # first: what is wrong with the features shows before hours of training
        judges[cell.data] = _judge(cell, plan, place, device)
    trained = train(cell.config, place.folder(cell), place.progress)
    if trained.status == "interrupted":
        return trained.signal or 2
    drawing = Drawing(asked.per_class, CurveFlags(**vars(asked.sampling) | {"seed": cell.seed}), device=device)
    out, judge = place.result_file(cell), judges[cell.data]
    evaluate_run(place.folder(cell), asked.w, judge, out, drawing, cell.method, place.progress)
    return None


def _judge(cell: Cell, plan: Plan, place: BenchmarkFolder, device: str) -> Judge:
    """The judge of a cell's data set: its reference is made once, by whichever process comes first."""
    asked, weights, file = plan.evaluation, place.inception_weights, place.out / cell.data / "reference.safetensors"
    with place.lock(f"{cell.data}/reference"):
        if not file.exists():
            data, split = cell.config.data, asked.held_out_split
            save_reference(reference_of(data, asked.features, device, weights, split, place.progress), file)
    reference = load_reference(file)
    extractor = reference.extractor(device) or load_extractor(asked.features, device, weights)
    return Judge(reference, extractor, asked.options)
