"""`t2h classify`: what synthetic images are worth to a classifier of long-tailed data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from t2h.classify.classifier import ClassifierTraining
from t2h.cli._parse import parse
from t2h.data.config import DataConfig
from t2h.sampling import CurveFlags

if TYPE_CHECKING:
    from t2h.classify.study import Arm
    from t2h.data.table import ImageTable
    from t2h.samples.read import SampleSet


@dataclass(frozen=True)
class Args:
    """Train classifiers on long-tailed data, on the same data filled up with synthetic images, and on balanced data.

    All are judged on real test images: overall, for head, medium and tail, and for many, medium-shot and few. The same
    command again goes on where it stopped.
    """

    out: Path
    """Folder of the results: OUT/classify.json, and one file for each classifier."""
    run: tuple[Path, ...] = ()
    """Run or pipeline folders, compared with each other: what the classes lack is drawn from each, into OUT."""
    samples: tuple[Path, ...] = ()
    """Stored samples, instead of a run or beside it: folders of `t2h sample`, of class folders, or .npz files."""
    fill_to: int | None = None
    """Bring rarer classes to so many images. Default: to as many as the most frequent class has."""
    w: tuple[float, ...] = ()
    """Guidance weight of the images that a run draws: one, or one for each run. Default: each run's own."""
    sampling: CurveFlags = field(default_factory=CurveFlags)
    data: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    test_split: str = "test"
    """Part of the data set that judges."""
    arms: tuple[str, ...] = ()
    """Kinds of training data: long-tailed, filled, resampled (long-tailed, with classes drawn equally often), balanced
    (all that --imbalance or --counts left out as well). Default: long-tailed, filled, and balanced where there is more,
    else resampled."""
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

    from t2h.classify.study import Study, filled_arm, make_arm
    from t2h.classify.table import as_text, summarise
    from t2h.data import load, load_whole
    from t2h.device import pick_device
    from t2h.files import replaced
    from t2h.version import __version__

    whole_is_more = args.data.imbalance != 1 or args.data.counts is not None
    args = replace(args, arms=args.arms or ("long-tailed", "filled", "balanced" if whole_is_more else "resampled"))
    _check(args, whole_is_more)
    device, config = str(pick_device(args.device)), args.data
    table = load(config)
    _check_tail(table, args)
    whole = load_whole(config) if "balanced" in args.arms else table
    test = load_whole(config, args.test_split)
    filled, sources = [], []
    for name, source in _sources(args) if "filled" in args.arms else ():
        samples = source.samples(table, device)
        filled.append(filled_arm(table, _table_of(samples, table), args.fill_to, name))
        sources.append({"arm": name, "source": str(source.path), "name": _name_of(samples), "w": samples.w})
    study = Study(table.class_counts, test, args.training, args.out, device, not args.quiet)
    arms: list[Arm] = []
    for name in args.arms:
        arms += filled if name == "filled" else [make_arm(name, whole if name == "balanced" else table)]
    runs = [study.run(arm, seed) for seed in args.seeds for arm in arms]
    rows = summarise(runs)
    content = {
        "format": "t2h-classify",
        "version": 3,
        "package": __version__,
        "data": {
            "name": table.name,
            "class_names": list(table.class_names),
            "class_counts": table.class_counts.tolist(),
            "test": {"split": args.test_split, "images": len(test)},
        },
        "fill_to": args.fill_to,
        "synthetic": sources,
        "runs": runs,
        "summary": rows,
    }
    with replaced(args.out / "classify.json") as file:
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(as_text(rows))
    print(f"\n{args.out / 'classify.json'}")
    return 0


def _check(args: Args, whole_is_more: bool) -> None:
    from t2h.classify.study import ARMS
    from t2h.errors import UserError, unknown_name

    for arm in args.arms:
        if arm not in ARMS:
            raise unknown_name("arm", arm, ARMS)
    if "balanced" in args.arms and not whole_is_more:
        raise UserError(
            "the arm `balanced` is what a long tail leaves out as well; give --imbalance or --counts, or other --arms."
        )
    given = (*args.run, *args.samples)
    if "filled" in args.arms and not given:
        raise UserError("the arm `filled` needs synthetic images; give --run or --samples.")
    if len({path.resolve() for path in given}) < len(given):
        raise UserError("--run and --samples: give each folder or file once.")
    if len(args.w) not in (0, 1, len(args.run)):
        raise UserError(f"--w has {len(args.w)} weights for {len(args.run)} runs; give one, or one for each run.")
    if args.fill_to is not None and args.fill_to < 1:
        raise UserError(f"--fill-to is {args.fill_to}; it must be at least 1.")
    for what, values in (("arms", args.arms), ("seeds", args.seeds)):
        if not values or len(set(values)) < len(values):
            raise UserError(f"--{what} {' '.join(map(str, values))}: give at least one, each once.")


