"""Writing is whole or not at all: whoever is killed, wherever, and whatever fills the disk."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from t2h.errors import one_line
from t2h.files import recover, replaced


def run(code: str, *args: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)], capture_output=True, text=True, timeout=120
    )


def write_folder(path: Path, text: str) -> None:
    with replaced(path) as folder:
        folder.mkdir()
        (folder / "text").write_text(text)


KILLED = """
    import os, sys
    from pathlib import Path
    from t2h.files import replaced

    calls, rename = 0, Path.rename

    def killed(self, target):
        global calls
        if calls == int(sys.argv[2]):
            os._exit(9)
        calls += 1
        return rename(self, target)

    Path.rename = killed
    with replaced(Path(sys.argv[1])) as folder:
        folder.mkdir()
        (folder / "text").write_text("new")
"""


@pytest.mark.parametrize(("renames", "expected"), [(0, "old"), (1, "old"), (2, "new")])
def test_a_folder_is_whole_wherever_the_process_that_replaces_it_is_killed(tmp_path, renames, expected):
    folder = tmp_path / "pipeline"
    write_folder(folder, "old")
    assert run(KILLED, folder, renames).returncode == 9
    assert folder.exists() == (renames != 1)
    assert (recover(folder) / "text").read_text() == expected
    write_folder(folder, "newer")
    assert (folder / "text").read_text() == "newer"
    assert not list(tmp_path.glob("*.old"))


def test_a_killed_replacement_of_a_folder_is_followed_by_another(tmp_path):
    """Nobody has read in between, so the old folder has its other name still."""
    folder = tmp_path / "pipeline"
    write_folder(folder, "old")
    run(KILLED, folder, 1)
    assert run(KILLED, folder, 0).returncode == 9  # killed again, before anything is in place
    assert (recover(folder) / "text").read_text() == "old"
    run(KILLED, folder, 1)
    write_folder(folder, "new")
    assert (folder / "text").read_text() == "new"


def test_a_reader_may_bring_the_old_folder_back_while_it_is_replaced(tmp_path, monkeypatch):
    folder, rename = tmp_path / "pipeline", Path.rename
    write_folder(folder, "old")

    def with_reader(self, target):
        result = rename(self, target)
        if self == folder and not read:
            read.append((recover(folder) / "text").read_text())
        return result

    read: list[str] = []
    monkeypatch.setattr(Path, "rename", with_reader)
    write_folder(folder, "new")
    assert read == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline"]
    assert (folder / "text").read_text() == "new"


def test_what_is_not_there_is_not_recovered(tmp_path):
    assert not recover(tmp_path / "nothing").exists()


def test_two_processes_of_one_number_do_not_meet(tmp_path):
    """Containers number their processes alike."""
    with replaced(tmp_path / "file") as first, replaced(tmp_path / "file") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "file").read_text() == "first"


def test_what_killed_processes_left_is_removed_when_it_is_old(tmp_path):
    old = [tmp_path / ".step_00000010.pt.4711.tmp", tmp_path / ".step_00000020.pt.0123abcd.tmp"]
    folder = tmp_path / ".pipeline.0123abce.tmp"
    others = [tmp_path / ".step_00000030.pt.0123abcf.tmp", tmp_path / ".vimrc.tmp", tmp_path / "notes.123.tmp"]
    folder.mkdir()
    for path in (*old, folder / "weights", *others):
        path.write_bytes(b"half")
    for path in (*old, folder, *others[1:]):
        os.utime(path, (time.time() - 4000,) * 2)
    with replaced(tmp_path / "file") as file:
        file.write_text("new")
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "file"])


FULL = """
    import sys, pathlib
    from t2h.errors import exit_status
    from t2h.files import replaced

    def by_python(path):
        path.write_bytes(bytes(3 << 20))

    def by_torch(path):
        import torch
        torch.save({"weights": torch.zeros(1 << 20)}, path)

    def by_safetensors(path):
        import numpy as np
        from t2h.features.cache import write_safely
        write_safely(pathlib.Path(sys.argv[1]), {"weights": np.zeros(1 << 20)})

    def write():
        with replaced(pathlib.Path(sys.argv[1])) as path:
            globals()[sys.argv[2]](path)

    sys.exit(exit_status("t2h", write))
"""


@pytest.mark.parametrize("writer", ["by_python", "by_torch", "by_safetensors"])
def test_a_full_disk_is_named_and_what_was_there_stays(tmp_path, writer):
    mounted = (
        "mount -t tmpfs -o size=1m tmpfs {0} && echo old > {0}/file && {1}; status=$?; ls -A {0} >&2; exit $status"
    )
    command = f'"{sys.executable}" -c "$CODE" {tmp_path}/file {writer} && cat {tmp_path}/file'
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mounted.format(tmp_path, command)],
        env={**os.environ, "CODE": textwrap.dedent(FULL)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "unshare" in ran.stderr or "mount" in ran.stderr:
        pytest.skip("this machine lets nobody mount a small disk")
    assert ran.returncode == 2
    line, *names = ran.stderr.splitlines()
    assert line.startswith(f"t2h: {tmp_path}/file: the disk is full; what was there before is unchanged.")
    assert names == ["file"]


def raised(number: int) -> None:
    raise OSError(number, os.strerror(number), "place")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda at: (at / "no" / "file").read_text(), r".*/no/file: no such file or directory\."),
        (lambda at: at.read_text(), r".*: there is a folder where a file is needed; choose another place\."),
        (
            lambda at: (at / "f" / "x").mkdir(parents=True),
            r".*/f/x: there is a file where a folder is needed; choose another place\.",
        ),
        (lambda at: Path("/dev/full").write_text("x"), r"the disk is full; .*"),
        (lambda at: raised(errno.EACCES), r"place: permission denied; choose a place that you may read and write\."),
        (lambda at: raised(errno.EROFS), r"place: the file system is read-only; .*"),
        (lambda at: raised(errno.ELOOP), r"place: too many levels of symbolic links\."),
        (lambda at: (_ for _ in ()).throw(OSError("the Hub is away")), r"the Hub is away"),
    ],
)
def test_the_systems_errors_in_words(tmp_path, make, says):
    (tmp_path / "f").write_text("")
    with pytest.raises(OSError) as caught:  # noqa: PT011
        make(tmp_path)
    assert re.fullmatch(says, one_line(caught.value))
