"""Images and labels in one .npz file, also those of other programs."""

from __future__ import annotations

import zipfile
from collections.abc import Set
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Integer

from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.errors import UserError, notice
from t2h.files import check_kind

IMAGES, LABELS = ("images", "x", "arr_0"), ("labels", "y", "arr_1")
LARGEST_LABEL = 100_000
WHAT = "an .npz file with images (uint8) and labels"
_HOW = "write it with numpy.savez(images=..., labels=...)"


def read(request: Request) -> ImageTable:
    """The file ``root``, or ``root``/SPLIT.npz.

    Keys: ``images`` (or ``x``, ``arr_0``) (N, H, W, C), (N, C, H, W) or (N, H, W), 0 ... 255; ``labels`` (or ``y``,
    ``arr_1``) integers (N,); ``class_names`` (K,), by default the numbers 0 ... max(labels). A file of ``arr_0`` alone,
    as samplers write it, is one class.
    """
    path = request.required_root(WHAT)
    if path.is_dir():
        there = sorted(file.stem for file in path.glob("*.npz"))
        if not there:
            raise UserError(f"{path}: no .npz in it; give {WHAT}, or a directory with one {request.split}.npz.")
        path = path / f"{request.split_of(there)}.npz"
    arrays = read_arrays(path)
    images = image_array(arrays["images"], path, request.white or 255)
    names: tuple[str, ...] = ("unlabelled",)
    if "labels" in arrays:
        labels = label_array(arrays["labels"], len(images), path)
        names = tuple(map(str, range(int(labels.max()) + 1)))
    elif "arr_0" in arrays:
        labels = np.zeros(len(images), np.int64)
    else:
        raise UserError(f"{path}: none of {', '.join(LABELS)} in it; {WHAT} is needed.")
    if "class_names" in arrays:
        names = name_array(arrays["class_names"], path)
    elif empty := sorted(set(range(len(names))) - set(labels.tolist())):
        if len(names) > len(labels):
            raise UserError(
                f"{path}: {len(labels)} images, but labels up to {len(names) - 1}; number the classes 0 ... K-1."
            )
        notice(f"{path}: no image has the label {', '.join(map(str, empty[:5]))}; classes are numbered from 0")
    return ImageTable(request.converted(images), labels, names, split=request.split, name=path.stem)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz, with images and labels under the first of their names (`IMAGES`, `LABELS`).

    Raises:
        UserError: as `entries`, or if there are no images.
    """
    arrays = entries(path, {*IMAGES, *LABELS, "class_names", "protocol"})
    for names in (IMAGES, LABELS):
        found = [name for name in names if name in arrays]
        arrays |= {names[0]: arrays[found[0]]} if found else {}
    if IMAGES[0] not in arrays:
        raise UserError(f"{path}: none of {', '.join(IMAGES)} in it; {_HOW}.")
    return arrays


def entries(path: Path, wanted: Set[str]) -> dict[str, np.ndarray]:
    """Those of the wanted arrays that an .npz has; the others are not read.

    Raises:
        UserError: if it is no whole .npz of plain arrays, or would unpack to 200 times its size.
    """
    check_kind(path)
    try:
        with path.open("rb") as file:
            single = file.read(6) == np.lib.format.MAGIC_PREFIX
        if not single:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > max(1 << 28, 200 * path.stat().st_size):
                raise ValueError(f"it would unpack to {unpacked:,} bytes")
            with np.load(path, allow_pickle=False) as found:
                arrays = {key: found[key] for key in wanted & set(found)}
            if strange := [key for key in arrays if not isinstance(arrays[key], np.ndarray)]:
                raise ValueError(f"{strange[0]} is no array")
    except Exception as error:  # a broken archive may raise anything
        raise UserError(f"{path}: not a whole .npz of plain arrays ({error}); write it again.") from error
    if single:
        raise UserError(f"{path}: one array, not an .npz; {_HOW}.")
    return arrays


def image_array(
    images: np.ndarray, where: Path, white: int = 255, floats: bool = False
) -> Integer[np.ndarray, "n c h w"] | Float[np.ndarray, "n c h w"]:
    """Images as (N, C, H, W), C = 1 or 3, of integers.

    Args:
        images: (N, H, W, C), (N, C, H, W) or (N, H, W); the first where both would do.
        where: the file, for messages.
        white: the largest value. Up to 255 the images become uint8.
        floats: also takes floats in [0, 1], which become float32.

    Raises:
        UserError: for another shape, or other values.
    """
    shape, kind = images.shape, images.dtype.kind
    if images.size == 0:
        raise UserError(f"{where}: no images in it.")
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and shape[3] in (1, 3):
        images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    elif images.ndim != 4 or shape[1] not in (1, 3):
        rgba = " (RGBA has 4; leave out the last)" if images.ndim == 4 and 4 in (shape[1], shape[3]) else ""
        raise UserError(f"{where}: images have shape {shape}; (N, H, W, C) with C = 1 or 3 is needed{rgba}.")
    allowed = f"integers in 0 ... {max(white, 255)}" + " or floats in [0, 1]" * floats
    if kind not in "iuf":
        raise UserError(f"{where}: images are {images.dtype}; {allowed} are needed.")
    low, high = images.min(), images.max()
    if kind != "f" and 0 <= low <= high <= max(white, 255):
        return images.astype(np.uint8, copy=False) if white <= 255 else images
    if kind == "f" and floats and 0 <= low <= high <= 1:  # not where a value is NaN
        return images.astype(np.float32)
    hint = " With --white 4095, say, that value is white." if kind != "f" and 255 < high <= 65535 and not floats else ""
    raise UserError(f"{where}: images are {images.dtype} from {low} to {high}; {allowed} are needed.{hint}")


def label_array(labels: np.ndarray, count: int, where: Path) -> Int[np.ndarray, " n"]:
    """Labels as int64 (N,).

    Raises:
        UserError: unless they are ``count`` whole numbers, from 0 on.
    """
    if labels.ndim not in (1, 2) or labels.size != len(labels) or labels.dtype.kind not in "iu":
        raise UserError(f"{where}: labels are {labels.dtype} {labels.shape}; integers of shape (N,) are needed.")
    if len(labels) != count:
        raise UserError(f"{where}: {count} images but {len(labels)} labels; give one label per image.")
    if not 0 <= labels.min() <= labels.max() <= LARGEST_LABEL:
        raise UserError(
            f"{where}: labels run from {labels.min()} to {labels.max()}; they must number the classes, 0 ... K-1."
        )
    return labels.reshape(-1).astype(np.int64)


def name_array(names: np.ndarray, where: Path) -> tuple[str, ...]:
    """Class names as text.

    Raises:
        UserError: unless they are text of shape (K,).
    """
    if names.ndim != 1 or names.dtype.kind not in "SUiu":
        raise UserError(f"{where}: class_names are {names.dtype} {names.shape}; text of shape (K,) is needed.")
    return tuple(
        name.decode(errors="surrogateescape") if isinstance(name, bytes) else str(name) for name in names.tolist()
    )
