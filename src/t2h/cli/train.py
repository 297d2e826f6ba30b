"""`t2h train`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import tyro

from t2h.cli._parse import parse
from t2h.training.config import TrainConfig


@dataclass(frozen=True)
class Args:
    """Train a class-conditional diffusion model on long-tailed images.

    Running the same command again goes on where it stopped, exactly. Ctrl-C saves and leaves.

    Your own images, a folder per class, on a laptop: t2h train --preset laptop --data my_images --out runs/mine

    A row of the paper: t2h train --preset cifar10-lt-t2h --root DIR

    In several processes, one on each GPU: torchrun --nproc-per-node N -m t2h train ...
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    out: Path | None = None
    """Folder of the run. Default: runs/DATA-OBJECTIVE."""
    preset: str | None = None
    """Begin from laptop (16 px, minutes on a processor), or from a row of the paper:
    {cifar10-lt,cifar100-lt,tiny-imagenet-200-lt}-{ddpm,t2h,h2t-unconditional}. Further options replace its own. The
    long tail of TinyImageNet-200 is ours: the paper's was never published."""
    dry_run: bool = False
    """Print the plan (class table, parameters, images, memory, time) and write nothing."""
    extend: bool = False
    """Go on with a run for more steps than it was begun with."""


COMMON = (
    "--data --root --image-size --imbalance --preset --objective --steps --batch-size --lr --network --init "
    "--sampling.w --seed --device --out --dry-run --extend"
)
"""The options that the short help shows."""


def main(argv: list[str]) -> int:
    """Train, or print the plan; 130 or 143 after a signal."""
    from t2h.training.presets import preset

    words = [part for word in argv for part in word.split("=", 1)]
    named = [after for word, after in pairwise(words) if word == "--preset"]
    args = parse(Args, "train", argv, default=Args(config=preset(named[0])) if named else None, common=COMMON.split())
    config = args.config
    if args.dry_run:
        from t2h.data import load
        from t2h.data.groups import class_table
        from t2h.training.plan import plan

        table, planned = load(config.data), plan(config)  # both first: a mistake is said alone
        print(class_table(table.class_counts, table.class_names, max_rows=24))
        print(planned)
        return 0
    from t2h.data.sources import canonical
    from t2h.training import train

    name = Path(canonical(config.data.data)).name
    out = args.out or Path("runs") / re.sub(r"[^\w.+-]+", "-", f"{name}-{config.objective}")
    result = train(config, out, extend=args.extend)
    seen = f"{result.step:,} steps, {result.images_seen:,} images seen"
    if not result.main_process:
        return result.exit_status
    if result.status == "interrupted":
        print(f"Saved after {seen}. The same command goes on from there.")
        return result.exit_status
    if result.status == "already finished":
        print(f"{out} is finished: {seen}. More --steps with --extend goes on.")
        return 0
    print(f"Finished: {seen}.")
    print(f"  network   {out / 'pipeline'}")
    if config.machine.grid_every is not None:
        print(f"  samples   {out / 'grids' / f'step_{result.step:08d}.png'}")
    print(f"  next      t2h sample {out} --per-class 100")
    return 0
