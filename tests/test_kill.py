"""`kill -9` anywhere: the same command goes on, and the end is that of the run that nobody killed, to the last bit."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from kill_tools import Killer
from objective_tools import NETWORK
from t2h.pipeline.read import read_checkpoint
from t2h.training.run import RunFolder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

TRAIN = ["train", "--network", "network.json", "--batch-size", "4", "--imbalance", "0.1", "--device", "cpu"]
TRAIN += ["--log-every", "2", "--grid-every", "None", "--objective", "t2h", "--sampling.steps", "2"]


@pytest.fixture(scope="module")
def killer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    folder = tmp_path_factory.mktemp("kill")
    (folder / "network.json").write_text(json.dumps(NETWORK))
    killer = Killer(folder)
    yield killer
    killer.close()


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def metrics(folder: RunFolder) -> list[dict[str, Any]]:
    timed = ("seconds", "images_per_second")
    lines = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in timed} for line in lines]


def assert_same_run(a: Path, b: Path) -> None:
    """Weights, average, optimiser, counts, pipeline, metrics; and nothing is left of the kills."""
    one, two = RunFolder(a), RunFolder(b)
    assert [file.name for file in one.checkpoints().values()] == [file.name for file in two.checkpoints().values()]
    for step, file in one.checkpoints().items():
        assert equal(read_checkpoint(file), read_checkpoint(two.checkpoints()[step]))
    assert metrics(one) == metrics(two)
    for name in ("config.yaml", "classes.json"):
        assert (a / name).read_bytes() == (b / name).read_bytes()
    for file in (a / "pipeline").rglob("*.*"):
        assert file.read_bytes() == (b / file.relative_to(a)).read_bytes(), file
    left = [path for path in b.rglob("*") if path.name.endswith((".tmp", ".old"))]
    assert not left


def training(steps: int, save_every: int) -> list[object]:
    return [*TRAIN, "--steps", steps, "--save-every", save_every, "--out"]


def test_three_kills_of_a_training(killer):
    words = training(6, 2)
    whole = killer.finish(*words, "whole")
    assert killer.run(*words, "run", touch=whole.touches // 2).killed
    assert killer.run(*words, "run", touch=whole.touches // 3).killed
    assert killer.run(*words, "run", seconds=whole.seconds / 2).killed
    killer.finish(*words, "run")
    assert_same_run(killer.folder / "whole", killer.folder / "run")


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_training_that_is_killed_at_every_touch_of_a_file(killer):
    """Before and after everything that is done inside the writing of configuration, checkpoint and pipeline folder."""
    words = training(4, 2)
    whole = killer.finish(*words, "touched")
    for touch in range(whole.touches):
        out = f"touched{touch}"
        assert killer.run(*words, out, touch=touch).killed
        killer.finish(*words, out)
        assert_same_run(killer.folder / "touched", killer.folder / out)
    print(f"{whole.touches} kills at touches of files")


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", [0, 1])
def test_twenty_five_kills_of_trainings_at_random_moments(killer, seed):
    """It saves after each step, by minutes, so much of the time is spent in writing."""
    words = [*training(20, 5)[:-1], "--checkpoint-minutes", "0.0001", "--out"]
    draw, kills, runs = random.Random(seed), 0, 0
    whole = killer.finish(*words, f"timed{seed}")
    while kills < 25:
        runs += 1
        out = f"timed{seed}-{runs}"
        while killer.run(*words, out, seconds=draw.uniform(0, whole.seconds)).killed:
            kills += 1
        killer.finish(*words, out)
        assert_same_run(killer.folder / f"timed{seed}", killer.folder / out)
    print(f"{kills} kills at random moments of {runs} trainings")


def content(path: Path) -> Any:
    """Of what a command writes, without the time it took."""
    if path.is_dir():
        return {str(file.relative_to(path)): content(file) for file in path.rglob("*") if file.is_file()}
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tolist() for name in arrays.files}
    if path.suffix == ".safetensors":  # the order of whose metadata is another each time
        with safe_open(path, "numpy") as file:
            return file.metadata(), {name: file.get_tensor(name).tolist() for name in file.keys()}  # noqa: SIM118
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    return path.read_bytes()


def _timeless(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _timeless(value) for key, value in tree.items() if key not in ("seconds", "created")}
    return [_timeless(value) for value in tree] if isinstance(tree, list) else tree


FEATURES = ["--features", "kill_tools:features", "--device", "cpu"]
COMMANDS = {
    "samples in a folder": ["sample", "judged", "--per-class", 2, "--batch-size", 4, "--out", "OUT"],
    "samples in a file": ["sample", "judged", "--per-class", 2, "--batch-size", 4, "--out", "OUT.npz"],
    "reference": ["reference", "--data", "digits", "--out", "OUT.safetensors", *FEATURES],
    "result": ["evaluate", "judged", "--reference", "ref.safetensors", "--w", 0, 1, "--per-class", 2,
               "--metrics", "fid", "kid", "--out", "OUT.json", *FEATURES],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_are_killed_at_every_touch_of_a_file_and_at_random(killer, name):
    killer.finish(*training(2, 0), "judged")
    killer.finish("reference", "--data", "digits", "--out", "ref.safetensors", *FEATURES)

    def words(out: str) -> list[object]:
        return [str(word).replace("OUT", out) for word in COMMANDS[name]]

    out = next(word for word in words("x") if str(word).startswith("x")).removeprefix("x")
    tag = name.replace(" ", "_")
    whole = killer.finish(*words(tag))
    draw = random.Random(0)
    for k in range(whole.touches + 10):
        at = {"touch": k} if k < whole.touches else {"seconds": draw.uniform(0, whole.seconds)}
        killed = killer.run(*words(f"{tag}{k}"), **at).killed
        assert killed or k >= whole.touches
        killer.finish(*words(f"{tag}{k}"))
        assert content(killer.folder / f"{tag}{k}{out}") == content(killer.folder / f"{tag}{out}")
    print(f"{whole.touches + 10} kills of {name}")


PLAN = {
    "data": {"digits": {"data": "digits"}},
    "imbalance": [0.1],
    "seeds": [0, 1],
    "base": {
        "network": {"network": "network.json"},
        "learning": {"steps": 6, "batch_size": 4},
        "machine": {"save_every": 2, "keep": 1, "grid_every": None, "log_every": 1},
    },
    "methods": {"ddpm": {"objective": "ddpm"}, "t2h": {"objective": "t2h"}},
    "evaluation": {"features": "kill_tools:features", "w": [0.0], "per_class": 2, "steps": 2, "metrics": ["fid"]},
}


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_benchmark_of_two_processes_that_are_killed(killer):
    """Each of the two is killed five times; one takes over what the other has begun."""
    (killer.folder / "plan.yaml").write_text(json.dumps(PLAN))
    words = ["benchmark", "plan.yaml", "--device", "cpu", "--quiet", "--out"]
    whole = killer.finish(*words, "bench")

    def work(one: Killer, seed: int) -> int:
        draw = random.Random(seed)
        return sum(one.run(*words, "both", seconds=draw.uniform(0, whole.seconds / 2)).killed for _ in range(5))

    with contextlib.closing(Killer(killer.folder)) as other, ThreadPoolExecutor(2) as threads:
        kills = sum(threads.map(work, (killer, other), (1, 2)))
    killer.finish(*words, "both")
    cells = [file.relative_to(killer.folder / "bench") for file in (killer.folder / "bench").rglob("benchmark.json")]
    assert len(cells) == 5
    for name in cells:
        assert content(killer.folder / "both" / name) == content(killer.folder / "bench" / name), name
    print(f"{kills} kills of a benchmark")
