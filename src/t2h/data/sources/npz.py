"""Images and labels in one .npz file, also those of other programs."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.errors import UserError

IMAGES, LABELS = ("images", "x", "arr_0"), ("labels", "y", "arr_1")
LARGEST_LABEL = 100_000
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


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, with images and labels under the first of their names (`IMAGES`, `LABELS`).

    Raises:
        UserError: if it is no whole .npz of plain arrays, or has no images.
    """
    wanted, arrays = {*IMAGES, *LABELS, "class_names", "protocol"}, None
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.lib.npyio.NpzFile):
            with file:
                arrays = {key: file[key] for key in wanted & set(file)}
    except (zipfile.BadZipFile, EOFError, zlib.error, ValueError, OSError) as error:
        raise UserError(f"{path}: not a whole .npz of plain arrays ({error}); write it again.") from error
    how = "write it with numpy.savez(images=..., labels=...)"
    if arrays is None:
        raise UserError(f"{path}: one array, not an .npz; {how}.")
    for names in (IMAGES, LABELS):
        found = [name for name in names if name in arrays]
        arrays |= {names[0]: arrays[found[0]]} if found else {}
    if IMAGES[0] not in arrays:
        raise UserError(f"{path}: none of {', '.join(IMAGES)} in it; {how}.")
    return arrays


def image_array(
    images: np.ndarray, where: Path, floats: bool = False
) -> UInt8[np.ndarray, "n c h w"] | Float[np.ndarray, "n c h w"]:
    """Images as uint8 (N, C, H, W), C = 1 or 3.

    Args:
        images: (N, H, W, C), (N, C, H, W) or (N, H, W); the first where both would do. Integers from 0 to 255.
        where: the file, for messages.
        floats: also takes floats in [0, 1], which become float32.

    Raises:
        UserError: for another shape, or other values.
    """
    shape = images.shape
    if len(images) == 0:
        raise UserError(f"{where}: no images in it.")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and shape[3] in (1, 3):
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    elif images.ndim != 4 or shape[1] not in (1, 3):
        rgba = " (RGBA has 4; leave out the last)" if images.ndim == 4 and 4 in (shape[1], shape[3]) else ""
        raise UserError(f"{where}: images have shape {shape}; (N, H, W, C) with C = 1 or 3 is needed{rgba}.")
    if images.dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    if images.dtype.kind in "iu" and 0 <= low <= high <= 255:
        return images.astype(np.uint8)
    if floats and images.dtype.kind == "f":
        if 0 <= low <= high <= 1:  # not where a value is NaN
            return images.astype(np.float32)
        raise UserError(f"{where}: float images run from {low} to {high}; they must lie in [0, 1].")
    allowed = "uint8 (0 ... 255)" + " or floats in [0, 1]" * floats
    raise UserError(f"{where}: images are {images.dtype}; {allowed} is needed, not {low} to {high}.")


def label_array(labels: np.ndarray, count: int, where: Path) -> Int[np.ndarray, " n"]:
    """Labels as int64 (N,).

    Raises:
        UserError: unless they are ``count`` whole numbers, from 0 on.
    """
    if labels.ndim not in (1, 2) or labels.size != len(labels) or labels.dtype.kind not in "iu":
        raise UserError(f"{where}: labels are {labels.dtype} {labels.shape}; integers of shape (N,) are needed.")
    labels = labels.reshape(-1).astype(np.int64)
    if len(labels) != count:
        raise UserError(f"{where}: {count} images but {len(labels)} labels; give one label per image.")
    if not 0 <= labels.min() <= labels.max() <= LARGEST_LABEL:
        raise UserError(
            f"{where}: labels run from {labels.min()} to {labels.max()}; they must number the classes, 0 ... K-1."
        )
    return labels
