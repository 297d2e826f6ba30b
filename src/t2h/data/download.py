"""Fetching files on request: named, sized, resumed, checked, and put in place in one step."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from t2h.errors import UserError

_BLOCK = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file on the web, and what it must be."""

    url: str
    size: int
    """In bytes."""
    checksum: str
    """Its md5 or sha256, in hexadecimal digits."""

    @property
    def algorithm(self) -> str:
        """The name of the checksum."""
        return "md5" if len(self.checksum) == 32 else "sha256"

    @property
    def filename(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[1]


def missing(data: str, what: str, root: Path, remotes: Sequence[RemoteFile]) -> UserError:
    """The error for data that is not there, with where to get it."""
    total = sum(remote.size for remote in remotes) / 1e6
    where = remotes[0].url if len(remotes) == 1 else remotes[0].url.rsplit("/", 1)[0] + "/"
    return UserError(
        f"{data}: no {what} in {root}; give the directory that holds it as root (--root DIR), or add download "
        f"(--download), which fetches {total:.0f} MB from {where} into {root}."
    )


def download(remote: RemoteFile, target: Path, timeout: float = 30.0) -> None:
    """Fetch a file, with a progress bar, to ``target``, which appears only when it is whole and right.

    What has come so far stays in ``target``.part and is continued by the next call. Of several processes (and machines,
    if their file system has locks) one fetches and the rest wait for it.

    Raises:
        UserError: if the address cannot be reached, the transfer breaks off, or its size or checksum are others.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    with FileLock(lock):
        try:
            if not (target.is_file() and target.stat().st_size == remote.size):
                _download(remote, target, timeout)
        finally:
            with suppress(OSError):  # Windows keeps what is open
                lock.unlink()


def _download(remote: RemoteFile, target: Path, timeout: float) -> None:
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    if have > remote.size:
        part.unlink()
        have = 0
    try:
        if have < remote.size:
            _fetch(remote, part, have, timeout)
    except urllib.error.HTTPError as error:
        raise UserError(f"{remote.url}: the server answers {error.code} {error.reason}.") from error
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{remote.url}: {reason}; run the same again to continue, or fetch it by hand.") from error
    got = part.stat().st_size
    if got < remote.size:
        raise UserError(f"{remote.url}: broke off after {got:,} of {remote.size:,} bytes; run the same again.")
    with part.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(remote.algorithm, usedforsecurity=False)).hexdigest()
    if got > remote.size or found != remote.checksum:
        part.unlink()
        raise UserError(
            f"{remote.url}: got {got:,} bytes with {remote.algorithm} {found}, expected {remote.size:,} with "
            f"{remote.checksum}; nothing was kept. Run the same again, or fetch it by hand."
        )
    os.replace(part, target)


def _fetch(remote: RemoteFile, part: Path, have: int, timeout: float) -> None:
    headers = {"User-Agent": "t2h", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=timeout) as response:
        # A server may send the whole file instead of what is missing.
        there = response.headers.get("Content-Range", "")
        resumed = response.status == 206 and there.startswith(f"bytes {have}-")
        start = have if resumed else 0
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(desc=remote.url, total=remote.size, initial=start, unit="B", unit_scale=True, disable=None) as bar,
        ):
            # One byte more than there should be tells a file that is too long, whatever its length.
            while file.tell() <= remote.size and (block := response.read(_BLOCK)):
                file.write(block)
                bar.update(len(block))
