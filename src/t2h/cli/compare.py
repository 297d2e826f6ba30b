"""`t2h compare`: results side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from t2h.cli._parse import Format, parse
from t2h.results.metrics import GROUPS


@dataclass(frozen=True)
class Args:
    """Put results side by side, with differences to the first, by group; results of different
    protocols are refused, and what is not known of one (samples of other projects) gets a remark.

    t2h compare runs/ddpm runs/mine --w 1.5 best
    """

    results: tyro.conf.Positional[tuple[Path, ...]]
    """Result files of `t2h evaluate`, or run folders (all their results are taken)."""
    w: tuple[str, ...] = ("1.5", "best")
    """Points of each curve: guidance weights, or `best` for the one with the lowest FID."""
    metrics: tuple[str, ...] = ()
    """Columns, such as fid precision_k5. Default: the main metrics. The first is also given by group."""
    groups: tuple[str, ...] = GROUPS
    """Groups of classes; also many, medium-shot, few."""
    baseline: str | None = None
    """Name of the result that differences refer to; the first by default."""
    format: Format = "text"
    anyway: bool = False
    """Show results of different protocols together, marked, with the factors named."""


def main(argv: list[str]) -> int:
    args = parse(Args, "compare", argv)
    from t2h.results.compare import compare
    from t2h.results.result import read_result
    from t2h.results.table import FORMATS

    paths = [path for given in args.results for path in result_files(given)]
    results = [read_result(path) for path in paths]
    table = compare(results, args.w, args.metrics, args.groups, args.baseline, args.anyway)
    print(FORMATS[args.format](table))
    return 0


def result_files(given: Path) -> list[Path]:
    """The file itself, or all results of a run folder."""
    if not given.is_dir():
        return [given]
    from t2h.errors import UserError

    found = sorted((given / "results").glob("*.json"))
    if not found:
        raise UserError(f"{given} has no results/*.json; make one with `t2h evaluate {given} --reference REF`.")
    return found
