"""How trainings stand, from their files alone: a table for the terminal, and a page that refreshes itself."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from t2h.errors import UserError
from t2h.files import finite, reading
from t2h.report.axes import axis_text, duration, percent_text
from t2h.report.charts import line_chart
from t2h.report.material import Material, Run, distinct, read_run
from t2h.report.pictures import Picture, grid_picture, grids_of
from t2h.report.plots import Plot, log_line, transfer_view
from t2h.report.templates import render
from t2h.results.table import Table, as_html, table
from t2h.typed import from_yaml

GRIDS = 24
"""Grids of a run on the page, evenly spread over its steps."""
QUIET = 120.0
"""Seconds without a new line after which a run counts as stopped; or ten times what lies between its lines."""

_OTHER = {"step", "images_seen", "loss", "lr", "grad_norm", "images_per_second", "seconds", "skipped", "overflows"}
_CURVES = {
    "loss": "Loss",
    "grad_norm": "Gradient norm",
    "images_per_second": "Images per second",
    "lr": "Learning rate",
}
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, eq=False)
class Progress:
    """A run and how far it is; ``age`` is the seconds since it last wrote a line."""

    run: Run
    age: float | None

    @classmethod
    def of(cls, folder: Path) -> Progress:
        """Of a run that is running, finished or damaged, as far as it can be read.

        Raises:
            UserError: for a folder that is no run.
        """
        run, file = read_run(folder, folder.resolve().name, damaged=True), folder / "metrics.jsonl"
        return cls(run, max(0.0, time.time() - file.stat().st_mtime) if file.exists() else None)

    @property
    def last(self) -> dict[str, float]:
        return self.run.log[-1] if self.run.log else {}

    @property
    def step(self) -> int:
        return int(self.last.get("step", 0))

    @cached_property
    def steps(self) -> int | None:
        """How many there will be, as config.yaml says; None where it does not."""
        with suppress(UserError), reading("config.yaml", "configuration", "see the rest"):
            number = finite(from_yaml(self.run.config or "")["learning"]["steps"])
            return None if number is None else int(number)
        return None

    @property
    def finished(self) -> bool:
        return self.steps is not None and self.step >= self.steps

    @property
    def seconds_left(self) -> float | None:
        """At the median speed of the last lines."""
        speeds = [speed for line in self.run.log[-20:] if (speed := line.get("images_per_second"))]
        if self.steps is None or not self.step or not speeds:
            return None
        return (self.steps - self.step) * self.last.get("images_seen", 0.0) / self.step / median(speeds)

    @property
    def state(self) -> str:
        """Finished, running or stopped, and how long ago the last line was written."""
        if self.age is None or not self.run.log:
            return "no step yet"
        if self.finished:
            return "finished"
        times = [line["seconds"] for line in self.run.log[-2:] if "seconds" in line]
        between = times[1] - times[0] if len(times) == 2 else 0.0
        state = "running" if self.age < max(QUIET, 10 * between) else "stopped"
        return f"{state}, last line {duration(self.age)} ago"


def progress_table(found: Sequence[Progress]) -> Table:
    """A column for each run, a row for each quantity that any of them has."""
    terms = dict.fromkeys(key for each in found for key in each.last if key not in _OTHER)
    terms = terms if len(terms) > 1 else {}  # a single term is the loss
    rows: dict[str, list[str | None]] = {
        "state": [each.state for each in found],
        "step": [_step(each) for each in found],
        "time left": [None if each.finished or (s := each.seconds_left) is None else duration(s) for each in found],
        "images seen": [_last(each, "images_seen", ",.0f") for each in found],
        "loss": [_last(each, "loss", ".4f", spark=True) for each in found],
        **{f"  {key}": [_last(each, key, ".4f", spark=True) for each in found] for key in terms},
        "gradient norm": [_last(each, "grad_norm", ".3g", spark=True) for each in found],
        "learning rate": [_last(each, "lr", ".3g") for each in found],
        "images/s": [_last(each, "images_per_second", ",.1f", spark=True) for each in found],
        "transferred, t of low to high noise": [_transferred(each.run) for each in found],
        "skipped steps": [_last(each, "skipped", ",.0f") or ("0" if each.run.log else None) for each in found],
        "disk": [_disk(each.run.folder) for each in found],
    }
    shown = [(name, *cells) for name, cells in rows.items() if any(cells)]
    return table(("", *(each.run.name for each in found)), shown)


def progress_page(found: Sequence[Progress], every: float | None) -> str:
    """A self-contained page: the table, curves and grids; it loads itself anew after ``every`` seconds, if given."""
    material = Material((), tuple(each.run for each in found))
    terms = dict.fromkeys(key for each in found for line in each.run.log for key in line if key not in _OTHER)
    curves = _CURVES | ({key: f"Term {key}" for key in terms} if len(terms) > 1 else {})
    plots = []
    for key, title in curves.items():
        lines = [log_line(run, material.slot(run.name), key) for run in material.runs]
        lines = [line for line in lines if len(line.points) > 1]
        if lines:
            plots.append(
                Plot(title, line_chart(f"{title} over the images seen", lines, "images seen", axis_text), "smoothed")
            )
    tiles = [
        {
            "name": each.run.name,
            "slot": material.slot(each.run.name),
            "value": f"{each.step / each.steps:.0%}" if each.steps else f"{each.step:,}",
            "what": each.state,
            "left": "" if each.finished or (s := each.seconds_left) is None else f"{duration(s)} left",
        }
        for each in found
    ]
    grids = [{"name": run.name, "slot": material.slot(run.name), "grids": _grids(run)} for run in material.runs]
    return render(
        "report/watch.html.j2",
        title=", ".join(run.name for run in material.runs),
        every=every,
        written=time.strftime("%F %T"),
        tiles=tiles,
        table=as_html(progress_table(found)),
        plots=plots,
        transfer=transfer_view(material.runs),
        grids=[each for each in grids if each["grids"]],
    )


def _step(each: Progress) -> str | None:
    if not each.run.log:
        return None
    return f"{each.step:,}" + ("" if not each.steps else f" of {each.steps:,} ({each.step / each.steps:.0%})")


def _last(each: Progress, key: str, form: str, spark: bool = False) -> str | None:
    """The last value, after its course in eight heights."""
    if key not in each.last:
        return None
    text = format(each.last[key], form)
    ys = [y for _, y in log_line(each.run, "", key).points]
    if not spark or len(ys) < 2 or min(ys) == max(ys):
        return text
    ends = np.linspace(0, len(ys), min(16, len(ys)) + 1).round().astype(int).tolist()
    means = [sum(ys[a:b]) / (b - a) for a, b in pairwise(ends)]
    low, span = min(means), max(max(means) - min(means), 1e-300)
    return "".join(_BARS[round(7 * (mean - low) / span)] for mean in means) + f" {text}"


def _transferred(run: Run) -> str | None:
    """The share of targets taken from another image in each third of t."""
    if (found := run.transfer) is None:
        return None
    n = len(found.total)
    thirds = [slice(i * n // 3, (i + 1) * n // 3) for i in range(3)]
    moved = [(sum(found.within[part]) + sum(found.across[part])) / (sum(found.total[part]) or 1.0) for part in thirds]
    return " · ".join(percent_text(round(share, 3)) for share in moved)


def _disk(folder: Path) -> str | None:
    with suppress(OSError):
        used = 0
        for file in folder.rglob("*"):
            with suppress(OSError):  # the run replaces its files
                used += file.stat().st_size if file.is_file() else 0
        return f"{used / 2**20:,.0f} MiB, {shutil.disk_usage(folder).free / 2**30:,.0f} GiB free"
    return None


def _grids(run: Run) -> list[dict[str, Any]]:
    files = grids_of(run.folder)
    some = {round(i) for i in np.linspace(0, len(files) - 1, min(GRIDS, len(files)))}
    found = [(file, _picture(file, run.name, file.stat().st_mtime_ns)) for file in (files[i] for i in sorted(some))]
    digits = [(int("".join(filter(str.isdigit, file.stem)) or 0), picture) for file, picture in found]
    return [{"step": step, "picture": picture} for step, picture in digits if picture]


@cache
def _picture(file: Path, name: str, _written: int) -> Picture | None:
    found = grid_picture(file, name)
    return found and found[1]


def read_all(folders: Sequence[Path]) -> list[Progress]:
    """The progress of every run; runs of the same name get that of their parent folder beside it.

    Raises:
        UserError: if there is none, or a folder is no run.
    """
    if not folders:
        raise UserError("nothing to watch; give run folders of `t2h train`.")
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder; give run folders of `t2h train`.")
    found = [Progress.of(folder) for folder in folders]
    runs = distinct(
        [each.run for each in found], lambda run: run.folder.resolve().parent.name, lambda run: str(run.folder)
    )
    return [replace(each, run=run) for each, run in zip(found, runs, strict=True)]
