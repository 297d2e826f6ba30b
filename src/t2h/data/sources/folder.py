"""One's own images: a folder with one subfolder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from t2h.data.decode import encoded
from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.errors import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
SPLITS = ("train", "val", "test")
WHAT = "a folder with one subfolder of images per class"


def read(request: Request) -> ImageTable:
    """``root``/CLASS/**/*.{png,jpg,jpeg,webp,bmp}, or ``root``/SPLIT/CLASS/... with SPLIT ``train``, ``val``, ``test``.

    Classes are the subfolders by name, files of a class by path; what starts with a dot is passed over. In the layout
    with splits, the classes of ``train`` give every split its class indices.

    Raises:
        UserError: for a class folder without images, a split that is not there, or images of several sizes without
            ``image_size``. Unreadable images are found when the table is settled.
    """
    root = request.required_root(WHAT)
    if not root.is_dir():
        raise UserError(f"{root}: a file; give {WHAT}.")
    base, classes = _layout(root, request)
    if not classes:
        raise UserError(f"{base}: no subfolders; give {WHAT}.")
    files = {name: image_files(base / name) for name in classes}
    empty = [str(base / name) for name, found in files.items() if not found]
    if empty and (base.name != request.split or request.split == "train" or len(empty) == len(files)):
        raise UserError(
            f"no images in {', '.join(empty)}; put some there ({', '.join(sorted(SUFFIXES))}) or remove the folder."
        )
    paths = tuple(path for name in classes for path in files[name])
    labels = np.repeat(np.arange(len(classes)), [len(files[name]) for name in classes]).astype(np.int64)
    images = encoded(paths, str(base), request.image_size, request.channels)
    return ImageTable(images, labels, classes, split=request.split, name=root.resolve().name)


def _layout(root: Path, request: Request) -> tuple[Path, tuple[str, ...]]:
    """The folder that holds the class folders, and the classes in order."""
    top = _subfolders(root)
    if "train" not in top or not set(top) <= set(SPLITS):
        request.check_split(("train",))
        return root, top
    request.check_split([split for split in SPLITS if split in top])
    classes, found = _subfolders(root / "train"), _subfolders(root / request.split)
    strange = sorted(set(found) - set(classes))
    if strange:
        raise UserError(f"{root / request.split}: {', '.join(strange)} not among the classes of {root / 'train'}.")
    return root / request.split, classes


def _subfolders(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))


def image_files(folder: Path) -> list[Path]:
    """All image files below a folder, by path; hidden ones are passed over."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
