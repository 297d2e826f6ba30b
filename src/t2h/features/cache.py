"""What took long to compute is kept: features and trained classifiers, up to a limit, in files that may be deleted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from t2h.errors import UserError, notice, one_line
from t2h.files import replaced

LIMIT = 5 << 30
"""Bytes of each kind that are kept; beyond it the files go that were not used for longest."""

Tensors = dict[str, np.ndarray]


def cache_folder() -> Path:
    """Where features, trained classifiers and downloaded weights are kept: $T2H_CACHE, else ~/.cache/t2h.

    Raises:
        UserError: if there is neither.
    """
    try:
        return Path(os.environ.get("T2H_CACHE") or Path.home() / ".cache" / "t2h")
    except RuntimeError as error:
        raise UserError("this user has no home folder; set T2H_CACHE to a folder for what is to be kept.") from error


def cached(kind: str, key: str, make: Callable[[], Tensors], folder: Path | None = None) -> Tensors:
    """The tensors of ``make()``, read back where they were kept under this ``key`` before.

    Nothing here is an error: a damaged file is made anew, and if nothing can be kept, a line on stderr says so once.
    Each ``kind`` has a folder in the cache ``folder``, by default `cache_folder()`.
    """
    try:
        path = (folder or cache_folder()) / kind / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
        if (kept := _read(path)) is not None:
            with suppress(OSError):  # a cache that may only be read
                os.utime(path)
            return kept
    except (UserError, OSError) as error:
        _say(error)
        return make()
    tensors = make()
    try:
        write_safely(path, tensors, {"sha256": state_sha256(tensors)})
        _trim(path.parent)
    except OSError as error:
        _say(error)
    return tensors


def _read(path: Path) -> Tensors | None:
    """What is kept in a file; None without that file, and where its content is not what was kept."""
    with suppress(FileNotFoundError, SafetensorError, TypeError, ValueError), safe_open(path, "numpy") as file:
        names = file.keys()  # not iterable itself
        tensors = {name: file.get_tensor(name) for name in names}
        if (file.metadata() or {}).get("sha256") == state_sha256(tensors):
            return tensors
    return None


def state_sha256(arrays: Mapping[str, Tensor | np.ndarray]) -> str:
    """The sha256 of named arrays: names, shapes, types and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(torch.as_tensor(arrays[name]).detach().cpu().numpy())
        digest.update(f"{name}{array.shape}{array.dtype}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def write_safely(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, whole or not at all."""
    with replaced(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, temporary, metadata)


def _trim(folder: Path) -> None:
    total = 0
    with suppress(FileNotFoundError):  # another process trims as well
        stats = {path: path.stat() for path in folder.glob("*.safetensors")}
        for path in sorted(stats, key=lambda path: -stats[path].st_mtime_ns):
            total += stats[path].st_size
            if total > LIMIT:
                path.unlink(missing_ok=True)


def _say(error: UserError | OSError) -> None:
    if isinstance(error, OSError) and error.filename:
        error.filename = os.path.dirname(error.filename)  # once, not for each file
    notice(f"what is computed is not kept: {one_line(error)} $T2H_CACHE names a folder for it.")
