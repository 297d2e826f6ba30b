"""What a plan costs, before it runs: network passes, time on this machine, disk."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from t2h.benchmark.plan import Cell, Plan
from t2h.device import Precision, autocast, make_accelerator, own_accelerate_state
from t2h.methods import describe
from t2h.report.axes import duration
from t2h.results.table import align
from t2h.training.plan import seconds_per_step

# A backward pass costs about two forward ones.
_FORWARD_AND_BACKWARD = 3


@dataclass(frozen=True)
class Cost:
    """Of one cell: passes of one image in training (a step counts three) and drawing, their seconds, bytes on disk."""

    training: int
    drawing: int
    seconds: float
    disk: int


def costs(plan: Plan, cells: Sequence[Cell]) -> dict[Cell, Cost]:
    """What each cell costs; reads the data and times a few passes for each data set.

    Raises:
        UserError: for data that are not there.
    """
    timed: dict[str, tuple[int, int, float, float]] = {}
    found = {}
    for cell in cells:
        learning, judging = cell.config.learning, plan.evaluation
        sampling = cell.config.own_sampling.overridden(judging.sampling)
        if cell.data not in timed:
            timed[cell.data] = _time(cell, sampling.mixed_precision)
        classes, parameters, per_training, per_drawing = timed[cell.data]
        passes = describe(cell.config.objective, cell.config.methods, cell.config.process.make()).passes
        training = learning.steps * learning.batch_size * passes * _FORWARD_AND_BACKWARD
        samples = classes * (judging.per_class or -(-50_000 // classes))
        drawing = samples * sampling.steps * sum(1 if w == 0 else 2 for w in judging.w)
        kept = cell.config.machine.keep or (learning.steps // (cell.config.machine.save_every or learning.steps) + 1)
        seconds = training * per_training + drawing * per_drawing
        found[cell] = Cost(training, drawing, seconds, parameters * 4 * (4 * kept + 1))
    return found


@own_accelerate_state()
def _time(cell: Cell, drawn_in: Precision, steps: int = 3) -> tuple[int, int, float, float]:
    """Classes, parameters, seconds per forward-pass equivalent in training, and per pass in drawing."""
    from t2h.training.setup import Training

    plain = dataclasses.replace(cell.config, objective="ddpm")
    training = Training(plain, make_accelerator(plain.machine.device, plain.learning.mixed_precision))
    per_training = seconds_per_step(training, steps) / (plain.learning.batch_size * _FORWARD_AND_BACKWARD)
    unet, device = training.unet.eval(), training.accelerator.device
    size, n = training.table.image_size, 64
    x = torch.zeros(n, training.table.channels, *size, device=device)
    t = torch.ones(n, dtype=torch.int64, device=device)
    labels = torch.zeros(n, dtype=torch.int64, device=device) if training.null_label is not None else None
    with torch.inference_mode(), autocast(device, drawn_in):
        begun = time.perf_counter()
        for _ in range(steps):
            last = unet(x, t, labels).sample
        float(last.sum())  # waits for the device
    per_drawing = (time.perf_counter() - begun) / (steps * n)
    parameters = sum(p.numel() for p in unet.parameters())
    return training.table.num_classes, parameters, per_training, per_drawing


def dry_run(plan: Plan, cells: Sequence[Cell], states: dict[str, str], out: Path) -> str:
    """The plan as text: its cells, what they cost, and the disk they need."""
    found = costs(plan, cells)
    grid = [["cell", "state", "training", "drawing", "time", "disk"]]
    for cell in cells:
        cost = found[cell]
        passes = [f"{n:.2g}".replace("e+0", "e") for n in (cost.training, cost.drawing)]
        grid.append([cell.name, states[cell.name], *passes, duration(cost.seconds), f"{cost.disk / 2**20:,.0f} MiB"])
    left = [cell for cell in cells if states[cell.name] != "done"]
    learning = cells[0].config.learning
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    disk, free = sum(found[cell].disk for cell in left), shutil.disk_usage(existing).free
    return "\n".join(
        [
            *([plan.about, ""] if plan.about else []),
            *align(grid),
            "",
            f"cells    {len(cells)}, of which {len(cells) - len(left)} are done",
            f"images   {learning.steps * learning.batch_size:,} seen in each cell",
            "passes   of one image through the network; a training pass counts three, for its backward pass",
            f"time     {duration(sum(found[cell].seconds for cell in left))} for one process such as this one with "
            f"{torch.get_num_threads()} threads, timed by a few steps; features and metrics come on top",
            f"disk     {disk / 2**30:.1f} GiB in {out}, where {free / 2**30:.0f} GiB are free",
        ]
    )
