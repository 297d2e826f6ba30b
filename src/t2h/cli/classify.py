"""`t2h classify`: what synthetic images are worth to a classifier of long-tailed data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from t2h.cli._parse import parse
from t2h.data.config import DataConfig
from t2h.downstream.classifier import ClassifierTraining

if TYPE_CHECKING:
    from t2h.data.table import ImageTable


@dataclass(frozen=True)
class Args:
    """Train classifiers on long-tailed data, on the same data filled up with synthetic images, and on balanced data.

    All are judged on real test images: overall, for head, medium and tail, and for many, medium-shot and few. The same
    command again goes on where it stopped.
    """

    out: Path
    """Folder of the results: OUT/classify.json, and one file for each classifier."""
    run: Path | None = None
    """A run or pipeline folder: as many images as every class lacks are drawn from it, into OUT/synthetic.npz."""
    samples: Path | None = None
    """Instead of --run, stored samples: a folder of `t2h sample`, of class folders, or an .npz."""
    w: float = 1.5
    """Guidance weight of the images that a run draws."""
    sampling_steps: int = 100
    """Denoising steps of the images that a run draws."""
    scheduler: str = "ddim"
    """Of the images that a run draws (see `t2h sample`)."""
    sampling_seed: int = 0
    """Of the images that a run draws."""
    data: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    test_split: str = "test"
    """Part of the data set that judges."""
    arms: tuple[str, ...] = ("long-tailed", "filled", "balanced")
    """Kinds of training data; also resampled: the long-tailed data with classes drawn equally often."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One classifier of each arm for each."""
    training: Annotated[ClassifierTraining, tyro.conf.arg(name="")] = field(default_factory=ClassifierTraining)
    device: str = "auto"
    """cpu, cuda, mps, or auto."""
    quiet: bool = False
    """Show no progress bars."""


def main(argv: list[str]) -> int:
    """Train, judge, write OUT/classify.json and print the table."""
    args = parse(Args, "classify", argv)
    import json

    from t2h.data import load
    from t2h.data.sources import load_images
    from t2h.device import pick_device
    from t2h.downstream.study import Study, make_arm
    from t2h.downstream.table import as_text, summarise
    from t2h.files import replaced
    from t2h.version import __version__

    _check(args)
    device, config = str(pick_device(args.device)), args.data
    table = load(config)
    whole = load(replace(config, imbalance=1.0, counts=None)) if "balanced" in args.arms else table
    test = load_images(config.data, config.root, args.test_split, config.image_size, config.channels, config.download)
    synthetic = _synthetic(args, table, device) if "filled" in args.arms else None
    study = Study(table.class_counts, test, args.training, args.out, device, not args.quiet)
    arms = [make_arm(name, whole if name == "balanced" else table, synthetic) for name in args.arms]
    runs = [study.run(arm, seed) for seed in args.seeds for arm in arms]
    rows = summarise(runs)
    content = {
        "format": "t2h-classify",
        "version": 1,
        "package": __version__,
        "data": {
            "name": table.name,
            "class_names": list(table.class_names),
            "class_counts": table.class_counts.tolist(),
            "test": {"split": args.test_split, "images": len(test)},
        },
        "synthetic": None if synthetic is None else {"source": str(args.run or args.samples), "name": synthetic.name},
        "runs": runs,
        "summary": rows,
    }
    with replaced(args.out / "classify.json") as file:
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(as_text(rows))
    print(f"\n{args.out / 'classify.json'}")
    return 0


def _check(args: Args) -> None:
    from t2h.downstream.study import ARMS
    from t2h.errors import UserError, unknown_name

    for arm in args.arms:
        if arm not in ARMS:
            raise unknown_name("arm", arm, ARMS)
    if args.data.imbalance == 1 and args.data.counts is None:
        raise UserError("the data are not long-tailed; give --imbalance (such as 0.01) or --counts.")
    if "filled" in args.arms and (args.run is None) == (args.samples is None):
        raise UserError("the arm `filled` needs synthetic images; give either --run or --samples.")
    for what, values in (("arms", args.arms), ("seeds", args.seeds)):
        if not values or len(set(values)) < len(values):
            raise UserError(f"--{what} {' '.join(map(str, values))}: give at least one, each once.")


def _synthetic(args: Args, table: ImageTable, device: str) -> ImageTable:
    """Images that fill the tail up: stored ones, or drawn now.

    Raises:
        UserError: if they have no labels or other classes, or the run was trained on other class counts.
    """
    import numpy as np

    from t2h.data.table import ImageTable
    from t2h.downstream.study import missing
    from t2h.errors import UserError
    from t2h.evaluation.samples import read_samples

    path = args.samples or args.out / "synthetic.npz"
    if args.run is not None:
        from t2h.samples import sample_to_npz
        from t2h.sampling import Sampling, Wanted, load_pipeline

        pipeline = load_pipeline(args.run).to(device)
        lacking = missing(table.class_counts)
        labels = np.repeat(np.arange(table.num_classes), lacking)
        _check_counts(pipeline.config["class_counts"], table, args.run)
        sampling = Sampling(1 + args.w, args.scheduler, args.sampling_steps, args.sampling_seed)
        sample_to_npz(pipeline, Wanted.of_labels(labels), sampling, path, progress=not args.quiet)
    samples = read_samples(path, table.class_names)
    if samples.labels is None:
        raise UserError(f"{path}: the samples have no labels; images of known classes are needed.")
    _check_counts(samples.source.class_counts, table, args.run or path)
    images = samples.images
    if isinstance(images, np.ndarray) and images.dtype != np.uint8:
        images = (images * 255).round().astype(np.uint8)
    return ImageTable(images, samples.labels, table.class_names, "synthetic", str(samples.source.name))


def _check_counts(theirs: Sequence[int] | None, table: ImageTable, where: Path) -> None:
    """Raise a `UserError` if the images come from a model of another long tail; where that is not known, they pass."""
    from t2h.errors import UserError

    if theirs is not None and list(theirs) != table.class_counts.tolist():
        raise UserError(
            f"{where} was trained on other class counts than this long tail: its images would tell of data that the "
            "other arms do not see. Give the --data and --imbalance of its training."
        )
