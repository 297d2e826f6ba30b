"""What T2H's references cost a step: processor seconds and memory, for random images of 3 x 32 x 32 and a batch of 128.

    OMP_NUM_THREADS=1 python benchmarks/posterior_speed.py 12406 50000 100000        # a minute

Seconds are of the processor, so a loaded machine tells the same. Memory is what a step adds at its peak (Linux).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from t2h import NoiseSchedule, reference_posterior
from t2h.methods.base import Batch, Context
from t2h.methods.posterior import half_squares
from t2h.methods.t2h import T2H

PROCESS, BATCH = NoiseSchedule(), 128


def seconds(step: Callable[[], object], repeats: int = 7) -> float:
    """The median of some calls."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        step()
        taken.append(time.process_time() - start)
    return median(taken)


def resident(entry: str) -> float:
    """MiB of this process, now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry)) / 1024


def main(numbers: list[int]) -> None:
    print(f"{'references':>10}  norms  posterior, norms prepared  posterior  T2H's draw  expectation   memory")
    for n in numbers:
        generator = torch.Generator().manual_seed(0)
        references = torch.rand(n, 3, 32, 32, generator=generator).mul_(2).sub_(1)
        y = torch.randint(10, (n,), generator=generator)
        context, halves = Context(torch.bincount(y, minlength=10), PROCESS, 10), half_squares(references)
        batch = Batch.noised(PROCESS, references[:BATCH], y[:BATCH], generator, 10)
        batch = replace(batch, reference_x0=references, reference_y=y, halves=halves)
        given = (batch.x0, batch.eps, references, batch.t, PROCESS, None)
        draw, expectation = (T2H(estimate=estimate).aim(context) for estimate in ("draw", "expectation"))
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = resident("VmRSS")
        draw(batch)
        memory = resident("VmHWM") - before
        norms = seconds(lambda r=references: half_squares(r))
        times = [seconds(lambda h=h, g=given: reference_posterior(*g, h)) for h in (halves, None)]
        times += [seconds(lambda aim=aim, b=batch: aim(b)) for aim in (draw, expectation)]
        print(f"{n:10,}  {norms:5.2f}  {times[0]:25.2f}  {times[1]:9.2f}  {times[2]:10.2f}  {times[3]:11.2f}", end="")
        print(f"  {memory:5.0f} MiB", flush=True)


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]])
