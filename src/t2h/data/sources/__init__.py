"""Every place that labelled images come from, behind one function."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from t2h.data.encoded import settled
from t2h.data.sources import cifar, digits, fashion_mnist, folder, hub, npz, tiny_imagenet
from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.errors import UserError, unknown_name

SOURCES: dict[str, Callable[[Request], ImageTable]] = {
    "digits": digits.read,
    "cifar10": partial(cifar.read, archive=cifar.CIFAR10),
    "cifar100": partial(cifar.read, archive=cifar.CIFAR100),
    "fashion-mnist": fashion_mnist.read,
    "tiny-imagenet-200": tiny_imagenet.read,
    "folder": folder.read,
    "npz": npz.read,
}
_SIGNS = {
    "cifar10": cifar.CIFAR10.signs,
    "cifar100": cifar.CIFAR100.signs,
    "fashion-mnist": fashion_mnist.SIGNS,
    "tiny-imagenet-200": ("wnids.txt", f"{tiny_imagenet.FOLDER}/wnids.txt"),
}
"""Files by which a folder, or the file itself, is known as a source's."""


def load_images(
    data: str,
    root: Path | str | None = None,
    split: str = "train",
    image_size: int | None = None,
    channels: int | None = None,
    download: bool = False,
) -> ImageTable:
    """Labelled images from any source, every one of them known to be readable; the arguments are those of `Request`.

    Raises:
        UserError: for whatever is missing, damaged, unreadable or unknown.
    """
    folder_or_file = None if root is None else Path(root)
    return settled(open_images(Request(data, folder_or_file, split, image_size, channels, download)))


def canonical(data: str) -> str:
    """The data under one name: that of the source, or an absolute path. "x", "./x/" and "/place/x" are the same."""
    if data in SOURCES or data.startswith("hub:"):
        return data
    try:
        path = Path(data).expanduser()
    except RuntimeError as error:
        raise UserError(f"{data}: no such user, or no home folder; give the whole path.") from error
    if path.exists():
        return str(path.resolve())
    return {_letters(source): source for source in SOURCES}.get(_letters(data), data)


def _letters(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


def open_images(request: Request) -> ImageTable:
    """As `load_images`, but files may not yet have been decoded: choose rows first, then `settled` the table."""
    request = replace(request, data=canonical(request.data))
    if request.data.startswith("hub:"):
        return hub.read(request)
    if request.data not in SOURCES:
        request = _from_path(request)
    return SOURCES[request.data](request)


def _from_path(request: Request) -> Request:
    path = Path(request.data)
    if not path.exists():
        if path.suffix == ".npz" or os.sep in request.data.rstrip(os.sep) or request.data.startswith((".", "~")):
            raise UserError(f"{path}: no such file or directory.")
        raise unknown_name("data", request.data, [*SOURCES, "hub:DATASET", "a path"])
    if request.root is not None:
        raise UserError(f"data {request.data!r} is a path, so root {request.root} has no use; leave it out.")
    kinds = [
        kind
        for kind, signs in _SIGNS.items()
        if any((path / sign).is_file() for sign in signs) or (path.is_file() and path.name in signs)
    ]
    if len(kinds) > 1:
        commands = " or ".join(f"--data {kind} --root {path}" for kind in kinds)
        raise UserError(f"{path} holds {' and '.join(kinds)}; give {commands}.")
    if not kinds and not path.is_dir() and (not path.is_file() or path.suffix.lower() != ".npz"):
        hint = (
            "; unpack it and give the folder" if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".7z") else ""
        )
        raise UserError(f"{path}: neither a folder nor an .npz file{hint}.")
    kinds = kinds or ["folder" if path.is_dir() else "npz"]
    return replace(request, data=kinds[0], root=path)
