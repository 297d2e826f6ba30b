"""`t2h inspect transfer`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from t2h.cli._parse import Format, below
from t2h.data.config import DataConfig, load
from t2h.errors import UserError, check_numbers
from t2h.files import check_place, replaced, write_text
from t2h.methods.t2h import T2H
from t2h.report.plots import chances_file
from t2h.results.table import written
from t2h.training.chances import Aims, tables
from t2h.training.config import ProcessConfig


@dataclass(frozen=True)
class TransferArgs:
    """Print and plot the chance that T2H aims at another image, by t (Figure 7 of its paper); nothing is trained.

    t2h inspect transfer --data digits --imbalance 0.05 --references 128 1024 --plot chances.svg
    """

    source: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    process: Annotated[ProcessConfig, tyro.conf.arg(name="")] = field(default_factory=ProcessConfig)
    references: tuple[int, ...] = (32, 128, 512)
    """Numbers of references, the image itself included: the batch, and what --references of `t2h train` adds."""
    t2h: T2H = field(default_factory=lambda: T2H(window=(0.01, 0.3)))
    """The method, of which gate and prior count; its window is printed as times for each number of references."""
    plot: Path | None = None
    """Write a plot here (SVG)."""
    examples: Path | None = None
    """Write a picture here (PNG) of images that are noised: noisy, clean, and the clean image that T2H aims at."""
    format: Format = "text"


def inspect_transfer(args: TransferArgs) -> None:
    """Print the chances at some t and the window of each number of references; write plot and picture if asked."""
    for path, suffix in ((args.plot, ".svg"), (args.examples, ".png")):
        if path is not None:
            check_place(path, suffix)
    check_numbers(args, references=2)
    if not args.references:
        raise UserError("--references: give at least one number.")
    if args.t2h.window is None:
        raise UserError("t2h.window is None; give the bounds of the chance to aim at another class, such as 0.01 0.3.")
    aims = Aims(load(args.source), args.process.make(), args.t2h)
    counts = dict.fromkeys(min(n, len(aims.table)) for n in args.references)
    found = {n: aims.chances(n) for n in counts}
    print(written(tables(found, *args.t2h.window), args.format))
    if args.plot is not None:
        write_text(args.plot, chances_file(aims.table.name, found))
        below(f"plot: {args.plot}", args.format)
    if args.examples is not None:
        n, chances = list(found.items())[-1]
        with replaced(args.examples) as file:
            aims.examples(n, chances.window(*args.t2h.window)).save(file, format="PNG")
        below(f"examples with {n:,} references: {args.examples}", args.format)
