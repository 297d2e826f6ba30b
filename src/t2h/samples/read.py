"""Stored samples of any origin: a folder of images per class, a folder of images, or one `.npz`."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from t2h.data.decode import FORMATS
from t2h.data.encoded import EncodedImages, encoded, settled
from t2h.data.sources.folder import image_files, say_left_out, subfolders
from t2h.data.sources.npz import entries, image_array, label_array, name_array, read_arrays
from t2h.data.table import Images, ImageTable, check_text
from t2h.errors import UserError, notice
from t2h.files import reading
from t2h.sampling import Sampling

FACTS = "samples.json"
FORMAT = "t2h-samples"
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("class_names", "class_counts"), (list,)),
    **dict.fromkeys(("run", "method", "weights_sha256", "scheduler"), (str,)),
    **dict.fromkeys(("images_seen", "steps"), (int,)),
    "w": (int, float),
}


@dataclass(frozen=True, eq=False)
class SampleSet:
    """Stored images, and what is known of their drawing.

    Args:
        path: the folder or file.
        images: (N, C, H, W), uint8 or float32 in [0, 1]; an array, or a lazy reader of uint8.
        labels: int64 (N,), or None.
        class_names: by label; empty where nobody names them.
        facts: what samples.json says.
    """

    path: Path
    images: Images
    labels: Int[np.ndarray, " n"] | None
    class_names: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def w(self) -> float | None:
        """The guidance weight, where it is known."""
        return self.facts.get("w")

    def first(self, count: int) -> SampleSet:
        """The first ``count`` images of each class, or of a set without labels; the others are not decoded."""
        if self.labels is None:
            return replace(self, images=self.images[np.arange(min(count, self.images.shape[0]))])
        rows = [np.flatnonzero(self.labels == label)[:count] for label in np.unique(self.labels)]
        return replace(self, images=self.images[np.concatenate(rows)], labels=self.labels[np.concatenate(rows)])

    def checked(self) -> SampleSet:
        """The set after every image was decoded once.

        Raises:
            UserError: naming every image that cannot be read.
        """
        if not isinstance(self.images, EncodedImages):
            return self
        labels = np.zeros(self.images.shape[0], dtype=np.int64)
        return replace(
            self, images=settled(ImageTable(self.images, labels, ("samples",), name=self.path.resolve().name)).images
        )


def read_samples(path: Path, class_names: Sequence[str] = ()) -> SampleSet:
    """Samples of any origin: a folder of class folders, a folder of images, or an `.npz`.

    Class folders are named by class index (`07_horse`, as `t2h sample` writes them) or by class name, all alike. An
    `.npz` has `images` (or `x`, `arr_0`), (N, H, W, C), (N, C, H, W) or (N, H, W), 0 ... 255 or floats in [0, 1], and
    maybe `labels` (or `y`, `arr_1`).

    Args:
        path: the folder or file.
        class_names: those of the data that the samples are to be compared with; empty where they are not known.

    Raises:
        UserError: if there is nothing of the kind, or the classes are others.
    """
    if not path.is_dir() and not (path.suffix.lower() == ".npz" and path.is_file()):
        raise UserError(f"{path}: no folder of samples, no .npz and no run; give one of these.")
    facts = read_facts(path)
    own = tuple(facts.get("class_names") or ())
    if own and class_names and list(own) != list(class_names):
        raise UserError(
            f"{path}: the samples have the classes {_few(own)}, the reference {_few(class_names)}; "
            "use the reference of the same data."
        )
    names = own or tuple(class_names)
    if path.is_dir():
        return _read_folder(path, names, facts)
    arrays = read_arrays(path)
    images, labels = image_array(arrays["images"], path, floats=True), arrays.get("labels")
    if labels is None or np.array_equal(labels, np.full(len(images), -1)):  # -1: drawn without label
        return SampleSet(path, images, None, names, facts)
    labels = label_array(labels, len(images), path)
    if names and labels.max() >= len(names):
        raise UserError(
            f"{path}: labels up to {labels.max()}, but the classes are 0 ... {len(names) - 1} ({_few(names)})."
        )
    return SampleSet(path, images, labels, names, facts)


def drawn_in(folder: Path) -> Path | None:
    """The samples in a run, or in its ``samples``: those whose w is nearest to the papers'; None without any."""
    marked = {*folder.glob(FACTS), *folder.glob(f"samples/**/{FACTS}")}
    places = [file.parent for file in sorted(marked)]
    places += sorted({*folder.glob("samples*.npz"), *folder.glob("samples/**/*.npz")})
    if not places and any(folder.glob("samples/*/*.png")):
        places = [folder / "samples"]
    known = [(place, read_facts(place).get("w")) for place in places]
    nearest = min(known, key=lambda each: math.inf if each[1] is None else abs(each[1] - Sampling().w), default=None)
    return nearest and nearest[0]


