"""Every place that labelled images come from, behind one function."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from t2h.data.decode import settled
from t2h.data.sources import cifar, digits, fashion_mnist, folder, hub, npz, tiny_imagenet
from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.errors import UserError, unknown_name

SOURCES: dict[str, Callable[[Request], ImageTable]] = {
    "digits": digits.read,
    "cifar10": cifar.read_cifar10,
    "cifar100": cifar.read_cifar100,
    "fashion-mnist": fashion_mnist.read,
    "tiny-imagenet-200": tiny_imagenet.read,
    "folder": folder.read,
    "npz": npz.read,
}


def load_images(
    data: str,
    root: Path | str | None = None,
    split: str = "train",
    image_size: int | None = None,
    channels: int | None = None,
    download: bool = False,
) -> ImageTable:
    """Labelled images from any source, every one of them known to be readable.

    Args:
        data: ``digits``, ``cifar10``, ``cifar100``, ``fashion-mnist``, ``tiny-imagenet-200``, ``folder``, ``npz``,
            ``hub:DATASET``; or the path of a folder of class folders or of an .npz file.
        root: the directory or file that holds the data; by default $T2H_DATA, else ``data``. Not for ``digits``.
        split: ``train``, ``test``, ... as the source has them.
        image_size: height and width in pixels; by default as the images are.
        channels: 1 (grey) or 3 (RGB); by default as the images are.
        download: fetch what is missing (CIFAR and Fashion-MNIST), from the official address.

    Raises:
        UserError: for whatever is missing, damaged, unreadable or unknown.
    """
    folder_or_file = None if root is None else Path(root)
    return settled(open_images(Request(data, folder_or_file, split, image_size, channels, download)))


def open_images(request: Request) -> ImageTable:
    """As `load_images`, but files may not yet have been decoded: choose rows first, then `settled` the table."""
    if request.data.startswith("hub:"):
        return hub.read(request)
    if request.data not in SOURCES:
        request = _from_path(request)
    return SOURCES[request.data](request)


def _from_path(request: Request) -> Request:
    """The request for a path in place of a source's name."""
    path = Path(request.data).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix == ".npz"):
        if request.root is not None:
            raise UserError(f"data {request.data!r} is a path, so root {request.root} has no use; leave it out.")
        kind = "folder" if path.is_dir() else "npz"
        return replace(request, data=kind, root=path)
    if path.is_file():
        raise UserError(f"{path}: neither a folder nor an .npz file.")
    if path.suffix == ".npz" or os.sep in request.data.rstrip(os.sep) or request.data.startswith((".", "~")):
        raise UserError(f"{path}: no such file or directory.")
    raise unknown_name("data", request.data, [*SOURCES, "hub:DATASET", "a path"])
