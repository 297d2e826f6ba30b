"""Images and labels in one .npz file."""

from __future__ import annotations

import numpy as np

from t2h.data.arrays import LABELS, image_array, label_array, read_arrays
from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.errors import UserError

WHAT = "an .npz file with images (uint8) and labels"


def read(request: Request) -> ImageTable:
    """The file ``root``, or ``root``/SPLIT.npz.

    Keys: ``images`` (or ``x``, ``arr_0``) (N, H, W, C), (N, C, H, W) or (N, H, W), 0 ... 255; ``labels`` (or ``y``,
    ``arr_1``) integers (N,); ``class_names`` (K,), by default the numbers 0 ... max(labels). A file of ``arr_0`` alone,
    as samplers write it, is one class.
    """
    root = request.required_root(WHAT)
    path = root / f"{request.split}.npz" if root.is_dir() else root
    if not path.is_file():
        raise UserError(f"{path}: no such file; give {WHAT}, or a directory with one {request.split}.npz.")
    arrays = read_arrays(path)
    images = image_array(arrays["images"], path)
    names: tuple[str, ...] = ("unlabelled",)
    if "labels" in arrays:
        labels = label_array(arrays["labels"], len(images), path)
        names = tuple(map(str, range(int(labels.max()) + 1)))
    elif "arr_0" in arrays:
        labels = np.zeros(len(images), np.int64)
    else:
        raise UserError(f"{path}: none of {', '.join(LABELS)} in it; {WHAT} is needed.")
    if "class_names" in arrays:
        names = tuple(map(str, arrays["class_names"]))
    return ImageTable(request.converted(images), labels, names, split=request.split, name=path.stem)
