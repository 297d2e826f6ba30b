"""Images and labels in one .npz file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.errors import UserError

_IMAGES, _LABELS = ("images", "x", "arr_0"), ("labels", "y", "arr_1")
WHAT = "an .npz file with images (uint8) and labels"


def read(request: Request) -> ImageTable:
    """The file ``root``, or ``root``/SPLIT.npz.

    Keys: ``images`` (or ``x``, ``arr_0``) uint8 (N, H, W, C), (N, C, H, W) or (N, H, W); ``labels`` (or ``y``,
    ``arr_1``) integers (N,); ``class_names`` (K,), by default the numbers 0 ... max(labels). A file of ``arr_0`` alone,
    as samplers write it, is one class.
    """
    root = request.required_root(WHAT)
    path = root / f"{request.split}.npz" if root.is_dir() else root
    if not path.is_file():
        raise UserError(f"{path}: no such file; give {WHAT}, or a directory with one {request.split}.npz.")
    arrays = _arrays(path)
    names: tuple[str, ...] = ("unlabelled",)
    images = _channels_first(_pick(arrays, _IMAGES, path), path)
    if "arr_0" in arrays and not any(key in arrays for key in _LABELS):
        labels = np.zeros(len(images), np.int64)
    else:
        labels = _pick(arrays, _LABELS, path)
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise UserError(f"{path}: labels are {labels.dtype} {labels.shape}; integers of shape (N,) are needed.")
        labels = labels.astype(np.int64)
        names = tuple(map(str, range(int(labels.max(initial=-1)) + 1)))
    if "class_names" in arrays:
        names = tuple(map(str, arrays["class_names"]))
    return ImageTable(request.converted(images), labels, names, split=request.split, name=path.stem)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    wanted = {*_IMAGES, *_LABELS, "class_names"}
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.lib.npyio.NpzFile):
            with file:
                return {key: file[key] for key in file.files if key in wanted}
    except (zipfile.BadZipFile, EOFError, zlib.error, ValueError, OSError) as error:
        raise UserError(f"{path}: not a whole .npz of plain arrays ({error}); write it again.") from error
    raise UserError(f"{path}: one array, not an .npz; {WHAT} is needed.")


def _pick(arrays: Mapping[str, np.ndarray], keys: tuple[str, ...], path: Path) -> np.ndarray:
    for key in keys:
        if key in arrays:
            return arrays[key]
    raise UserError(f"{path}: none of {', '.join(keys)} in it; {WHAT} is needed.")


def _channels_first(images: np.ndarray, path: Path) -> UInt8[np.ndarray, "n c h w"]:
    if images.dtype != np.uint8:
        raise UserError(f"{path}: images are {images.dtype}; uint8 (0 ... 255) is needed.")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return images
    raise UserError(f"{path}: images have shape {images.shape}; (N, H, W, C) with C = 1 or 3 is needed.")
