"""Claims on pieces of work, by files alone: processes on one or many machines share a folder and need no server.

A piece of work has numbered tickets, `NAME.1`, `NAME.2`, ... The newest one says who holds the claim. To claim, a
process makes the ticket after the newest, which the file system lets exactly one process do (O_EXCL). It may, where
there is no ticket, where the holder has given the newest back, or where the holder is dead: no heartbeat for a while,
or on the same machine no such process. No ticket is ever removed or renamed, so that a slow process cannot take away a
claim that was renewed behind its back.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

STALE_SECONDS = 600.0
"""Without a heartbeat for so long, a holder on another machine counts as dead. Clocks must agree better than that."""


class Claim:
    """A claim that this process holds; leaving the block gives it back.

    Args:
        ticket: its file, made by `claim`.
        beat: seconds between heartbeats.
    """

    def __init__(self, ticket: Path, beat: float) -> None:
        self.ticket = ticket
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, args=(beat,), daemon=True)

    def __enter__(self) -> Claim:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self.held():
            _write(self.ticket, "given back")

    def held(self) -> bool:
        """Whether nobody has taken over; may turn False after a pause of the process (a suspended laptop)."""
        newest = _newest(self.ticket.parent, self.ticket.stem)
        return newest == _number(self.ticket)

    def _beat(self, seconds: float) -> None:
        while not self._stop.wait(seconds):
            try:
                os.utime(self.ticket)
            except OSError:  # a file server that is away for a moment; the next beat may reach it
                continue


def claim(folder: Path, name: str, stale_seconds: float = STALE_SECONDS) -> Claim | None:
    """Claim the piece of work ``name``; None while another process holds it.

    Args:
        folder: where tickets lie; made if it is missing.
        name: of the work.
        stale_seconds: see `STALE_SECONDS`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    newest = _newest(folder, name)
    if newest and not _is_free(folder / f"{name}.{newest}", stale_seconds):
        return None
    ticket = folder / f"{name}.{newest + 1}"
    try:
        descriptor = os.open(ticket, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return None
    os.close(descriptor)
    _write(ticket, "held")
    return Claim(ticket, stale_seconds / 20)


def holder(folder: Path, name: str, stale_seconds: float = STALE_SECONDS) -> str | None:
    """Who works at it now, as "host, process 123"; None if nobody does."""
    newest = _newest(folder, name)
    ticket = folder / f"{name}.{newest}"
    if not newest or _is_free(ticket, stale_seconds):
        return None
    facts = _read(ticket)
    return f"{facts.get('host', 'unknown')}, process {facts.get('pid', 'unknown')}"


def _is_free(ticket: Path, stale_seconds: float) -> bool:
    facts = _read(ticket)
    if facts.get("state") == "given back":
        return True
    if facts.get("machine") == _machine() and not _is_alive(facts["pid"]):
        return True
    return time.time() - ticket.stat().st_mtime > stale_seconds


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _machine() -> str:
    """Where process ids mean the same: host, boot, and namespace of a container, as far as there are such things."""
    parts = [socket.gethostname()]
    for path, read in (("/proc/sys/kernel/random/boot_id", _text), ("/proc/self/ns/pid", os.readlink)):
        try:
            parts.append(read(path))
        except OSError:
            continue
    return " ".join(parts)


def _text(path: str) -> str:
    return Path(path).read_text().strip()


def _write(ticket: Path, state: str) -> None:
    facts = {"state": state, "host": socket.gethostname(), "pid": os.getpid(), "machine": _machine()}
    temporary = ticket.with_name(f".{ticket.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_text(json.dumps(facts), encoding="utf-8")
    os.replace(temporary, ticket)


def _read(ticket: Path) -> dict:
    """What a ticket says; nothing, in the moment before its maker has written it."""
    try:
        return json.loads(ticket.read_text(encoding="utf-8"))
    except ValueError:
        return {}


def _number(ticket: Path) -> int:
    return int(ticket.suffix[1:])


def _newest(folder: Path, name: str) -> int:
    """The highest ticket number; 0 where there is none."""
    prefix = f"{name}."
    numbers = [
        entry[len(prefix) :] for entry in (os.listdir(folder) if folder.is_dir() else ()) if entry.startswith(prefix)
    ]
    return max((int(number) for number in numbers if number.isdigit()), default=0)
