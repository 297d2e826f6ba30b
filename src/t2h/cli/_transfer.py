"""`t2h inspect transfer`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from PIL import Image

from t2h.cli._parse import Format
from t2h.data.batches import BatchStream
from t2h.data.config import DataConfig, load
from t2h.data.table import ImageTable
from t2h.errors import UserError, check_numbers
from t2h.files import check_place, replaced, write_text
from t2h.methods.base import Batch, Context
from t2h.methods.posterior import half_squares
from t2h.methods.t2h import T2H, OrientedAim
from t2h.methods.window import IMAGES, TransferChances, transfer_chances
from t2h.process import Process
from t2h.randomness import generator
from t2h.report.plots import chances_file
from t2h.results.table import Cell, written
from t2h.results.table import table as table_of
from t2h.samples.grid import enlarged, picture
from t2h.training.config import ProcessConfig

NOISED = 128  # images a batch


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
    """How the tables are printed; --json is --format json."""


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
    table, process = load(args.source), args.process.make()
    aim = OrientedAim(args.t2h, Context(torch.from_numpy(table.class_counts), process, None))
    stream = BatchStream(table, torch.device("cpu"), 0, flip=False)
    found: dict[int, TransferChances] = {}
    for n in dict.fromkeys(min(n, len(table)) for n in args.references):
        batches = [_batch(stream, process, n, k) for k in range(IMAGES // NOISED)]
        found[n] = transfer_chances(aim.mass, batches, process.num_timesteps)
    low, high = args.t2h.window
    windows = {n: chances.window(low, high) for n, chances in found.items()}
    head = ["references", *(Cell(f"t = {t:.3g}", (f"same at {t:.3g}", f"other at {t:.3g}")) for t in found[n].t[1::3])]
    rows = []
    for n, chances in found.items():
        pairs = list(zip(chances.within, chances.across, strict=True))[1::3]
        rows.append([n, *(Cell(f"{same:.0%} + {other:.0%}", (float(same), float(other))) for same, other in pairs)])
    title = "chance that T2H aims at another image, of the same class + of another"
    tables = [table_of(head, rows, title)]
    rows = [[n, Cell(f"--t2h.t-min {a} --t2h.t-max {b}", (a, b))] for n, (a, b) in windows.items()]
    title = f"windows in which the chance of another class is within {low:g} and {high:g}"
    tables.append(table_of(["references", Cell("options", ("t_min", "t_max"))], rows, title))
    print(written(tables, args.format))
    out = sys.stdout if args.format == "text" else sys.stderr
    if args.plot is not None:
        curves = [(f"{n:,}", c.t, c.within, c.across) for n, c in found.items()]
        write_text(args.plot, chances_file(table.name, curves))
        print(f"\nplot: {args.plot}", file=out)
    if args.examples is not None:
        with replaced(args.examples) as file:
            examples(aim, _batch(stream, process, n, 0), windows[n], table).save(file, format="PNG")
        print(f"\nexamples with {n:,} references: {args.examples}", file=out)


def _batch(stream: BatchStream, process: Process, references: int, k: int) -> Batch:
    """A batch of so many references, of which some are noised; or all of them several times, if they are few."""
    x0, y = stream.references(k, references)
    own = torch.arange(NOISED) % references
    batch = Batch.noised(process, x0[own], y[own], generator("cpu", 0, "inspect", k), None)
    return replace(batch, reference_x0=x0, reference_y=y, own=own, halves=half_squares(x0))


def examples(aim: OrientedAim, batch: Batch, window: tuple[int, int], table: ImageTable) -> Image.Image:
    """Five images at five t around a window, each as noisy, own and drawn clean image; from head to tail."""
    steps = aim.process.num_timesteps
    begin, end = window
    first = {int(c): i for i, c in reversed(list(enumerate(batch.y)))}
    by_count = sorted(first, key=lambda c: -table.class_counts[c])
    rows = torch.tensor([first[by_count[k * (len(by_count) - 1) // 4]] for k in range(5)])
    tiles, texts = [], []
    for share in (-0.5, 0.0, 0.5, 1.0, 1.5):
        t = torch.full(batch.t.shape, min(max(begin + share * (end - begin), 1.0), steps - 1.0))
        xt = aim.process.add_noise(batch.x0, batch.eps, t)
        drawn = aim(replace(batch, t=t, xt=xt))
        triples = torch.cat([xt[rows], batch.x0[rows], drawn[rows]], dim=3)
        pixels = triples.add(1).mul(127.5).round().clamp(0, 255).byte().numpy()
        tiles.append(enlarged(pixels, 48))
        texts.append(f"t = {t[0]:.0f}")
    return picture(tiles, texts, gap=6)
