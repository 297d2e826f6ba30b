"""`t2h classify`: what synthetic images are worth to a classifier of long-tailed data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro

from t2h.classify.config import StudyConfig
from t2h.cli._parse import Format, below, parse


@dataclass(frozen=True)
class Args:
    study: Annotated[StudyConfig, tyro.conf.arg(name="")]
    format: Format = "text"


Args.__doc__ = f"""{StudyConfig.__doc__}
    t2h classify --run runs/mine --data my_images --image-size 16 --out runs/classify
    """


COMMON = (
    "--out --run --samples --fill-to --w --data --root --image-size --imbalance --test-split --seeds --steps "
    "--device --format"
)


def main(argv: list[str]) -> int:
    args = parse(Args, "classify", argv, common=COMMON.split())
    from t2h.classify.run import run_study
    from t2h.classify.study import summary
    from t2h.results.table import written

    print(written(summary(run_study(args.study)), args.format))
    out = args.study.out / "classify.json"
    below(out, args.format)
    return 0
