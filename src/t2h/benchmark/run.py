"""Works through a plan. Any number of processes may do so at once, on one folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filelock import Timeout

from t2h.benchmark.cells import BenchmarkFolder, Judges, note_failure, state_of, work
from t2h.benchmark.plan import Cell, Plan
from t2h.training.run import RunFolder


@dataclass(frozen=True)
class Outcome:
    """How a call of `run` ended.

    Attributes:
        done: cells with a complete result.
        failed: cells whose `failed.txt` says why.
        elsewhere: cells that other processes were working on, and that are not done.
        signal: the number of the signal that interrupted.
    """

    done: int
    failed: tuple[Cell, ...]
    elsewhere: int
    signal: int | None = None


def run(
    plan: Plan, cells: Sequence[Cell], place: BenchmarkFolder, retry: bool = False, say: Callable[[str], None] = print
) -> Outcome:
    """Do what is left of a plan: all cells that are not done, not failed, and not locked by other processes.

    Args:
        plan: of the benchmark.
        cells: of the plan.
        place: the benchmark's folder.
        retry: try failed cells again, once.
        say: takes a line for each cell.

    Raises:
        UserError: if a folder of the benchmark holds a run of another configuration; nothing has begun then.
    """
    for cell in cells:
        folder = RunFolder(place.folder(cell))
        if folder.config() is not None:
            folder.settled(cell.config)
    judges, number, signal = Judges(plan, place), 0, None
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
            number += 1
            if (signal := _attempt(cell, plan, place, judges, say, number)) is not None:
                break
    states = {cell: state_of(cell, plan, place) for cell in cells}
    return Outcome(
        done=sum(state == "done" for state in states.values()),
        failed=tuple(cell for cell, state in states.items() if state == "failed"),
        elsewhere=sum(states[cell] != "done" for cell in locked),
        signal=signal,
    )


def _attempt(
    cell: Cell, plan: Plan, place: BenchmarkFolder, judges: Judges, say: Callable[[str], None], number: int
) -> int | None:
    """Work on one cell. A failure is written into its folder and reported, and the other cells go on."""
    begun = time.perf_counter()
    try:
        signal = work(cell, plan, place, judges)
    except Exception as error:
        say(f"{cell.name}  FAILED: {note_failure(cell, place, error)}")
        return None
    what = "finished" if signal is None else "interrupted"
    say(f"{cell.name}  {what} after {time.perf_counter() - begun:.0f} s (cell {number} of this process)")
    return signal
