"""Does a long run stay as large as it was? 20,000 steps and 200 evaluations in one process: memory, files, disk.

    OMP_NUM_THREADS=1 python benchmarks/soak.py [STEPS [EVALUATIONS]]

Reads /proc, so Linux only. Exit status 1 if the last quarter takes 2 % more memory than the second, more open files, or
more disk.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from t2h.data import DataConfig
from t2h.evaluation.curve import Drawing, evaluate_run
from t2h.evaluation.judge import Judge
from t2h.evaluation.reference import reference_of
from t2h.features.load import load_extractor
from t2h.results.options import MetricOptions
from t2h.sampling import CurveFlags
from t2h.training import LearningConfig, MachineConfig, NetworkConfig, TrainConfig, loop, train

NETWORK = {
    "block_out_channels": [8],
    "down_block_types": ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "add_attention": False,
}
CONFIG = TrainConfig(
    data=DataConfig(imbalance=0.1),
    network=NetworkConfig(network=json.dumps(NETWORK)),
    machine=MachineConfig(device="cpu", save_every=500, checkpoint_minutes=0.1, grid_every=None),
)


def features(images: torch.Tensor) -> torch.Tensor:
    """A few projections of the pixels."""
    flat = images.flatten(1)
    return flat @ torch.randn(flat.shape[1], 8, generator=torch.Generator().manual_seed(0))


def measure(folder: Path) -> tuple[float, int, float]:
    """Resident MiB, open files, MiB in the folder."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir("/proc/self/fd")), disk / 2**20


def flat(what: str, seen: Sequence[tuple[float, int, float]]) -> bool:
    """Print the means of the quarters; whether the last is as the second."""
    n = len(seen) // 4
    quarters = [[statistics.fmean(column) for column in zip(*seen[k * n : (k + 1) * n], strict=True)] for k in range(4)]
    for k, (memory, files, disk) in enumerate(quarters):
        print(f"{what}  quarter {k + 1}  {memory:8.1f} MiB  {files:5.1f} files  {disk:7.2f} MiB on disk", flush=True)
    (memory, files, _), (memory4, files4, _) = quarters[1], quarters[3]
    return memory4 < 1.02 * memory and files4 < files + 1


def main(steps: int, evaluations: int) -> int:
    with tempfile.TemporaryDirectory() as place:
        folder, seen, step = Path(place), [], loop.take_step
        os.environ["T2H_CACHE"] = str(folder / "cache")

        def measured(training, batches):
            step(training, batches)
            if training.step % max(steps // 200, 1) == 0:
                seen.append(measure(folder))

        loop.take_step = measured
        train(replace(CONFIG, learning=LearningConfig(steps=steps, batch_size=4)), folder / "run", progress=False)
        well = flat(f"{steps:,} steps", seen)

        reference, seen = reference_of(CONFIG.data, "soak:features"), []
        judge = Judge(reference, load_extractor("soak:features"), MetricOptions(metrics=("fid", "kid")))
        for seed in range(evaluations):
            drawing = Drawing(2, CurveFlags(steps=2, seed=seed), pictures=False)
            evaluate_run(folder / "run", (1.0,), judge, folder / "result.json", drawing, progress=False)
            (folder / "result.json").unlink()
            seen.append(measure(folder))
        return 0 if flat(f"{evaluations} evaluations", seen) and well else 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*(given + [20_000, 200][len(given) :])))
