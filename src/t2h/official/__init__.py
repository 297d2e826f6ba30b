"""The two commands of the official repository, with its flags, over this package.

`main.py` and `ddpm_gen.py` in the root of the repository call `main_py` and `ddpm_gen_py`. Where our defaults differ
from the official behaviour, these restore it; docs/differences.md says what they cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from t2h.errors import UserError, exit_status
from t2h.official.flags import Flag, Flags, help_text, notices, parse_flags
from t2h.official.tables import DDPM_GEN, MAIN

__all__ = ["ddpm_gen_py", "main_py"]


def main_py(argv: Sequence[str]) -> int:
    """`python main.py [--train] [--eval] ...`; returns the exit status."""
    return _run("main.py", "Train, and judge a checkpoint: the official flags over t2h.", MAIN, argv, _main)


def ddpm_gen_py(argv: Sequence[str]) -> int:
    """`python ddpm_gen.py --eval ...`; returns the exit status."""
    return _run(
        "ddpm_gen.py", "Draw images from a checkpoint and judge them: the official flags.", DDPM_GEN, argv, _gen
    )


def _run(script: str, what: str, table: tuple[Flag, ...], argv: Sequence[str], call: Callable[[Flags], int]) -> int:
    if {"-h", "--help", "-help", "--helpfull", "--helpshort", "-?"} & set(argv):
        print(help_text(script, what, table))
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
        return 0
    if flags["train"]:
        status = _train(flags)
        if status:
            return status
    if flags["eval"]:
        from t2h.official.sample import main_drawing

        statistics = Path(flags["fid_cache"])
        if "fid_cache" not in flags.given and "cifar100" in flags["data_type"]:
            statistics = statistics.with_name("cifar100.train.npz")
        _judge(flags, main_drawing(flags), statistics, None)
    return 0


def _train(flags: Flags) -> int:
    from t2h.official.resume import begin_from
    from t2h.official.train import train_config, train_notices, transfer_table
    from t2h.training import train
    from t2h.training.run import RunFolder

    for line in train_notices(flags):
        print(f"notice: {line}")
    config, run = train_config(flags), RunFolder(Path(flags["logdir"]))
    if flags["resume"]:
        begin_from(Path(flags["resume_ckpt"]), flags["ckpt_step"], config, run)
    elif run.config() is None and list(run.path.glob("ckpt*.pt")):
        raise UserError(
            f"{run.path} holds checkpoints of the official code. To go on from one: --resume --resume_ckpt {run.path} "
            "--ckpt_step N; to begin anew choose another --logdir."
        )
    result = train(config, run.path)
    status = 128 + (result.signal or 2) if result.status == "interrupted" else 0
    if not result.main_process:
        return status
    print(f"{result.status}: {result.step:,} steps, {result.images_seen:,} images seen  {run.path}")
    if flags["count_transfer"]:
        print(transfer_table(run.transfer()) or "No transfers were counted: this is not T2H (--transfer_x0).")
    return status


def _gen(flags: Flags) -> int:
    if flags["train"]:
        raise UserError("ddpm_gen.py cannot train (nor can the official one); use python main.py --train.")
    if not flags["eval"]:
        print("Add --eval to draw images; --help lists all flags.")
        return 0
    from t2h.official.sample import gen_drawing

    inception = Path(flags["inception"]) if flags["inception"] else None
    _judge(flags, gen_drawing(flags), Path(flags["fid_cache"]), inception)
    return 0


def _judge(flags: Flags, drawing: object, statistics: Path, inception: Path | None) -> None:
    from t2h.official.evaluate import judge, report
    from t2h.official.sample import Drawing, draw_images

    assert isinstance(drawing, Drawing)
    samples = draw_images(drawing, only_there=flags.values.get("sampled", False))
    figures = judge(samples, statistics, inception, str(drawing.pipeline.device))
    if figures is not None:
        notes = {"step": flags["ckpt_step"], "w": drawing.sampling.w, "sampler": drawing.sampling.scheduler}
        report(figures, samples.images.shape[0], notes, drawing.images.with_suffix(".jsonl"))
