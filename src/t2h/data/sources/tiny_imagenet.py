"""TinyImageNet-200, from the directory that its archive unpacks to."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from t2h.data.encoded import EncodedImages
from t2h.data.sources.base import Request
from t2h.data.sources.folder import image_files, say_left_out
from t2h.data.table import ImageTable
from t2h.errors import UserError

SIZE, CHANNELS = 64, 3  # some files are grey: they become RGB too
FOLDER = "tiny-imagenet-200"
WHERE = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"


def read(request: Request) -> ImageTable:
    """RGB 64×64 images in 200 classes, splits ``train`` (100,000) and ``val`` (10,000).

    Classes are the sorted wnids of ``train``, named by the first name in ``words.txt``; rows go class by class, files
    by name. The labels of ``test`` were never published.

    Raises:
        UserError: if the directory is not there or lacks something.
    """
    split = request.split_of(("train", "val"))
    root = request.folder / FOLDER if (request.folder / FOLDER).is_dir() else request.folder
    wnids = tuple(sorted(path.name for path in (root / "train").glob("n*") if path.is_dir()))
    if not wnids:
        raise UserError(
            f"{root}: no train/WNID/images here; unpack {WHERE} and give the directory {FOLDER} as root (--root DIR)."
        )
    if split == "train":
        left_out = Counter[str]()
        by_class = {wnid: image_files(root / "train" / wnid, left_out) for wnid in wnids}
        del left_out[".txt"]  # the boxes
        say_left_out(root, left_out)
    else:
        by_class = _val_files(root, wnids)
    empty = [wnid for wnid, files in by_class.items() if not files]
    if empty:
        raise UserError(f"{root}: no {split} images of {', '.join(empty)}; unpack {WHERE} again.")
    paths = tuple(path for files in by_class.values() for path in files)
    labels = np.repeat(np.arange(len(wnids)), [len(files) for files in by_class.values()]).astype(np.int64)
    size = request.image_size or SIZE
    images = EncodedImages(paths, (size, size), request.channels or CHANNELS, np.arange(len(paths)), request.white)
    return ImageTable(images, labels, class_names(root, wnids), split=split, name=FOLDER)


def _val_files(root: Path, wnids: tuple[str, ...]) -> dict[str, list[Path]]:
    annotations = root / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise UserError(f"{annotations}: no such file; unpack {WHERE} again.")
    files: dict[str, list[Path]] = {wnid: [] for wnid in wnids}
    for number, line in enumerate(annotations.read_text("utf-8", "replace").splitlines(), 1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in files:
            raise UserError(f"{annotations}, line {number}: {wnid!r} is not a class of train; unpack {WHERE} again.")
        files[wnid].append(root / "val" / "images" / Path(name).name)
    return {wnid: sorted(paths) for wnid, paths in files.items()}


def class_names(root: Path, wnids: tuple[str, ...]) -> tuple[str, ...]:
    """The first name of each wnid in ``words.txt``, with the wnid where two share it; the wnids without that file."""
    words = root / "words.txt"
    if not words.is_file():
        return wnids
    rows = (line.partition("\t") for line in words.read_text("utf-8", "replace").splitlines())
    known = {wnid: names.split(",")[0].strip() for wnid, _, names in rows}
    names = [known.get(wnid) or wnid for wnid in wnids]
    count = Counter(names)
    return tuple(name if count[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(names, wnids, strict=True))
