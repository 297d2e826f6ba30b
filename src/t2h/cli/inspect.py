"""`t2h inspect data`: look at data before anything is trained on it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from t2h.cli._parse import parse
from t2h.data.config import DataConfig, load
from t2h.errors import UserError, unknown_name

_USAGE = """usage: t2h inspect data [OPTIONS]

  data  the class table, head to tail, and a plot of it

`t2h inspect data --help` shows the options."""


@dataclass(frozen=True)
class Args:
    """Print the class table of a data set, from head to tail, and plot it."""

    source: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    plot: Path | None = None
    """Write a plot of the images per class here (PNG, PDF or SVG)."""


def main(argv: list[str]) -> int | None:
    """Run `t2h inspect WHAT`."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_USAGE)
        return 0
    if argv[0] != "data":
        raise unknown_name("thing to inspect", argv[0], ["data"])
    inspect_data(parse(Args, "inspect data", argv[1:]))
    return 0


def inspect_data(args: Args) -> None:
    """Print the class table and, if asked, write its plot."""
    from t2h.data.show import class_table

    _check_suffix(args.plot)
    table = load(args.source)
    height, width = table.image_size
    kind = "grey" if table.channels == 1 else "RGB"
    print(f"{table.name}, split {table.split}: {kind} images of {width}x{height} pixels\n")
    print(class_table(table.class_counts, table.class_names))
    if args.plot is not None:
        _write_plot(args.plot, table.class_counts, table.class_names, table.name)
        print(f"\nplot: {args.plot}")


def _check_suffix(plot: Path | None) -> None:
    if plot is not None and plot.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UserError(f"--plot {plot}: the name must end in .png, .pdf or .svg.")


def _write_plot(path: Path, class_counts, class_names: tuple[str, ...], title: str) -> None:
    from t2h.data.show import plot_class_counts

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        plot_class_counts(class_counts, class_names, title).savefig(temporary, format=path.suffix[1:].lower())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
