"""Every place that labelled images come from, behind one function."""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from pathlib import Path

from t2h.data.settle import settled
from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.errors import UserError, unknown_name

SOURCES = {
    "digits": "t2h.data.sources.digits:read",
    "cifar10": "t2h.data.sources.cifar:read_cifar10",
    "cifar100": "t2h.data.sources.cifar:read_cifar100",
    "fashion-mnist": "t2h.data.sources.fashion_mnist:read",
    "tiny-imagenet-200": "t2h.data.sources.tiny_imagenet:read",
    "folder": "t2h.data.sources.folder:read",
    "npz": "t2h.data.sources.npz:read",
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
    return settled(
        open_images(Request(data, None if root is None else Path(root), split, image_size, channels, download))
    )


def open_images(request: Request) -> ImageTable:
    """As `load_images`, but files may not yet have been decoded: choose rows first, then `settled` the table."""
    data = request.data
    if data.startswith("hub:"):
        from t2h.data.sources.hub import read

        return read(request)
    if data not in SOURCES:
        request = _from_path(request)
    module, function = SOURCES[request.data].split(":")
    return getattr(importlib.import_module(module), function)(request)


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
