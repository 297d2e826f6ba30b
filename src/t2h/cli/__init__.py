"""The command line: `t2h VERB ...`. Each verb is one file with a dataclass `Args` and a function `main(argv)`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

from t2h.errors import exit_status, unknown_name
from t2h.version import __version__

VERBS = {
    "demo": "train DDPM and T2H on long-tailed digits, sample, judge, and make a page to look at",
    "inspect": "look at data: the class table, head to tail; and whether samples are copies of it",
    "train": "train a class-conditional diffusion model on long-tailed images",
    "watch": "see how trainings stand: in the terminal, or on a page that refreshes itself",
    "app": "look at what one or two models draw, on a local page",
    "sample": "draw images of chosen classes from a run",
    "reference": "make a reference file (statistics, features, counts) from real images",
    "evaluate": "judge samples or a run against a reference",
    "compare": "put results side by side, and say where their protocols differ",
    "benchmark": "train and judge methods x data sets x seeds by a plan, and put them side by side",
    "classify": "see what synthetic images are worth to a classifier of long-tailed data",
    "report": "make one HTML page of runs and results",
    "push": "put a run on the Hugging Face Hub, to be used with diffusers alone",
    "completion": "print a script for bash, zsh or fish that completes verbs and options",
    "convert": "turn official checkpoints into pipeline folders",
}


def _usage() -> str:
    width = max(map(len, VERBS))
    lines = "\n".join(f"  {verb:<{width}}  {what}" for verb, what in VERBS.items())
    return (
        "usage: t2h VERB [OPTIONS]\n\n"
        "Train, sample and judge class-conditional diffusion models on long-tailed image data.\n\n"
        f"{lines}\n\n"
        "`t2h VERB --help` shows the options of a verb; `t2h --version` the version.\n\n"
        "Exit status: 0 done; 1 a benchmark has cells that failed; 2 a mistake, said in one line; 130 Ctrl-C,\n"
        "143 ended, 129 terminal closed (a training has saved); 141 nobody reads the output. NO_COLOR=1: no colours."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status. A user's mistake prints one line and returns 2."""
    args = list(sys.argv[1:] if argv is None else argv)
    if os.environ.get("NO_COLOR"):
        os.environ["PYTHON_TYRO_ANSI_CODES"] = "0"  # tyro knows no other way
    if not args or args[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if args[0] in ("-V", "--version"):
        print(__version__)
        return 0
    return exit_status("t2h", lambda: _verb(args[0])(args[1:]))


def _verb(name: str) -> Callable[[list[str]], int | None]:
    if name not in VERBS:
        raise unknown_name("verb", name, VERBS)
    return importlib.import_module(f"t2h.cli.{name}").main