def run_of(samples: Path) -> Path | None:
    """The run whose samples these are: the one that they lie in, else the one that they name; None without either."""
    named = read_facts(samples).get("run")
    places = [*samples.absolute().parents, *([] if named is None else [samples.absolute().parent / named])]
    return next((place for place in places if (place / "config.yaml").is_file()), None)


def read_facts(path: Path) -> dict[str, Any]:
    """What stored samples say of themselves, without their images; empty where they say nothing.

    Raises:
        UserError: if it is damaged.
    """
    file, names, arrays = path / FACTS if path.is_dir() else path, None, {}
    if path.is_dir():
        text = file.read_text("utf-8-sig", errors="replace") if file.is_file() else ""
    else:
        with contextlib.suppress(UserError):  # whoever reads the images says what is wrong with the file
            arrays = entries(path, {"protocol", "class_names"})
        text = str(arrays.get("protocol", ""))
        names = list(name_array(arrays["class_names"], path)) if "class_names" in arrays else None
    with reading(f"what {file} says", "account of samples", "remove it, or draw anew"):
        facts = {"class_names": names, **json.loads(text or "{}")}
        _check_facts(facts)
    if isinstance(facts.get("w"), float):
        facts["w"] = round(facts["w"], 12)  # version 0.1 wrote guidance_scale - 1
    return facts


def _check_facts(facts: dict[str, Any]) -> None:
    for key, kind in _KINDS.items():
        value = facts.get(key)
        if not isinstance(value, (*kind, type(None))) or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"{key} is {str(value)[:40]}")
    names, counts = facts.get("class_names") or [], facts.get("class_counts") or []
    for name in names:
        check_text(str(name), "the name of a class")
    whole = all(isinstance(count, int) for count in counts) and all(isinstance(name, str) for name in names)
    if not whole or (names and counts and len(names) != len(counts)):
        raise ValueError("class_names and class_counts do not fit")


def _read_folder(path: Path, names: tuple[str, ...], facts: dict[str, Any]) -> SampleSet:
    left_out, labels = Counter[str](), None
    folders = subfolders(path, left_out)
    if not folders or folders == ("unconditional",):
        left_out.clear()  # what is beside the folders is read
        files = image_files(path, left_out)
    else:
        names = names or (() if any(folder[0].isdigit() for folder in folders) else folders)
        classes = _classes(path, folders, names, facts.get("format") == FORMAT)
        found = [image_files(path / folder, left_out) for folder in folders]
        if empty := [folder for folder, of_class in zip(folders, found, strict=True) if not of_class]:
            notice(f"{path}: no images in {', '.join(empty)}")
        files, labels = [file for of_class in found for file in of_class], np.repeat(classes, list(map(len, found)))
    if not files:
        raise UserError(f"{path}: no images in it ({', '.join(FORMATS)}).")
    left_out[".json"] -= (path / FACTS).is_file()
    say_left_out(path, left_out)
    images = encoded(files, str(path), remedy="bring all samples to one size")
    return SampleSet(path, images, labels, names, facts)


def _classes(path: Path, folders: Sequence[str], names: Sequence[str], ours: bool) -> list[int]:
    """The classes of folders, all read as indices or all as names."""
    slugs = [slug(name) for name in names]
    by_index: list[int | None] = []
    by_name: list[int | None] = []
    for folder in folders:
        match = re.fullmatch(r"(\d+)(?:_(.*))?", folder)
        index = int(match[1]) if match and (not names or int(match[1]) < len(names)) else None
        after = match[2] if match else None
        named = names.index(folder) if folder in names else slugs.index(after) if after in slugs else None
        by_index.append(index)
        by_name.append(index if index is not None and after and slugs[index : index + 1] == [after] else named)
    if None not in by_index and (ours or None in by_name or by_index == by_name):
        return [index for index in by_index if index is not None]
    if None not in by_name and None in by_index:
        return [index for index in by_name if index is not None]
    readings = [
        f"{folder} is {_named(i, names)} by index, {_named(n, names)} by name"
        for folder, i, n in zip(folders, by_index, by_name, strict=True)
        if i != n or i is None
    ]
    raise UserError(
        f"{path}: class folders must all be indices or all be names of the classes ({_few(names)}); "
        f"{'; '.join(readings[:3])}{' ...' * (len(readings) > 3)}. "
        "Name them as t2h sample does, INDEX_NAME, or use the reference of the same data."
    )


def _named(label: int | None, names: Sequence[str]) -> str:
    return "no class" if label is None else names[label] if names else str(label)


def slug(name: str) -> str:
    """A class name as a part of a folder's name."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "class"


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(str, names[:3])) + (f" ... ({len(names)})" if len(names) > 3 else "")
