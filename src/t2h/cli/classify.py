"""`t2h classify`: what synthetic images are worth to a classifier of long-tailed data."""

from __future__ import annotations

from t2h.classify.config import StudyConfig
from t2h.cli._parse import parse


def main(argv: list[str]) -> int:
    """Train, judge, write OUT/classify.json and print the table."""
    config = parse(StudyConfig, "classify", argv)
    from t2h.classify.run import run_study
    from t2h.classify.study import summary_text

    print(summary_text(run_study(config)))
    print(f"\n{config.out / 'classify.json'}")
    return 0
