"""Time in a running training: when it saves between its steps, and how fast it is."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from typing import Any, Literal

import torch
from accelerate import Accelerator

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")  # Ctrl-C, kill, a closed terminal


class Watch:
    """Says when to save: every ``minutes`` (0: never), and at once when a signal asks to stop.

    The main process counts the minutes; all processes agree after every step.
    """

    def __init__(self, accelerator: Accelerator, minutes: float) -> None:
        self.accelerator, self.minutes = accelerator, minutes
        self.signal: int | None = None
        self._saved = time.monotonic()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Watch:
        with contextlib.suppress(ValueError):  # not in the main thread: nobody sends signals here
            for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
                # nohup has SIGHUP ignored
                if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: object) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: leave at once
        self.signal = number
        if number not in (signal.SIGINT, signal.SIGTERM):
            _leave_terminal()
        self._say()

    def _say(self) -> None:
        if self.accelerator.is_main_process:
            with contextlib.suppress(OSError):  # print may not be called in the middle of a print
                os.write(2, b"\nt2h: saving, then leaving; Ctrl-C again leaves at once.\n")

    def asked(self) -> Literal["stop", "save"] | None:
        """Whether to stop or to save after this step: the same answer in all processes."""
        minutes = (time.monotonic() - self._saved) / 60
        due = bool(self.minutes) and self.accelerator.is_main_process and minutes >= self.minutes
        wishes = torch.tensor([[self.signal or 0, int(due)]])
        if self.accelerator.num_processes > 1:
            wishes = self.accelerator.gather(wishes.to(self.accelerator.device))
        number, save = wishes.amax(dim=0).tolist()
        if number and self.signal is None:  # another process was asked
            self._say()
            self.signal = number
        if save:
            self._saved = time.monotonic()
        return "stop" if number else "save" if save else None


class Clock:
    """Seconds of training, earlier calls included, and images per second since the last reading."""

    def __init__(self, images_seen: int, lines: list[dict[str, Any]]) -> None:
        before = next((line["seconds"] for line in reversed(lines) if "seconds" in line), 0.0)
        self.start = time.perf_counter() - before
        self.last = time.perf_counter(), images_seen

    def read(self, images_seen: int) -> dict[str, float]:
        now = time.perf_counter()
        rate = (images_seen - self.last[1]) / (now - self.last[0])
        self.last = now, images_seen
        return {"images_per_second": round(rate, 1), "seconds": round(now - self.start, 2)}


def _leave_terminal() -> None:
    """What is printed to a closed terminal would be an error before the checkpoint is written."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)
