"""The arrows between the rooms: who may import whom. `docs/architecture.md` draws them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "t2h"

# A room may import itself and the rooms of the floors below.
FLOORS = [
    ["__main__"],
    ["cli"],
    ["official"],
    ["benchmark", "classify"],
    ["training"],
    ["report", "app"],
    ["evaluation"],
    ["samples"],
    ["results"],
    ["features", "convert"],
    ["pipeline", "methods", "data", "metrics"],
    ["network"],
    ["backbones"],
    ["process", "sampling"],
    ["device", "randomness"],
    ["files"],
    ["typed"],
    ["errors", "version"],
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The rooms that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("t2h.")}
    return found & set(FLOOR)


FILES = [path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    here = room(path)
    for other in imports(path) - {here}:
        assert FLOOR[other] > FLOOR[here], f"{here} must not import {other}"


def test_methods_know_no_network_and_metrics_know_nothing_of_ours():
    for path in PACKAGE.rglob("*.py"):
        if room(path) == "methods":
            assert imports(path) <= {"methods", "process", "errors"}, path
        if room(path) == "metrics":
            assert imports(path) <= {"metrics", "errors"}, path


def test_every_room_has_a_floor():
    rooms = {room(path) for path in FILES if not path.name.startswith("_")}
    assert rooms <= set(FLOOR)


def test_importing_the_package_imports_no_torchvision_and_no_optional_package():
    code = "import sys, t2h, t2h.training, t2h.samples.draw, t2h.evaluation, t2h.report; print(' '.join(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torchvision", "datasets", "gradio", "wandb"} & set(modules)


def test_files_stay_readable():
    long = {str(path.relative_to(PACKAGE)): n for path in FILES if (n := len(path.read_text().splitlines())) > 240}
    assert not long


def test_the_repository_speaks_of_the_project_alone():
    private = re.compile(r"(?<!\w)/(home|root|work|Users)/")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".cff", ".yaml"} and path != Path(__file__):
            assert not private.search(path.read_text("utf-8")), name