def _check_tail(table: ImageTable, args: Args) -> None:
    from t2h.classify.study import missing
    from t2h.errors import UserError

    fewest, most = int(table.class_counts.min()), int(table.class_counts.max())
    if most <= 1.25 * fewest:
        raise UserError(
            f"{table.name} is not long-tailed ({fewest:,} to {most:,} images in a class); give --imbalance (such as "
            "0.01) or --counts."
        )
    if "filled" in args.arms and not missing(table.class_counts, args.fill_to).any():
        raise UserError(f"--fill-to {args.fill_to}: every class has {fewest:,} images or more; give a larger number.")


@dataclass(frozen=True)
class _Source:
    """Where synthetic images come from: a run, which draws them into a file, or a place where they lie."""

    path: Path
    args: Args
    w: float | None = None
    drawn: Path | None = None

    def samples(self, table: ImageTable, device: str) -> SampleSet:
        """Its images; what a run has not drawn yet is drawn now.

        Raises:
            UserError: if they have no labels or other classes, or the run was trained on other class counts.
        """
        from t2h.errors import UserError
        from t2h.samples.read import read_samples

        if self.drawn is not None:
            self._draw(table, device, self.drawn)
        samples = read_samples(self.drawn or self.path, table.class_names)
        if samples.labels is None:
            raise UserError(f"{self.path}: the samples have no labels; images of known classes are needed.")
        _check_counts(samples.facts.get("class_counts"), table, self.path)
        return samples.checked()

    def _draw(self, table: ImageTable, device: str, file: Path) -> None:
        import numpy as np

        from t2h.classify.study import missing
        from t2h.samples.draw import Wanted, load_pipeline
        from t2h.samples.store import write_samples

        pipeline = load_pipeline(self.path).to(device)
        _check_counts(pipeline.config["class_counts"], table, self.path)
        labels = np.repeat(np.arange(table.num_classes), missing(table.class_counts, self.args.fill_to))
        own = pipeline.sampling.overridden(self.args.sampling)
        sampling = own if self.w is None else replace(own, w=self.w)
        write_samples(pipeline, Wanted.of_labels(labels), sampling, file, progress=not self.args.quiet)


def _sources(args: Args) -> list[tuple[str, _Source]]:
    """Every source with the name of its arm: "filled" alone, or with what tells its path from the others'."""
    paths = (*args.run, *args.samples)
    names = [f"filled-{name}" for name in _what_differs(paths)] if len(paths) > 1 else ["filled"]
    ws = args.w if len(args.w) == len(args.run) else (*args.w, None)[:1] * len(args.run)
    sources = [
        _Source(path, args, w, args.out / f"synthetic{name.removeprefix('filled')}.npz")
        for name, path, w in zip(names, args.run, ws, strict=False)
    ]
    return list(zip(names, sources + [_Source(path, args) for path in args.samples], strict=True))


def _table_of(samples: SampleSet, table: ImageTable) -> ImageTable:
    """Samples as images to train on, uint8."""
    import numpy as np

    from t2h.data.table import ImageTable

    images, labels = samples.images, samples.labels
    assert labels is not None
    if isinstance(images, np.ndarray) and images.dtype != np.uint8:
        images = (images * 255).round().astype(np.uint8)
    return ImageTable(images, labels, table.class_names, "synthetic", _name_of(samples))


def _name_of(samples: SampleSet) -> str:
    return str(samples.facts.get("method") or samples.path.stem)


def _what_differs(paths: Sequence[Path]) -> list[str]:
    """What each path has that the others have not, without the folders that they share at both ends."""
    parts = [str(path.resolve()).removesuffix(".npz").split(os.sep) for path in paths]
    for end in (0, -1):
        while all(len(own) > 1 for own in parts) and len({own[end] for own in parts}) == 1:
            for own in parts:
                own.pop(end)
    return ["-".join(own) for own in parts]


def _check_counts(theirs: Sequence[int] | None, table: ImageTable, where: Path) -> None:
    """Raise a `UserError` if the images come from a model of another long tail; where that is not known, they pass."""
    from t2h.errors import UserError

    if theirs is not None and list(theirs) != table.class_counts.tolist():
        raise UserError(
            f"{where} was trained on other class counts than this long tail: its images would tell of data that the "
            "other arms do not see. Give the --data and --imbalance of its training."
        )
