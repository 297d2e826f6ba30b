"""What took long to compute is kept: features and trained classifiers, up to a limit, in files that may be deleted."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from t2h.errors import UserError, one_line
from t2h.files import replaced

LIMIT = 5 << 30
"""Bytes of each kind that are kept; beyond it the files go that were not used for longest."""

Tensors = dict[str, np.ndarray]
_said: list[bool] = []


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
        with suppress(FileNotFoundError, SafetensorError):
            tensors = load_file(path)
            with suppress(OSError):  # a cache that may only be read
                os.utime(path)
            return tensors
    except (UserError, OSError) as error:
        _say_once(error)
        return make()
    tensors = make()
    try:
        write_safely(path, tensors)
        _trim(path.parent)
    except OSError as error:
        _say_once(error)
    return tensors


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


def _say_once(error: Exception) -> None:
    if not _said:
        _said.append(True)
        reason = one_line(error)
        print(f"t2h: what is computed is not kept: {reason} $T2H_CACHE names a folder for it.", file=sys.stderr)
