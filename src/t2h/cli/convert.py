"""`t2h convert`: official checkpoints to pipeline folders, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from t2h.cli._parse import parse
from t2h.errors import UserError, check_numbers


@dataclass(frozen=True)
class Args:
    """Turn a checkpoint of the official T2H or CBDM code into a pipeline folder, or back.

    t2h convert official ckpt_200000.pt OUT

    t2h convert to-official PIPELINE ckpt_200000.pt
    """

    what: Annotated[Literal["official", "to-official"], tyro.conf.Positional]
    """From an official checkpoint, or to one."""
    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """The checkpoint (.pt, .pt.xz); for to-official a run, a pipeline folder or a checkpoint."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """The pipeline folder to write; for to-official the checkpoint."""
    class_names: tuple[str, ...] = ()
    """One name per class; without, they are numbered."""
    num_classes: int | None = None
    """Fail if the network does not have so many classes (it is read from the checkpoint)."""
    image_size: int | None = None
    """Pixels; needed only where the checkpoint does not tell."""
    batch_size: int = 128
    """Images per training step, to note how many images the network has seen."""
    method: str = "official"
    """What the network was trained with, to note it."""
    w: float | None = None
    """The guidance weight that the pipeline carries. Default: the papers'."""
    step: int = 0
    """For to-official: the training step to write."""
    overwrite: bool = False
    """Replace the pipeline folder, or the checkpoint, that is already there."""


def main(argv: list[str]) -> int | None:
    args = parse(Args, "convert", argv)
    check_numbers(args, num_classes=1, image_size=1, batch_size=1, step=0, w=-math.inf)
    if args.what == "to-official":
        return _to_official(args)
    from t2h.convert import from_official, save_pipeline

    pipeline = from_official(
        args.source,
        class_names=args.class_names or None,
        image_size=args.image_size,
        batch_size=args.batch_size,
        method=args.method,
        w=args.w,
    )
    if args.num_classes is not None and pipeline.num_classes != args.num_classes:
        has = "no classes (unconditional)" if pipeline.num_classes is None else f"{pipeline.num_classes} classes"
        raise UserError(f"{args.source} has {has}, not the {args.num_classes} of --num-classes.")
    save_pipeline(pipeline, args.out, args.overwrite)
    config, (channels, height, width) = pipeline.unet.config, pipeline.image_shape
    print(
        f"channels    {' '.join(map(str, config['block_out_channels']))}, {config['layers_per_block']} blocks per level"
    )
    print(f"parameters  {sum(p.numel() for p in pipeline.unet.parameters()):,}")
    print(f"images      {channels}×{height}×{width}")
    print(f"classes     {'none (unconditional)' if pipeline.num_classes is None else pipeline.num_classes}")
    print(f"written to  {args.out}")
    return 0


def _to_official(args: Args) -> int:
    from t2h.convert import to_official
    from t2h.samples.draw import load_pipeline

    if args.out.exists() and not args.overwrite:
        raise UserError(f"{args.out} exists; give another place, or --overwrite to replace it.")
    to_official(load_pipeline(args.source), args.out, args.step)
    print(f"written to  {args.out}")
    return 0
