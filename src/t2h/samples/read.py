"""Stored samples of any origin, with what is known of how they were drawn."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from t2h.data.decode import FileStore, encoded
from t2h.errors import UserError
from t2h.results.result import Provenance, label_kind

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


@dataclass(frozen=True, eq=False)
class SampleSet:
    """Sample images, and where they come from.

    Args:
        images: (N, C, H, W), uint8 or float32 in [0, 1]; an array or a lazy reader.
        labels: int64 (N,), or None.
        w: guidance, or None where unknown.
        source: the rest of what is known.
    """

    images: Any
    labels: Int[np.ndarray, " n"] | None
    w: float | None
    source: Provenance


def read_samples(path: Path, class_names: Sequence[str], name: str | None = None) -> SampleSet:
    """Samples from a folder (of class folders, or of images) or an `.npz`.

    Class folders are named by class index (`07_horse`, as `t2h sample` writes them) or by class name. An `.npz` has
    `images` (or `x`, `arr_0`), (N, H, W, C) or (N, C, H, W), uint8 or float in [0, 1], and maybe `labels` (or `y`,
    `arr_1`).

    Args:
        path: the folder or file.
        class_names: those of the reference; empty where it has none.
        name: what the result is called; None takes the method, else the name of the folder or file.

    Raises:
        UserError: if there is nothing of the kind, or the classes are others than the reference's.
    """
    if path.is_dir():
        images, labels = _read_folder(path, class_names)
        facts = json.loads((path / "samples.json").read_text("utf-8")) if (path / "samples.json").is_file() else {}
    elif path.suffix == ".npz" and path.is_file():
        images, labels, facts = _read_npz(path)
    else:
        raise UserError(f"{path}: no folder of samples, no .npz and no run; give one of these.")
    theirs = facts.get("class_names")
    if theirs is not None and class_names and list(theirs) != list(class_names):
        raise UserError(
            f"{path}: the samples have the classes {_few(theirs)}, the reference {_few(class_names)}; "
            "use the reference of the same data."
        )
    image_path = "8-bit" if images.shape[0] == 0 or images[np.arange(1)].dtype == np.uint8 else "float"
    source = provenance(
        facts, name or facts.get("method") or path.stem, label_kind(labels, len(class_names)), image_path
    )
    return SampleSet(images, labels, facts.get("w"), source)


def provenance(
    facts: dict[str, Any],
    name: str,
    labels: str,
    image_path: str = "8-bit",
    config: dict[str, Any] | None = None,
) -> Provenance:
    """What `samples.json` (or the pipeline itself) says about the samples; unknown where it says nothing."""
    known = ("scheduler", "steps", "seed")
    sampler = None
    if all(key in facts for key in known):
        clipping = "every step" if facts.get("clip_sample") else "final"
        precision = facts.get("mixed_precision", "no")
        sampler = {key: facts[key] for key in known} | {"clipping": clipping, "mixed_precision": precision}
    return Provenance(
        name=name,
        method=facts.get("method"),
        images_seen=facts.get("images_seen"),
        weights_sha256=facts.get("weights_sha256"),
        config=config,
        seed=None if config is None else config.get("learning", {}).get("seed"),
        class_counts=facts.get("class_counts"),
        sampler=sampler,
        labels=labels,
        image_path=image_path,
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:3])) + (f" ... ({len(names)})" if len(names) > 3 else "")


def _read_folder(path: Path, class_names: Sequence[str]) -> tuple[Any, np.ndarray | None]:
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders or [folder.name for folder in folders] == ["unconditional"]:
        files = _images(path) or [file for folder in folders for file in _images(folder)]
        labels = None
    else:
        labelled = [(file, _label(folder, class_names)) for folder in folders for file in _images(folder)]
        files = [file for file, _ in labelled]
        labels = np.array([label for _, label in labelled], dtype=np.int64)
    if not files:
        raise UserError(f"{path}: no images in it ({', '.join(sorted(SUFFIXES))}).")
    return encoded(FileStore(tuple(files)), str(path), None, None), labels


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def _label(folder: Path, class_names: Sequence[str]) -> int:
    if folder.name in class_names:
        return list(class_names).index(folder.name)
    match = re.match(r"(\d+)(_|$)", folder.name)
    if match is None or (class_names and int(match[1]) >= len(class_names)):
        raise UserError(
            f"{folder}: no class of the reference ({_few(class_names) or 'it has no classes'}) has this name or index; "
            "use the reference of the same data."
        )
    return int(match[1])


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            images = next((file[key] for key in ("images", "x", "arr_0") if key in file), None)
            labels = next((file[key] for key in ("labels", "y", "arr_1") if key in file), None)
            facts = json.loads(str(file["protocol"])) if "protocol" in file else {}
            if "class_names" in file:
                facts.setdefault("class_names", file["class_names"].tolist())
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise UserError(f"{path}: damaged, or no .npz ({error}).") from error
    if images is None or images.ndim != 4:
        raise UserError(
            f"{path}: `images` (N, H, W, C) is needed; {'it is not there' if images is None else images.shape}."
        )
    if images.shape[1] not in (1, 3):
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.dtype != np.uint8:
        images = images.astype(np.float32)
        if len(images) and not 0 <= images.min() <= images.max() <= 1:  # also where a value is NaN
            raise UserError(f"{path}: float images run from {images.min()} to {images.max()}; they must lie in [0, 1].")
    return images, None if labels is None else labels.astype(np.int64).reshape(-1), facts
