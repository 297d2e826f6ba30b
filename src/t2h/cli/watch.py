"""`t2h watch`: how trainings stand."""

from __future__ import annotations

import importlib.util
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from t2h.cli._parse import Format, parse
from t2h.errors import check_numbers, notice

if TYPE_CHECKING:
    from t2h.results.table import Table


@dataclass(frozen=True)
class Args:
    """Watch trainings from their files alone: loss, speed, time left, transfer, disk, grids; nothing slows them.

    In the terminal until all are finished or Ctrl-C (with rich: pip install "t2h[watch]"), or printed once, as every
    --format but text is.

    t2h watch runs/ddpm runs/mine --html watch.html
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders: running, finished or damaged."""
    html: Path | None = None
    """Write a page that loads itself anew, with curves and with the grids to scrub through."""
    once: bool = False
    """Print (and write) once, and leave."""
    every: float = 5.0
    """Seconds between two looks."""
    format: Format = "text"


def main(argv: list[str]) -> int:
    """Look, show, wait, until all runs are finished."""
    args = parse(Args, "watch", argv)
    from t2h.files import check_place, write_text
    from t2h.report.watch import progress_page, progress_table, read_all
    from t2h.results.table import FORMATS

    check_numbers(args, every=0.2)
    if args.html is not None:
        check_place(args.html, ".html", ".htm")
    live = sys.stdout.isatty() and not args.once and args.format == "text"
    if live and importlib.util.find_spec("rich") is None:
        notice('without rich the table is printed once: pip install "t2h[watch]"')
        live = False
    if live:
        from rich.live import Live
    again = not args.once and (live or args.html is not None)
    found = read_all(args.runs)
    if not live:
        print(FORMATS[args.format](progress_table(found)))
    if args.html is not None:
        print(f"\n{args.html}", file=sys.stderr)
    try:
        with Live(auto_refresh=False) if live else nullcontext() as screen:
            while True:
                again = again and not all(each.finished for each in found)
                if screen is not None:
                    screen.update(_rich(progress_table(found)), refresh=True)
                if args.html is not None:
                    write_text(args.html, progress_page(found, args.every if again else None))
                if not again:
                    return 0
                time.sleep(args.every)
                found = read_all(args.runs)
    except KeyboardInterrupt:
        return 0


def _rich(table: Table) -> Any:
    from rich.table import Table as Rich
    from rich.text import Text

    drawn = Rich(box=None, pad_edge=False, header_style="bold")
    head, *rows = table.texts
    drawn.add_column(head[0], style="dim")
    for name in head[1:]:
        drawn.add_column(Text(name), justify="right", overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    return drawn
