"""Kills commands anywhere, without their doing: at a moment, or just before their k-th touch of a file.

`python kill_tools.py` is a server that has everything imported and forks a process for each command: 100 kills in a
minute or two. A touch is what Python audits (opening, renaming, removing a file, making or removing a folder) below a
given folder.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status, touches of files before, seconds of processor, and what it printed."""

    status: int
    touches: int
    seconds: float
    printed: str

    @property
    def killed(self) -> bool:
        return self.status in (-signal.SIGKILL, -signal.SIGPROF)


class Killer:
    """The server, and the folder below which touches count; commands run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tests = str(Path(__file__).parent)
        env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "T2H_CACHE": str(folder / "cache")}
        env["PYTHONPATH"] = os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.server = subprocess.Popen(
            [sys.executable, __file__, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def run(self, *words: object, touch: int | None = None, seconds: float | None = None) -> Ended:
        """Run `t2h WORDS`; kill it before a touch of a file, counted from 0, or after seconds of processor."""
        assert self.server.stdin
        assert self.server.stdout
        asked = {"words": list(map(str, words)), "touch": touch, "seconds": seconds}
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        return Ended(**json.loads(self.server.stdout.readline()))

    def finish(self, *words: object) -> Ended:
        """Run it to its end."""
        ended = self.run(*words)
        assert ended.status == 0, ended.printed
        return ended

    def close(self) -> None:
        assert self.server.stdin
        self.server.stdin.close()
        self.server.wait()


def features(images: Any) -> Any:
    """A feature network that costs nothing: a few projections of the pixels."""
    import torch

    flat = images.flatten(1)
    return flat @ torch.randn(flat.shape[1], 8, generator=torch.Generator().manual_seed(0))


def _command(
    words: list[str], touch: int | None, seconds: float | None, folder: str, count: mmap.mmap, printed: Path
) -> None:
    for stream in (1, 2):
        os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event in TOUCHES and not isinstance(args[0], int) and os.path.abspath(args[0]).startswith(f"{folder}/"):
            seen = int.from_bytes(count[:8], "little")
            if seen == touch:
                os.kill(os.getpid(), signal.SIGKILL)
            count[:8] = (seen + 1).to_bytes(8, "little")

    sys.addaudithook(audit)
    if seconds is not None:
        signal.setitimer(signal.ITIMER_PROF, max(seconds, 1e-6))  # its signal ends a process as SIGKILL does
    from t2h.cli import main

    status = 99
    try:
        status = main(words)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _serve(folder: Path) -> None:
    import sklearn.datasets
    import torch
    from diffusers import UNet2DModel  # noqa: F401

    import t2h.cli.benchmark
    import t2h.cli.evaluate
    import t2h.cli.sample
    import t2h.cli.train
    import t2h.evaluation.curve
    import t2h.evaluation.reference
    import t2h.samples.store
    import t2h.training  # noqa: F401

    torch.set_num_threads(1)
    sklearn.datasets.load_digits()
    os.chdir(folder)
    for line in sys.stdin:
        asked = json.loads(line)
        count, printed = mmap.mmap(-1, 8), folder.with_name(f"printed{os.getpid()}.txt")
        printed.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            _command(asked["words"], asked["touch"], asked["seconds"], str(folder), count, printed)
        _, status, used = os.wait4(pid, 0)
        ended = {"status": os.waitstatus_to_exitcode(status), "touches": int.from_bytes(count[:8], "little")}
        ended |= {"seconds": used.ru_utime + used.ru_stime, "printed": printed.read_text() if printed.exists() else ""}
        print(json.dumps(ended), flush=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
