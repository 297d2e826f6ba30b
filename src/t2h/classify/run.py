"""A whole study: its data, the synthetic images of every source, every classifier, and OUT/classify.json."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from t2h.classify.choose import best, candidates
from t2h.classify.config import StudyConfig
from t2h.classify.study import Arm, Study, filled_arm, make_arm, missing, summarise
from t2h.data import load, load_whole
from t2h.data.table import ImageTable
from t2h.device import pick_device
from t2h.errors import UserError, notice
from t2h.files import check_place, write_json
from t2h.samples.draw import Wanted, load_pipeline
from t2h.samples.grid import as_uint8
from t2h.samples.read import read_samples
from t2h.samples.store import write_samples
from t2h.version import __version__


def run_study(config: StudyConfig) -> list[dict[str, Any]]:
    """Train and judge what is not there yet, write OUT/classify.json, and return its summary, a row for each arm.

    Raises:
        UserError: for options, data or synthetic images that do not go together.
    """
    names, device = config.checked_arms(), str(pick_device(config.device))
    out = check_place(config.out / "classify.json")
    table = load(config.data)
    _check_tail(table, config, names)
    whole = load_whole(config.data) if "balanced" in names else table
    test = load_whole(config.data, config.test_split)
    if config.test_split == config.data.split:
        notice(f"the classifiers are judged on the images that they learn from (--test-split {config.test_split})")
    filled = list(_filled(config, table, device)) if "filled" in names else []
    arms: list[Arm] = []
    for name in names:
        of_this_name = [arm for arm, _ in filled]
        arms += of_this_name if name == "filled" else [make_arm(name, whole if name == "balanced" else table)]
    study = Study(table.class_counts, test, config.training, config.out, device, not config.quiet)
    runs = [study.run(arm, seed) for seed in config.seeds for arm in arms]
    summary = summarise(runs)
    content = {
        "format": "t2h-classify",
        "version": 3,
        "package": __version__,
        "data": {
            "name": table.name,
            "class_names": list(table.class_names),
            "class_counts": table.class_counts.tolist(),
            "test": {"split": config.test_split, "images": len(test)},
        },
        "fill_to": config.fill_to,
        "synthetic_weight": config.synthetic_weight,
        "synthetic": [source for _, source in filled],
        "runs": runs,
        "summary": summary,
    }
    write_json(out, content)
    return summary


def _check_tail(table: ImageTable, config: StudyConfig, arms: Sequence[str]) -> None:
    fewest, most = int(table.class_counts.min()), int(table.class_counts.max())
    if most <= 1.25 * fewest:
        raise UserError(
            f"{table.name} is not long-tailed ({fewest:,} to {most:,} images in a class); give --imbalance (such as "
            "0.01) or --counts."
        )
    if "filled" in arms and not missing(table.class_counts, config.fill_to).any():
        raise UserError(f"--fill-to {config.fill_to}: every class has {fewest:,} images or more; give a larger number.")


def _filled(config: StudyConfig, table: ImageTable, device: str) -> Iterator[tuple[Arm, dict[str, Any]]]:
    """An arm for each source of synthetic images, and what is written down of the source."""
    paths = (*config.run, *config.samples)
    endings = [f"-{name}" for name in _distinct_parts(paths)] if len(paths) > 1 else [""]
    ws = config.w * len(config.run) if len(config.w) == 1 else config.w or (None,) * len(config.run)
    for i, (path, ending) in enumerate(zip(paths, endings, strict=True)):
        stored = path
        if i < len(config.run):
            stored = config.out / f"synthetic{ending}.npz"
            _draw(path, ws[i], stored, config, table, device)
        samples = read_samples(stored, table.class_names)
        if samples.labels is None:
            raise UserError(f"{path}: the samples have no labels; images of known classes are needed.")
        _check_counts(samples.facts.get("class_counts"), table, path)
        images = samples.checked().images
        if isinstance(images, np.ndarray):
            images = as_uint8(images)
        name = str(samples.facts.get("method") or samples.path.stem)
        synthetic = ImageTable(images, samples.labels, table.class_names, "synthetic", name)
        facts: dict[str, Any] = {}
        if config.keep < 1:
            lacking, title = missing(table.class_counts, config.fill_to), None if config.quiet else "choosing"
            synthetic, facts = best(table, synthetic, lacking, config.keep, config.training, device, title)
        arm = filled_arm(table, synthetic, config.fill_to, f"filled{ending}", config.synthetic_weight)
        yield arm, {"arm": arm.name, "source": str(path), "name": name, "w": samples.w, **facts}


def _draw(run: Path, w: float | None, file: Path, config: StudyConfig, table: ImageTable, device: str) -> None:
    """Draw into a file what the classes lack and the file does not have yet."""
    pipeline = load_pipeline(run).to(device)
    _check_counts(pipeline.config["class_counts"], table, run)
    count = candidates(missing(table.class_counts, config.fill_to), config.keep)
    labels = np.repeat(np.arange(table.num_classes), count)
    own = pipeline.sampling.overridden(config.sampling)
    sampling = own if w is None else replace(own, w=w)
    write_samples(pipeline, Wanted.of_labels(labels), sampling, file, progress=not config.quiet)


def _distinct_parts(paths: Sequence[Path]) -> list[str]:
    """What each path has that the others have not, without the folders that they share at both ends."""
    parts = [str(path.resolve()).removesuffix(".npz").split(os.sep) for path in paths]
    for end in (0, -1):
        while all(len(own) > 1 for own in parts) and len({own[end] for own in parts}) == 1:
            for own in parts:
                own.pop(end)
    return ["-".join(own) for own in parts]


def _check_counts(theirs: Sequence[int] | None, table: ImageTable, where: Path) -> None:
    """Raise a `UserError` if the images come from a model of another long tail; where that is not known, they pass."""
    if theirs is not None and list(theirs) != table.class_counts.tolist():
        raise UserError(
            f"{where} was trained on other class counts than this long tail: its images would tell of data that the "
            "other arms do not see. Give the --data and --imbalance of its training."
        )
