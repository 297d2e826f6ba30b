"""Works through a plan. Any number of processes may do so at once, on one folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from t2h.benchmark.cells import Judges, Workplace, note_failure, state_of, work
from t2h.benchmark.claim import claim, holder
from t2h.benchmark.plan import Cell, Plan
from t2h.training.checkpoints import RunFolder


@dataclass(frozen=True)
class Outcome:
    """How a call of `run` ended.

    Attributes:
        done: cells with a complete result.
        failed: cells whose `failed.txt` says why.
        elsewhere: cells that other processes work at.
        total: cells of the plan.
        signal: the number of the signal that interrupted.
    """

    done: int
    failed: tuple[Cell, ...]
    elsewhere: int
    total: int
    signal: int | None = None


def run(
    plan: Plan, cells: Sequence[Cell], place: Workplace, retry: bool = False, say: Callable[[str], None] = print
) -> Outcome:
    """Do what is left of a plan: all cells that are not done, not failed, and not claimed by other processes.

    Args:
        plan: it.
        cells: its cells.
        place: where.
        retry: try failed cells again, once.
        say: takes a line for each cell.

    Raises:
        UserError: if a folder of the benchmark holds a run of another configuration; nothing has begun then.
    """
    for cell in cells:
        _check(cell, place)
    judges = Judges(plan.evaluation, place)
    tried: set[Cell] = set()
    for cell in cells:
        state = state_of(cell, plan, place)
        if state == "done" or (state == "failed" and not retry):
            continue
        claimed = claim(place.claims, _ticket(cell))
        if claimed is None:
            continue
        with claimed:
            if (state := state_of(cell, plan, place)) == "done":  # by another process, just now
                continue
            signal = _attempt(cell, plan, place, judges, say, len(tried) + 1)
            tried.add(cell)
        if signal is not None:
            return _outcome(plan, cells, place, signal)
    return _outcome(plan, cells, place)


def _attempt(
    cell: Cell, plan: Plan, place: Workplace, judges: Judges, say: Callable[[str], None], number: int
) -> int | None:
    """One cell; a failure is written down and told, and the others go on."""
    begun = time.perf_counter()
    try:
        signal = work(cell, plan, place, judges)
    except Exception as error:
        say(f"{cell.name}  FAILED: {note_failure(cell, place, error)}")
        return None
    what = "finished" if signal is None else "interrupted"
    say(f"{cell.name}  {what} after {time.perf_counter() - begun:.0f} s (cell {number} of this process)")
    return signal


def _outcome(plan: Plan, cells: Sequence[Cell], place: Workplace, signal: int | None = None) -> Outcome:
    states = {cell.name: state_of(cell, plan, place) for cell in cells}
    return Outcome(
        done=sum(state == "done" for state in states.values()),
        failed=tuple(cell for cell in cells if states[cell.name] == "failed"),
        elsewhere=sum(holder(place.claims, _ticket(cell)) is not None for cell in cells if states[cell.name] != "done"),
        total=len(cells),
        signal=signal,
    )


def _check(cell: Cell, place: Workplace) -> None:
    folder = RunFolder(place.folder(cell))
    if folder.config_file.exists():
        folder.check(cell.config)


def _ticket(cell: Cell) -> str:
    return cell.name.replace("/", "~")
