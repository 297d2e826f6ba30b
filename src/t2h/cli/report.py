"""`t2h report`: one HTML page of runs and results."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from pathlib import Path

import tyro

from t2h.cli._parse import parse
from t2h.errors import notice


@dataclass(frozen=True)
class Args:
    """Make one self-contained HTML page of runs and results: metrics, curves, classes, samples, protocol.

    It is made from files alone and needs no network, neither to be written nor to be read.

    t2h report runs/ddpm runs/mine --out report.html --open
    """

    inputs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of `t2h train` (with the results inside them) and result files of `t2h evaluate`."""

    out: Path = Path("report.html")
    """The page to write."""

    open: bool = False
    """Open the page in the browser."""

    title: str | None = None
    """The heading; by default what is compared and on which data."""


def main(argv: list[str]) -> None:
    args = parse(Args, "report", argv)
    from t2h.report import write_report

    page = write_report(args.inputs, args.out, args.title)
    print(page)
    if args.open and not webbrowser.open(page.resolve().as_uri()):
        notice("there is no browser that could be opened")
