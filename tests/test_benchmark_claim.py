"""Of many processes that want a piece of work, exactly one gets it; the dead lose it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from filelock import Timeout

from t2h.benchmark.run import BenchmarkFolder

FORK = multiprocessing.get_context("fork")
RACERS, ROUNDS = 6, 15


def claim(folder: Path, name: str):
    """The lock if it is free; None if another holds it."""
    try:
        return BenchmarkFolder(folder).lock(name).acquire(timeout=0)
    except Timeout:
        return None


def _race(folder: Path, barrier, wins) -> None:
    for number in range(ROUNDS):
        barrier.wait(30)
        won = claim(folder, f"work-{number}")
        barrier.wait(30)  # nobody leaves before all have tried: the dead lose their claims
        if won is not None:
            wins.put((number, os.getpid()))


def test_exactly_one_process_wins_every_race(tmp_path):
    barrier, wins = FORK.Barrier(RACERS), FORK.Queue()
    processes = [FORK.Process(target=_race, args=(tmp_path, barrier, wins)) for _ in range(RACERS)]
    for process in processes:
        process.start()
    won = sorted(wins.get(timeout=60)[0] for _ in range(ROUNDS))
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert wins.empty()
    assert won == list(range(ROUNDS))


def test_a_claim_is_held_until_it_is_given_back(tmp_path):
    first = claim(tmp_path, "data/a.b")
    assert first is not None
    with first:
        assert claim(tmp_path, "data/a.b") is None
        assert claim(tmp_path, "data/a") is not None  # another name, though it begins alike
    assert claim(tmp_path, "data/a.b") is not None


def test_a_claim_is_given_back_when_the_work_fails(tmp_path):
    with pytest.raises(RuntimeError), claim(tmp_path, "work"):
        raise RuntimeError
    assert claim(tmp_path, "work") is not None


def _hold(folder: Path, held) -> None:
    with BenchmarkFolder(folder).lock("work"):
        held.set()
        time.sleep(60)


def test_a_killed_process_loses_its_claim_at_once(tmp_path):
    held = FORK.Event()
    process = FORK.Process(target=_hold, args=(tmp_path, held))
    process.start()
    assert held.wait(30)
    assert claim(tmp_path, "work") is None
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    assert claim(tmp_path, "work") is not None
