"""The options of a study, of which `t2h classify` makes its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from t2h.data.config import DataConfig
from t2h.errors import UserError, check_known, check_numbers, check_ranges, check_unique
from t2h.sampling import CurveFlags

ARMS = ("long-tailed", "filled", "balanced", "resampled")


@dataclass(frozen=True)
class ClassifierTraining:
    """How the classifiers learn: SGD with momentum, a warm-up, then a cosine."""

    steps: int | None = None
    """Of every arm. Default: 12,000, and 1,000 for images of at most 16 px."""
    batch_size: int = 128
    """Images a step."""
    lr: float = 0.1
    """Peak learning rate."""
    momentum: float = 0.9
    """Of SGD."""
    weight_decay: float = 5e-4
    """Of SGD."""
    flip: Literal["auto", "on", "off"] = "auto"
    """Mirror images left to right at random; auto does so for all but grey ones of at most 16 px."""

    def __post_init__(self) -> None:
        check_numbers(self, steps=1, batch_size=2, lr=0, momentum=0, weight_decay=0)
        check_ranges(self, momentum="(0, 1)")


@dataclass(frozen=True)
class StudyConfig:
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
    keep: float = 1.0
    """Share of the synthetic images of each class that is taken, in (0, 1]: those to whose label a classifier of the
    real images gives the highest probability. A run draws accordingly more."""
    synthetic_weight: float = 1.0
    """Weight of a synthetic image in the loss of the classifiers, in (0, 1000]; that of a real one is 1."""
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

    def checked_arms(self) -> tuple[str, ...]:
        """The arms, or the default ones.

        Raises:
            UserError: for options that are out of range or do not go together.
        """
        whole_is_more = self.data.imbalance != 1 or self.data.counts is not None
        arms = self.arms or ("long-tailed", "filled", "balanced" if whole_is_more else "resampled")
        sources, ws = (*self.run, *self.samples), len(self.w)
        check_numbers(self, fill_to=1, w=-math.inf, seeds=0)
        check_ranges(self, keep="(0, 1]", synthetic_weight="(0, 1000]")
        check_unique("arms", arms)
        check_unique("seeds", self.seeds)
        check_known("arm", arms, ARMS)
        if "balanced" in arms and not whole_is_more:
            raise UserError(
                "the arm `balanced` is what a long tail leaves out as well; "
                "give --imbalance or --counts, or other --arms."
            )
        for says, mistake in {
            "the arm `filled` needs synthetic images; give --run or --samples.": "filled" in arms and not sources,
            "--run and --samples are for the arm `filled`, which --arms leaves out.": "filled" not in arms and sources,
            "--w is for drawing from a --run.": ws and not self.run,
            "--run and --samples: give each folder or file once.": len({p.resolve() for p in sources}) < len(sources),
            f"--w has {ws} weights for {len(self.run)} runs; give one, or one for each run.": (
                ws not in (0, 1, len(self.run))
            ),
        }.items():
            if mistake:
                raise UserError(says)
        return arms
