"""One's own images: a folder with one subfolder per class."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np

from t2h.data.decode import FORMATS, suffixes
from t2h.data.encoded import encoded
from t2h.data.sources.base import SPLITS, Request, usual_split
from t2h.data.table import ImageTable
from t2h.errors import UserError, notice

WHAT = "a folder with one subfolder of images per class"
BESIDE, HIDDEN = "images beside the folders", "hidden"  # reasons why something is left out


def read(request: Request) -> ImageTable:
    """``root``/CLASS/**/*.png (or any format of `t2h.data.decode.FORMATS`), or ``root``/SPLIT/CLASS/....

    Classes are the subfolders by name, files of a class by path. In the layout with splits, in any of their usual
    spellings, the classes of ``train`` give every split its class indices. What is left out is counted and named.

    Raises:
        UserError: for a class folder without images, folders that may be classes or splits, one folder around all
            others, a split that is not there, or images of several sizes without ``image_size``. Unreadable images are
            found when the table is settled.
    """
    root = request.required_root(WHAT)
    if not root.is_dir():
        raise UserError(f"{root}: a file; give {WHAT}.")
    left_out = Counter[str]()
    split, base, classes = _layout(root, request, left_out)
    if not classes:
        beside = " for its images" * (left_out[BESIDE] > 0)
        raise UserError(f"{base}: no subfolders{beside}; give {WHAT}.")
    _check_unwrapped(base)
    files = {name: image_files(base / name, left_out) for name in classes}
    say_left_out(base, left_out)
    empty = [str(base / name) for name, found in files.items() if not found]
    if empty and (usual_split(split) == "train" or len(empty) == len(files)):
        allowed = ", ".join(FORMATS)
        raise UserError(f"no images in {', '.join(empty)}; put some there ({allowed}) or remove the folder.")
    paths = tuple(path for name in classes for path in files[name])
    labels = np.repeat(np.arange(len(classes)), [len(files[name]) for name in classes]).astype(np.int64)
    images = encoded(paths, str(base), request.image_size, request.channels, request.white)
    return ImageTable(images, labels, classes, split=split, name=root.resolve().name or "images")


def _layout(root: Path, request: Request, left_out: Counter[str]) -> tuple[str, Path, tuple[str, ...]]:
    """The split, the folder that holds its class folders, and the classes in order."""
    top = subfolders(root, left_out)
    named = [name for name in top if usual_split(name) in SPLITS]
    splits = [name for name in named if subfolders(root / name) and not _images(root / name)]
    if not splits:
        if named and named == list(top):
            raise UserError(f"{root}: {', '.join(named)} are named as splits, but have no class folders; give {WHAT}.")
        if named:
            notice(f"{root}: {', '.join(named)} is read as a class, for it holds no class folders")
        return request.split_of(("train",)), root, top
    for name in (name for name in top if name not in splits):
        images = len(image_files(root / name, Counter()))
        if images and name not in named:
            raise UserError(
                f"{root}: {splits[0]} is named as a split and holds class folders, but {name} holds images as well; "
                f"give {root / splits[0]}, or move one of them away."
            )
        left_out[f"images of {name}"] += images
    split = request.split_of(splits)
    known = [name for name in splits if usual_split(name) == "train"] or splits
    classes = sorted({name for split in known for name in subfolders(root / split)})
    strange = sorted(set(subfolders(root / split, left_out)) - set(classes))
    if strange:
        raise UserError(f"{root / split}: {', '.join(strange)} not among the classes of {root / known[0]}.")
    return split, root / split, tuple(classes)


def _check_unwrapped(base: Path) -> None:
    inner = base
    while len(only := subfolders(inner)) == 1 and not _images(inner / only[0]) and subfolders(inner / only[0]):
        inner = inner / only[0]
    if inner != base:
        raise UserError(f"{base}: all images lie in one folder, {inner}; if its folders are the classes, give that.")


def subfolders(folder: Path, left_out: Counter[str] | None = None) -> tuple[str, ...]:
    """The folders in a folder, by name; what else is there is counted in ``left_out``."""
    found = []
    for path in sorted(folder.iterdir()):
        kind = _reason(path)
        if path.is_dir() and kind != HIDDEN:
            found.append(path.name)
        elif left_out is not None:
            left_out[kind or BESIDE] += 1
    return tuple(found)


def image_files(folder: Path, left_out: Counter[str]) -> list[Path]:
    """All image files below a folder, by path; what is passed over is counted in ``left_out``, by the reason."""
    found = []
    for where, folders, names in os.walk(folder, onerror=_raise):
        passed = [name for name in folders if _hidden(name) or os.path.islink(os.path.join(where, name))]
        folders[:] = [name for name in folders if name not in passed]
        for path in (Path(where, name) for name in (*names, *passed)):
            reason = _reason(path)
            if reason is None:
                found.append(path)
            else:
                left_out[reason] += 1
    return sorted(found)


def say_left_out(folder: Path, left_out: Counter[str]) -> None:
    """Name what was passed over, with numbers."""
    if parts := [f"{count:,} {reason}" for reason, count in left_out.most_common() if count > 0]:
        notice(f"{folder}: left out: {', '.join(parts)}")


def _images(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _reason(path) is None]


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def _reason(path: Path) -> str | None:
    """Why a path is not read as an image, or None if it is."""
    if _hidden(path.name):
        return HIDDEN
    known = path.suffix.lower() in suffixes()
    if known and path.is_file():
        return None
    if path.is_dir():
        return "linked folders"
    if not known:
        return path.suffix.lower() or "without suffix"
    return "dead links" if path.is_symlink() else "no files"


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a split may lack a class
        raise error
