"""`t2h inspect`: look at data before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from t2h.cli._parse import parse
from t2h.data.config import DataConfig, load
from t2h.errors import UserError, unknown_name
from t2h.training.config import ProcessConfig

_USAGE = """usage: t2h inspect WHAT [OPTIONS]

  data      the class table, head to tail, and a plot of it
  transfer  the chance by t that T2H aims at another image, and the window of t for given chances

`t2h inspect data --help` and `t2h inspect transfer --help` show the options."""


@dataclass(frozen=True)
class Args:
    """Print the class table of a data set, from head to tail, and plot it."""

    source: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    plot: Path | None = None
    """Write a plot of the images per class here (SVG)."""


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


def main(argv: list[str]) -> int | None:
    """Run `t2h inspect WHAT`."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if argv[0] == "transfer":
        inspect_transfer(parse(TransferArgs, "inspect transfer", argv[1:]))
    elif argv[0] == "data":
        inspect_data(parse(Args, "inspect data", argv[1:]))
    else:
        raise unknown_name("thing to inspect", argv[0], ["data", "transfer"])
    return 0


def inspect_data(args: Args) -> None:
    """Print the class table and, if asked, write its plot."""
    from t2h.data.groups import class_table
    from t2h.files import replaced
    from t2h.report.plots import counts_file

    _check_svg(args.plot)
    table = load(args.source)
    height, width = table.image_size
    kind = "grey" if table.channels == 1 else "RGB"
    print(f"{table.name}, split {table.split}: {kind} images of {width}x{height} pixels\n")
    print(class_table(table.class_counts, table.class_names))
    if args.plot is not None:
        with replaced(args.plot) as file:
            file.write_text(counts_file(table.name, table.class_names, table.class_counts.tolist()), encoding="utf-8")
        print(f"\nplot: {args.plot}")


def inspect_transfer(args: TransferArgs) -> None:
    """Print the chances at some t and the window of each number of references; write the plot if asked."""
    import numpy as np
    import torch

    from t2h.files import replaced
    from t2h.methods.window import transfer_chances
    from t2h.report.plots import chances_file

    _check_svg(args.plot)
    low, high = args.chance
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
        with replaced(args.plot) as file:
            curves = [(f"{c.references:,}", c.t, c.within, c.across) for c in found]
            file.write_text(chances_file(table.name, curves), encoding="utf-8")
        print(f"\nplot: {args.plot}")


def _check_svg(plot: Path | None) -> None:
    if plot is not None and plot.suffix.lower() != ".svg":
        raise UserError(f"--plot {plot}: the plot is an SVG file; give a name that ends in .svg.")
