"""`t2h demo`: the whole way on embedded data, as the commands that a user would type."""

from __future__ import annotations

import math
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from t2h.cli._parse import parse
from t2h.errors import check_numbers, check_unique
from t2h.files import check_place


@dataclass(frozen=True)
class Args:
    """Train DDPM and T2H side by side on long-tailed digits, sample over a curve of w, judge, and make one page.

    Everything is embedded: no network, no GPU. The commands are printed as they run; each can be typed by hand.
    Running it again goes on where it stopped: t2h demo --out runs/demo
    """

    out: Path = Path("runs/demo")
    """Folder of everything that is made."""
    imbalance: float = 0.05
    """Smallest class over largest class."""
    steps: int = 700
    """Optimisation steps of each method, of 64 images."""
    w: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5)
    """Guidance weights of the curve."""
    per_class: int = 50
    """Samples of each class at each w."""
    seed: int = 0
    """Of both runs."""


METHODS = ("ddpm", "t2h")

# A short run: a warm-up, a rate and a moving average that fit 700 steps instead of the paper's half a million.
_LEARNING = (
    "--batch-size 64 --lr 1e-3 --warmup-steps 100 --ema-decay 0.995 --log-every 50 --save-every 250 --grid-every None"
)
_DRAWING = "--sampling.steps 25"  # half as many as the runs would take by themselves, to be done in time


def main(argv: list[str]) -> int:
    """Run the commands; prints the page's path last."""
    args = parse(Args, "demo", argv)
    check_numbers(args, steps=1, per_class=1, seed=0, w=-math.inf)
    check_place(args.out / "report.html")
    check_unique("w", args.w)
    begun = time.perf_counter()
    data = f"--data digits --imbalance {args.imbalance:g}"
    reference = args.out / "reference.safetensors"
    weights = " ".join(f"{w:g}" for w in args.w)
    runs = {method: args.out / method for method in METHODS}

    print(f"DDPM and T2H on long-tailed digits, {args.steps * 64:,} images each, in minutes.\n")
    _run([f"inspect data {data}"], show=True)
    if not reference.exists():
        _run([f"reference {data} --features classifier --out {_quote(reference)}"])
    _run(
        [
            f"train {data} --objective {method} --steps {args.steps} --seed {args.seed} {_LEARNING} {_DRAWING} "
            f"--out {_quote(run)}"
            for method, run in runs.items()
        ]
    )
    _run(
        [
            f"evaluate {_quote(run)} --reference {_quote(reference)} --w {weights} --per-class {args.per_class} "
            f"--metrics fid kid manifold diversity memorisation accuracy --name {method}"
            for method, run in runs.items()
        ]
    )
    _run([f"sample {_quote(run)} --per-class 10" for run in runs.values()])
    page = args.out / "report.html"
    _run([f"report {' '.join(map(_quote, runs.values()))} --out {_quote(page)}"])
    print(f"\nDone in {(time.perf_counter() - begun) / 60:.1f} minutes. Open this page in a browser:\n{page.resolve()}")
    return 0


def _quote(path: Path) -> str:
    return shlex.quote(str(path))


def _run(commands: list[str], show: bool = False) -> None:
    """Run `t2h ...` commands side by side, each with its share of the cores and its own line for a progress bar.

    Raises:
        SystemExit: with the first failing command's status; its message has been printed.
    """
    threads = str(max(1, (os.cpu_count() or 1) // len(commands)))
    processes = []
    for position, command in enumerate(commands):
        print(f"$ t2h {command}", flush=True)
        env = {"OMP_NUM_THREADS": threads} | os.environ | {"TQDM_POSITION": str(position)}
        words = [sys.executable, "-m", "t2h", *shlex.split(command)]
        processes.append(subprocess.Popen(words, env=env, stdout=None if show else subprocess.DEVNULL))
    try:
        statuses = [process.wait() for process in processes]
    except KeyboardInterrupt:
        for process in processes:  # they were asked as well, and save
            process.send_signal(signal.SIGINT)
        statuses = [process.wait() for process in processes]
    print("\n" * (len(commands) > 1), end="", flush=True)
    if failed := [status for status in statuses if status]:
        raise SystemExit(failed[0])
