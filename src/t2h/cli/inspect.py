"""`t2h inspect`: look at data before anything is trained on it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from t2h.cli._parse import Format, below, parse
from t2h.data.config import DataConfig, load
from t2h.errors import UserError, check_numbers, unknown_name
from t2h.files import check_place, write_text

_USAGE = """usage: t2h inspect WHAT [OPTIONS]

  data      the class table, head to tail, and a plot of it
  samples   whether samples are copies of training images, class by class, and the closest pairs
  transfer  the chance by t that T2H aims at another image, and the window of t for given chances

`t2h inspect WHAT --help` shows the options."""

TRANSFER = "--data --root --image-size --imbalance --references --t2h.gate --t2h.window --plot --examples --format"
"""Options of `t2h inspect transfer` that its short help shows."""


@dataclass(frozen=True)
class Args:
    """Print the class table of a data set, from head to tail, and plot it.

    t2h inspect data --data my_images --image-size 32 --plot classes.svg
    """

    source: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    plot: Path | None = None
    """Write a plot of the images per class here (SVG)."""
    format: Format = "text"


@dataclass(frozen=True)
class SamplesArgs:
    """Tell whether samples are copies: each class beside its training images, in pixels, without a reference.

    The run, and with it the data, is found by where the samples lie or what they say of themselves; options of data
    replace what it says.

    t2h inspect samples runs/mine --html pairs.html
    """

    samples: Annotated[Path, tyro.conf.Positional]
    """A run (of its samples those at the w nearest to 1.5), a folder of samples, or an .npz file."""
    source: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    per_class: int = 500
    """Samples of each class that are looked at."""
    html: Path | None = None
    """Write a self-contained page with the closest pairs of each class here."""
    format: Format = "text"


def main(argv: list[str]) -> int | None:
    if not argv or argv[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if argv[0] == "transfer":
        from t2h.cli._transfer import TransferArgs, inspect_transfer  # its options import torch

        inspect_transfer(parse(TransferArgs, "inspect transfer", argv[1:], common=TRANSFER.split()))
    elif argv[0] == "data":
        inspect_data(parse(Args, "inspect data", argv[1:]))
    elif argv[0] == "samples":
        inspect_samples(argv[1:])
    else:
        raise unknown_name("thing to inspect", argv[0], ["data", "samples", "transfer"])
    return 0


def inspect_data(args: Args) -> None:
    from t2h.data.groups import class_table
    from t2h.report.plots import counts_file
    from t2h.results.table import FORMATS, counts_table

    if args.plot is not None:
        check_place(args.plot, ".svg")
    table = load(args.source)
    height, width = table.image_size
    kind = "grey" if table.channels == 1 else "RGB"
    if args.format == "text":
        print(f"{table.name}, split {table.split}: {kind} images of {width}x{height} pixels\n")
        print(class_table(table.class_counts, table.class_names))
    else:
        print(FORMATS[args.format](counts_table(table.class_counts, table.class_names)))
    if args.plot is not None:
        write_text(args.plot, counts_file(table.name, table.class_names, table.class_counts.tolist()))
        below(f"plot: {args.plot}", args.format)


def inspect_samples(argv: list[str]) -> None:
    args = parse(SamplesArgs, "inspect samples", argv)
    from t2h.evaluation.copies import class_copies, copies_table
    from t2h.evaluation.nearest import run_data
    from t2h.report.copies import copies_page
    from t2h.results.table import FORMATS
    from t2h.samples.read import drawn_in, read_samples, run_of

    check_numbers(args, per_class=1)
    if args.html is not None:
        check_place(args.html, ".html", ".htm")
    place, run = args.samples, args.samples
    if not place.exists():
        raise UserError(f"{place} does not exist; give a run, a folder of samples, or an .npz file.")
    if (run / "config.yaml").is_file():
        if (found := drawn_in(run)) is None:
            raise UserError(f"{run} has no samples; draw some: t2h sample {run}")
        place = found
    elif (origin := run_of(place)) is not None:
        run = origin
    data = args.source
    if not any(word.split("=")[0] == "--data" for word in argv):
        file = run / "config.yaml"
        if not file.is_file():
            raise UserError(f"{place}: its run is not found; say what it was trained on (--data, --imbalance, ...).")
        if (own := run_data(run)) is None:
            raise UserError(f"{file} names no data; give --data.")
        data = parse(SamplesArgs, "inspect samples", argv, default=SamplesArgs(args.samples, own)).source
    table = load(data)
    samples = read_samples(place, table.class_names)
    each = class_copies(samples, table, args.per_class)
    if args.format == "text":
        print(f"{place} and {table.name}, {table.split}, {len(table):,} images\n")
    print(FORMATS[args.format](copies_table(each)))
    if args.html is not None:
        write_text(args.html, copies_page(each, samples, table))
        print(f"\n{args.html}", file=sys.stderr)
