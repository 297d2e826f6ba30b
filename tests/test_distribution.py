"""What pip gets: the wheel and the source archive, made by the build backend itself, without a network."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_tracked_file_is_packed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = pytest.importorskip("hatchling.build")
    known = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(known, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    tracked = set(listed.stdout.splitlines())
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path))) as wheel:
        packed = set(wheel.namelist())
    assert {name for name in packed if ".dist-info/" not in name} == {
        name.removeprefix("src/") for name in tracked if name.startswith("src/")
    }
    with tarfile.open(tmp_path / build.build_sdist(str(tmp_path))) as archive:
        packed = {member.name.split("/", 1)[1] for member in archive if member.isfile()}
    hosting = {name for name in tracked if name.startswith((".ci/", ".github/"))}
    assert packed == tracked - hosting | {"PKG-INFO"}
