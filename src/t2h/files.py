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

from t2h.errors import UserError
from t2h.typed import from_yaml

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
    path = path if path.name.strip(".") else path.resolve()  # "." and ".." have no name
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
        number = error.errno if isinstance(error, OSError) else None
        if number is None and not isinstance(error, UserError) and _is_full(path.parent, error):
            number = errno.ENOSPC  # safetensors, torch.save and numpy raise errors of their own
        if number is None or getattr(error, "filename", None) not in (None, str(temporary)):
            raise
        raise OSError(number, os.strerror(number), str(path)) from error
    finally:
        _remove(temporary)


def _is_full(folder: Path, error: Exception) -> bool:
    return "No space left" in str(error) or shutil.disk_usage(folder).free < 1 << 16


def check_place(path: Path, *suffixes: str) -> Path:
    """``path``, if a file could be written there as far as can be seen without touching anything.

    Raises:
        UserError: unless its name ends in one of the suffixes, if any are given.
        OSError: if it is a folder, lies below a file, or where nothing may be written.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise UserError(f"{path}: give a name that ends in {' or '.join(suffixes)}.")
    there = next(folder for folder in path.absolute().parents if folder.exists() or folder.is_symlink())
    number = None if os.access(there, os.W_OK) else errno.EACCES
    number = errno.EISDIR if path.is_dir() else errno.ENOTDIR if not there.is_dir() else number
    if number is not None:
        raise OSError(number, os.strerror(number), str(path if path.is_dir() else there))
    check_kind(path)
    return path


def check_kind(path: Path) -> None:
    """Raise a `UserError` for a pipe or a device, which would be read without end."""
    if path.exists() and not path.is_dir() and not path.is_file():
        raise UserError(f"{path}: there is something that is neither a file nor a folder; choose another place.")


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
    write_text(path, text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all; half a surrogate pair, which UTF-8 lacks, as its code."""
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def reading(place: object, what: str, remedy: str) -> Iterator[None]:
    """Inside, whatever is wrong with a file or folder of others becomes one line: its name, why it is no ``what``, and
    what to do. Errors of the system (no such file, no permission) stay what they are.
    """
    if isinstance(place, Path):
        check_kind(place)
    try:
        yield
    except Exception as error:
        system = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)
        if system or (isinstance(error, UserError) and str(place) in str(error)):
            raise
        if isinstance(error, UserError):
            raise UserError(f"{place}: {error}") from error
        reason = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        reason = reason[:120] or type(error).__name__
        raise UserError(f"{place} is no {what}, or a damaged one ({reason}); {remedy}.") from error


def read_object(place: Path | str) -> dict[str, Any]:
    """The object in a JSON or YAML file, or in JSON text (call it inside `reading`)."""
    text = place if isinstance(place, str) else place.read_text(encoding="utf-8-sig")  # as Windows writes it
    yaml = isinstance(place, Path) and place.suffix in (".yaml", ".yml")
    found = from_yaml(text) if yaml else json.loads(text)
    if not isinstance(found, dict):
        raise TypeError("it is empty" if found is None else f"it holds a {type(found).__name__}, not named entries")
    return found


def finite(value: Any) -> float | None:
    """A value from a file as a number, None unless it is a finite one, of which sums are finite as well."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e300
    return float(value) if known else None


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
    check_kind(path)
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        with suppress(ValueError, RecursionError):
            found.append(json.loads(line))
    return [entry for entry in found if isinstance(entry, dict)]


def last_value(lines: Sequence[dict[str, Any]], key: str) -> Any:
    """The value of ``key`` in the last of the objects that has one; None if none has."""
    return next((line[key] for line in reversed(lines) if line.get(key)), None)


def plain_markdown(text: object) -> str:
    """A text of others inside Markdown: on one line, and nothing in it is markup."""
    return re.sub(r"([\\`*|<>\[\]])", r"\\\1", " ".join(str(text).split()))
