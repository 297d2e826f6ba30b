"""`t2h sample`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from t2h.cli._parse import Device, parse
from t2h.errors import UserError, check_numbers, check_unique
from t2h.sampling import SamplingFlags


@dataclass(frozen=True)
class Args:
    """Draw images of a run: an exact number for each class, one seed per image, by the run's own sampler.

    --w is the guidance weight of ε_c + w (ε_c - ε_∅), and diffusers' guidance_scale is 1 + w: no guidance is --w 0.
    Running the same command again draws only what is missing.

    t2h sample runs/mine --per-class 100 --classes truck ship --w 2
    """

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of a run, a pipeline folder, or a checkpoint: RUN/checkpoints/*.pt, or an official one."""
    sampling: Annotated[SamplingFlags, tyro.conf.arg(name="")] = field(default_factory=SamplingFlags)
    per_class: int = 100
    """Images of each class; of an unconditional network: images."""
    classes: tuple[str, ...] = ()
    """Only these classes, by id or name. Default: all."""
    out: Path | None = None
    """A folder (PNG, a folder per class) or an .npz file. Default: RUN/samples/w_W, or ckpt_samples/w_W beside
    an official ckpt.pt."""
    batch_size: int = 250
    """Images a pass; it does not change their noise."""
    device: Device = "auto"


def main(argv: list[str]) -> int:
    args = parse(Args, "sample", argv)
    from t2h.device import pick_device
    from t2h.samples.draw import Wanted, load_pipeline
    from t2h.samples.store import write_samples

    check_numbers(args, per_class=1, batch_size=1)
    pipeline = load_pipeline(args.run).to(pick_device(args.device))
    classes = [-1]
    if pipeline.num_classes is not None:
        named = [int(c) if c.isdigit() and c not in pipeline.config["class_names"] else c for c in args.classes]
        classes = pipeline.class_ids(named or list(range(pipeline.num_classes)))
        check_unique("classes", classes)
    elif args.classes:
        raise UserError("this network is unconditional: it has no classes to choose; leave out --classes.")
    wanted = Wanted.per_class(classes, args.per_class)
    sampling = pipeline.sampling.overridden(args.sampling)
    out = args.out or _samples_of(args.run) / f"w_{sampling.w:g}"
    drawn = write_samples(pipeline, wanted, sampling, out, args.batch_size)
    there = "" if drawn == len(wanted) else f" ({len(wanted) - drawn:,} were there)"
    print(f"{drawn:,} images drawn{there}: {out}")
    if drawn and (line := _copies(out)):
        print(line)
    return 0


def _copies(out: Path) -> str | None:
    from t2h.evaluation.copies import first_look
    from t2h.evaluation.nearest import run_data
    from t2h.samples.read import run_of

    if (run := run_of(out)) is None:
        return None
    with contextlib.suppress(UserError, OSError):
        data = run_data(run)
        return None if data is None else first_look(out, data)
    return None


def _samples_of(run: Path) -> Path:
    """Where the samples of a run lie, or those of a checkpoint: ckpt_samples beside ckpt.pt."""
    return run.with_name(f"{run.name.split('.')[0]}_samples") if run.is_file() else run / "samples"
