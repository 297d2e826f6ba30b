"""`t2h inspect`: look at data before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from t2h.cli._parse import parse
from t2h.data.config import DataConfig, load
from t2h.errors import unknown_name
from t2h.files import check_place, write_text

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


def main(argv: list[str]) -> int | None:
    """Run `t2h inspect WHAT`."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if argv[0] == "transfer":
        from t2h.cli._transfer import TransferArgs, inspect_transfer  # its options import torch

        inspect_transfer(parse(TransferArgs, "inspect transfer", argv[1:]))
    elif argv[0] == "data":
        inspect_data(parse(Args, "inspect data", argv[1:]))
    else:
        raise unknown_name("thing to inspect", argv[0], ["data", "transfer"])
    return 0


def inspect_data(args: Args) -> None:
    """Print the class table and, if asked, write its plot."""
    from t2h.data.groups import class_table
    from t2h.report.plots import counts_file

    if args.plot is not None:
        check_place(args.plot, ".svg")
    table = load(args.source)
    height, width = table.image_size
    kind = "grey" if table.channels == 1 else "RGB"
    print(f"{table.name}, split {table.split}: {kind} images of {width}x{height} pixels\n")
    print(class_table(table.class_counts, table.class_names))
    if args.plot is not None:
        write_text(args.plot, counts_file(table.name, table.class_names, table.class_counts.tolist()))
        print(f"\nplot: {args.plot}")
