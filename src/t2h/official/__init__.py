"""The two commands of the official repository, with its flags, over this package.

`main.py` and `ddpm_gen.py` in the root of the repository call `main_py` and `ddpm_gen_py`. Where our defaults differ
from the official behaviour, these restore it; docs/differences.md says what they cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from t2h.errors import UserError, exit_status
from t2h.official.flags import Flag, Flags, help_text, notices, parse_flags
from t2h.official.tables import DDPM_GEN, MAIN

__all__ = ["ddpm_gen_py", "main_py"]


def main_py(argv: Sequence[str]) -> int:
    """`python main.py [--train] [--eval] ...`; returns the exit status."""
    return _run("main.py", "Train, and judge a checkpoint: the official flags over t2h.", MAIN, argv, _main)


def ddpm_gen_py(argv: Sequence[str]) -> int:
    """`python ddpm_gen.py --eval ...`; returns the exit status."""
    about = "Draw images from a checkpoint and judge them: the official flags."
    return _run("ddpm_gen.py", about, DDPM_GEN, argv, _gen)


def _run(script: str, about: str, table: tuple[Flag, ...], argv: Sequence[str], call: Callable[[Flags], int]) -> int:
    if {"-h", "--help", "-help", "--helpfull", "--helpshort", "-?"} & set(argv):
        print(help_text(script, about, table))
        return 0

    def parsed() -> int:
        flags = parse_flags(argv, table)
        for line in notices(flags, table):
            print(f"notice: {line}")
        return call(flags)

    return exit_status(script, parsed)


def _main(flags: Flags) -> int:
    if not flags["train"] and not flags["eval"]:
        print("Add --train and/or --eval to say what to do; --help lists all flags.")
    if flags["train"]:
        from t2h.official.train import run_training

        if status := run_training(flags):
            return status
    if flags["eval"]:
        from t2h.official.sample import evaluate_main

        evaluate_main(flags)
    return 0


def _gen(flags: Flags) -> int:
    if flags["train"]:
        raise UserError("ddpm_gen.py cannot train (nor can the official one); use python main.py --train.")
    if not flags["eval"]:
        print("Add --eval to draw images; --help lists all flags.")
        return 0
    from t2h.official.sample import evaluate_gen

    evaluate_gen(flags)
    return 0
