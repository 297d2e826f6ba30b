"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_LEFTOVER = re.compile(r"\.(.+)\.(?:[0-9a-f]{8}|\d+)\.tmp")  # the digits: process ids, in version 0.1
_STALE_SECONDS = 3600.0
_last_swept: dict[Path, float] = {}


@contextmanager
def replaced(path: Path, durable: bool = False) -> Iterator[Path]:
    """A temporary name beside ``path`` that takes its place when the block ends well, and is removed when it does not.

    The block writes a file or makes a folder of that name; the parent folder is made if it is missing. A file is
    replaced in one step. A folder takes two: a process that is killed between them leaves the old folder under another
    name, and `recover` brings it back. Temporary files and folders of processes that were killed are removed by a later
    call for the same parent folder, when nothing has been written to them for an hour.

    Args:
        path: what to write.
        durable: the file survives a power cut from the end of the block on.

    Raises:
        OSError: with ``path`` as its file name; for a full disk, whatever the block raised because of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        if temporary.is_dir():
            _swap_folder(temporary, path)
        else:
            os.replace(temporary, path)
        if durable:
            _sync(path.parent)
    except Exception as error:
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            error.filename = str(path)
        full = "No space left" in str(error) or shutil.disk_usage(path.parent).free < 1 << 16
        if full and not isinstance(error, OSError):  # safetensors and torch.save raise errors of their own
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        _remove(temporary)


def recover(folder: Path) -> Path:
    """``folder``, brought back if a process was killed while it replaced it. Call it before reading such a folder."""
    if not folder.exists():
        with suppress(OSError):  # there is none, or the process that replaces it was faster
            _old(folder).rename(folder)
    return folder


def _swap_folder(new: Path, folder: Path) -> None:
    if folder.exists():
        _remove(_old(folder))
    while True:
        with suppress(FileNotFoundError):
            folder.rename(_old(folder))
        try:
            new.rename(folder)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise  # else a reader called `recover` between the two steps
    with suppress(FileNotFoundError):
        _old(folder).rename(new)  # to be removed under this name: what is called old is always whole


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _sync(path: Path) -> None:
    if os.name == "posix":  # elsewhere folders cannot be opened, and a file only for writing
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path, *names: str, seconds: float = 0.0) -> None:
    """Remove what killed processes have left in ``folder``, of targets with these names (of all without one).

    Only what was not written to for ``seconds``: 0 is for a caller who alone writes these.
    """
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):  # another process removed it
            left = _LEFTOVER.fullmatch(path.name)
            if left and (not names or left[1] in names) and time.time() - path.stat().st_mtime >= seconds:
                _remove(path)


def _sweep(folder: Path) -> None:
    """Remove what killed processes have left in ``folder`` an hour ago; looks once an hour."""
    if time.monotonic() - _last_swept.get(folder, -_STALE_SECONDS) < _STALE_SECONDS:
        return
    _last_swept[folder] = time.monotonic()
    sweep(folder, seconds=_STALE_SECONDS)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all; NaN and infinity are no JSON."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with replaced(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def append_json(path: Path, line: dict[str, Any]) -> None:
    """Append an object to a file that holds one a line; an `OSError` names the file."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        error.filename = str(path)
        raise


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file that holds one a line; none without that file.

    A line that is no object is passed over: it is the one that a running or killed process has not finished.
    """
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return [entry for entry in found if isinstance(entry, dict)]


def last_value(lines: Sequence[dict[str, Any]], key: str) -> Any:
    """The value of ``key`` in the last of the objects that has one; None if none has."""
    return next((line[key] for line in reversed(lines) if line.get(key)), None)
