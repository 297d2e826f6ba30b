"""Fashion-MNIST (Xiao et al. 2017), from its four idx files."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from t2h.data.download import RemoteFile, download, missing
from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.files import reading

CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_FILES = {"train": "train", "test": "t10k"}
_BASE = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
REMOTES = (
    RemoteFile(f"{_BASE}/train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    RemoteFile(f"{_BASE}/train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    RemoteFile(f"{_BASE}/t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"),
    RemoteFile(f"{_BASE}/t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
)
SIGNS = tuple(name for remote in REMOTES for name in (remote.filename, remote.filename.removesuffix(".gz")))
LARGEST = 1 << 26
"""Bytes that an idx file may have, unpacked; the largest official one has 47,040,016."""


def read(request: Request) -> ImageTable:
    """Grey 28×28 images in 10 classes, splits ``train`` (60,000) and ``test`` (10,000); ``root`` holds the idx files,
    plain or .gz. The content is checked (magic numbers, counts, lengths), not the compressed file."""
    split = request.split_of(_FILES)
    stem = _FILES[split]
    images = read_idx(_locate(request, f"{stem}-images-idx3-ubyte"), dimensions=3)
    labels = read_idx(_locate(request, f"{stem}-labels-idx1-ubyte"), dimensions=1).astype(np.int64)
    table = request.converted(images[:, None])
    return ImageTable(table, labels, CLASS_NAMES, split=split, name="fashion-mnist")


def _locate(request: Request, name: str) -> Path:
    root, packed = request.folder, request.folder / f"{name}.gz"
    for path in (root / name, packed):
        if path.is_file():
            return path
    if not request.download:
        raise missing("fashion-mnist", f"{name} or {name}.gz", root, REMOTES)
    download(next(remote for remote in REMOTES if remote.filename == packed.name), packed)
    return packed


def read_idx(path: Path, dimensions: int) -> UInt8[np.ndarray, "*shape"]:
    """An idx file of unsigned bytes, plain or .gz.

    Format: the bytes 0, 0, 8 (unsigned byte), number of dimensions; each dimension as a big-endian int32; the values.

    Raises:
        UserError: if the magic number or the length is not as it must be.
    """
    start, magic = 4 + 4 * dimensions, bytes((0, 0, 8, dimensions))
    with reading(path, "idx file of unsigned bytes", f"take it again from {_BASE}/"):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"it unpacks to more than {LARGEST:,} bytes")
        if content[:4] != magic:
            raise ValueError(f"it starts with {content[:4].hex(' ') or 'nothing'}, not {magic.hex(' ')}")
        if len(content) < start:
            raise ValueError("it ends inside its header")
        shape = tuple(int(n) for n in np.frombuffer(content[4:start], ">i4"))
        if len(content) - start != math.prod(shape):
            size = " x ".join(map(str, shape))
            raise ValueError(f"{len(content) - start:,} values, but its header says {size}")
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
