"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), from the official python archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from t2h.data.download import RemoteFile, download, missing
from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.files import reading

LARGEST = 200_000_000
"""Bytes of an archive that are unpacked; both official ones have fewer, and what lies beyond is damage."""


@dataclass(frozen=True)
class Archive:
    """One official archive: its files, by split, and what they must hash to."""

    remote: RemoteFile
    folder: str
    splits: Mapping[str, tuple[str, ...]]
    meta: str
    labels_key: bytes
    names_key: bytes
    md5: Mapping[str, str]

    @property
    def signs(self) -> tuple[str, ...]:
        """Files by which a folder is known to hold it."""
        return self.meta, f"{self.folder}/{self.meta}", self.remote.filename


CIFAR10 = Archive(
    RemoteFile(
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", 170_498_071, "c58f30108f718f92721af3b95e74349a"
    ),
    folder="cifar-10-batches-py",
    splits={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    meta="batches.meta",
    labels_key=b"labels",
    names_key=b"label_names",
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
)
CIFAR100 = Archive(
    RemoteFile(
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", 169_001_437, "eb9058c3a382ffc7106e4002c42a8d85"
    ),
    folder="cifar-100-python",
    splits={"train": ("train",), "test": ("test",)},
    meta="meta",
    labels_key=b"fine_labels",
    names_key=b"fine_label_names",
    md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
)


def read(request: Request, archive: Archive) -> ImageTable:
    """A split in the official order, RGB of 32×32; of CIFAR-100 the fine labels.

    ``root`` holds the archive's folder or its .tar.gz, or is one of them.

    Raises:
        UserError: if there is no such data, a file's md5 is not the official one, or it is not what it should be.
    """
    split = request.split_of(archive.splits)
    parts = archive.splits[split]
    files = _files(_locate(request, archive), (*parts, archive.meta), archive)
    batches = [load_pickle(files[part], part) for part in parts]
    pixels = np.concatenate([batch[b"data"] for batch in batches])
    labels = np.concatenate([np.asarray(batch[archive.labels_key], dtype=np.int64) for batch in batches])
    names = tuple(name.decode() for name in load_pickle(files[archive.meta], archive.meta)[archive.names_key])
    images = request.converted(pixels.reshape(-1, 3, 32, 32))
    return ImageTable(images, labels, names, split=split, name=request.data)


def _locate(request: Request, archive: Archive) -> Path:
    """The folder with the pickles, or the .tar.gz."""
    root, tar = request.folder, request.folder / archive.remote.filename
    if root.is_file() or (root / archive.meta).is_file():
        return root
    if (root / archive.folder).is_dir():
        return root / archive.folder
    if not tar.is_file():
        if not request.download:
            raise missing(request.data, f"{archive.folder} or {archive.remote.filename}", root, [archive.remote])
        download(archive.remote, tar)
    return tar


def _files(source: Path, names: tuple[str, ...], archive: Archive) -> dict[str, bytes]:
    """The named files' contents, each of the official md5."""
    if source.is_dir():
        absent = [name for name in names if not (source / name).is_file()]
        files = {name: _start(source / name) for name in names if name not in absent}
    else:
        files = members(source, {f"{archive.folder}/{name}": name for name in names})
        absent = [name for name in names if name not in files]
    if absent:
        raise UserError(f"{source}: {', '.join(absent)} missing; unpack or download {archive.remote.url} again.")
    for name, content in files.items():
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != archive.md5[name]:
            raise UserError(
                f"{source}: {name} has md5 {found}, officially {archive.md5[name]}; it is damaged or altered: "
                f"take it again from {archive.remote.url}."
            )
    return files


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LARGEST)


def members(path: Path, wanted: Mapping[str, str]) -> dict[str, bytes]:
    """Regular members of a tar, by their exact names, read into memory: nothing is unpacked, no link is followed."""
    files = {}
    with reading(path, ".tar.gz", "download it again"):
        with gzip.open(path) as packed:
            # photographs hardly shrink: what unpacks to more than 20 times its size is cut, and found damaged
            unpacked = io.BytesIO(packed.read(min(LARGEST, 20 * path.stat().st_size + (1 << 20))))
        with tarfile.open(fileobj=unpacked, mode="r:") as tar:
            for member in tar:
                if member.name in wanted and member.isreg():
                    stream = tar.extractfile(member)
                    assert stream is not None
                    files[wanted[member.name]] = stream.read()
                if len(files) == len(wanted):
                    break
    return files


def _empty_array(kind: object, shape: object, code: object) -> np.ndarray:
    return np.ndarray((0,), np.uint8)


def _byte_dtype(code: object, *_: object) -> np.dtype:
    if code not in (b"u1", "u1"):
        raise pickle.UnpicklingError(f"it holds numbers of type {code!r}")
    return np.dtype(np.uint8)


class _ArrayUnpickler(pickle.Unpickler):
    """Knows the names that a pickled uint8 array needs, and none that could run anything."""

    KNOWN: ClassVar = {
        "numpy.core.multiarray._reconstruct": _empty_array,
        "numpy._core.multiarray._reconstruct": _empty_array,
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": _byte_dtype,
    }

    def find_class(self, module: str, name: str) -> object:
        if f"{module}.{name}" not in self.KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return self.KNOWN[f"{module}.{name}"]


def load_pickle(content: bytes, name: str) -> dict:
    """A pickled dictionary of bytes, numbers, lists and uint8 arrays. Nothing else is built, and no code runs.

    Raises:
        UserError: if the pickle is broken or holds anything else.
    """
    with reading(name, "CIFAR batch", "take it from the official archive"):
        loaded = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(loaded, dict):
            raise pickle.UnpicklingError(f"it holds a {type(loaded).__name__}")
        return loaded
