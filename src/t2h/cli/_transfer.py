"""`t2h inspect transfer`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro

from t2h.data.config import DataConfig, load
from t2h.errors import UserError, check_numbers
from t2h.files import check_place, write_text
from t2h.methods.window import transfer_chances
from t2h.report.plots import chances_file
from t2h.training.config import ProcessConfig


@dataclass(frozen=True)
class TransferArgs:
    """Print and plot the chance that T2H aims at another image, by t (Figure 7 of its paper); nothing is trained."""

    source: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    process: Annotated[ProcessConfig, tyro.conf.arg(name="")] = field(default_factory=ProcessConfig)
    references: tuple[int, ...] = (32, 128, 512)
    """Numbers of references, the image itself included: the batch, and what --references of `t2h train` adds."""
    chance: tuple[float, float] = (0.05, 0.95)
    """Bounds of the chance that the aim is of another class, for which --t2h.t-min and --t2h.t-max are printed."""
    plot: Path | None = None
    """Write a plot here (SVG)."""


def inspect_transfer(args: TransferArgs) -> None:
    """Print the chances at some t and the window of each number of references; write the plot if asked."""
    if args.plot is not None:
        check_place(args.plot, ".svg")
    low, high = args.chance
    check_numbers(args, references=1)
    if not args.references:
        raise UserError("--references: give at least one number.")
    if not 0 <= low < high <= 1:
        raise UserError(f"--chance {low} {high}; both must be in [0, 1], the lower one first.")
    table, process = load(args.source), args.process.make()
    counts, draws = torch.from_numpy(table.class_counts), np.random.default_rng(0)

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = draws.choice(len(table), n, replace=False)
        images = torch.from_numpy(np.asarray(table.images[rows]))
        return images.float() / 127.5 - 1, torch.from_numpy(table.labels[rows])

    print("chance that T2H aims at another image, of the same class + of another:\n")
    sizes = dict.fromkeys(min(n, len(table)) for n in args.references)
    found = [transfer_chances(draw, counts, process, n) for n in sizes]
    shown = found[0].t[::5]
    print(f"{'references':>10}" + "".join(f"{f't = {t:.3g}':>12}" for t in shown))
    for chances in found:
        pairs = list(zip(chances.within, chances.across, strict=True))[::5]
        print(f"{chances.references:10,}" + "".join(f"{f'{a:.0%} + {b:.0%}':>12}" for a, b in pairs))
    print(f"\nwindows in which the chance of another class is within {low:g} and {high:g}:")
    for chances in found:
        t_min, t_max = chances.window(low, high)
        print(f"{chances.references:10,}  --t2h.t-min {t_min} --t2h.t-max {t_max}")
    if args.plot is not None:
        curves = [(f"{c.references:,}", c.t, c.within, c.across) for c in found]
        write_text(args.plot, chances_file(table.name, curves))
        print(f"\nplot: {args.plot}")
