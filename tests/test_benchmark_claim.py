"""Of many processes that want a piece of work, exactly one gets it; the dead and the silent lose it."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from t2h.benchmark.claim import claim, holder

FORK = multiprocessing.get_context("fork")
RACERS, ROUNDS = 6, 15


def _race(folder: Path, barrier, wins) -> None:
    for number in range(ROUNDS):
        barrier.wait(30)
        won = claim(folder, f"work-{number}")
        barrier.wait(30)  # nobody leaves before all have tried: the dead lose their claims
        if won is not None:
            wins.put((number, os.getpid()))


def _racing(folder: Path) -> list[int]:
    barrier, wins = FORK.Barrier(RACERS), FORK.Queue()
    processes = [FORK.Process(target=_race, args=(folder, barrier, wins)) for _ in range(RACERS)]
    for process in processes:
        process.start()
    won = sorted(wins.get(timeout=60)[0] for _ in range(ROUNDS))
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    assert wins.empty()
    return won


def test_exactly_one_process_wins_every_race(tmp_path):
    assert _racing(tmp_path) == list(range(ROUNDS))


def test_exactly_one_process_takes_over_each_stale_claim(tmp_path):
    for number in range(ROUNDS):
        stale(tmp_path, f"work-{number}")
    assert _racing(tmp_path) == list(range(ROUNDS))


def stale(folder: Path, name: str, age: float = 3600, **facts: object) -> Path:
    """A ticket of a holder on another machine, last heard of ``age`` seconds ago."""
    assert claim(folder, name)
    ticket = max(folder.glob(f"{name}.*"))
    ticket.write_text(json.dumps({"state": "held", "host": "far", "pid": 1, "machine": "far", **facts}))
    os.utime(ticket, (time.time() - age, time.time() - age))
    return ticket


def test_a_claim_is_held_until_it_is_given_back(tmp_path):
    first = claim(tmp_path, "a.b")
    assert first is not None
    with first:
        assert claim(tmp_path, "a.b") is None
        assert claim(tmp_path, "a") is not None  # another name, though it begins alike
        assert holder(tmp_path, "a.b").endswith(f"process {os.getpid()}")
        assert first.held()
    assert holder(tmp_path, "a.b") is None
    assert claim(tmp_path, "a.b") is not None


def test_a_claim_is_given_back_when_the_work_fails(tmp_path):
    with pytest.raises(RuntimeError), claim(tmp_path, "work"):
        raise RuntimeError
    assert claim(tmp_path, "work") is not None


def test_a_silent_holder_elsewhere_loses_its_claim_and_a_living_one_does_not(tmp_path):
    stale(tmp_path, "silent", age=700)
    assert claim(tmp_path, "silent") is not None
    stale(tmp_path, "living", age=500)
    assert claim(tmp_path, "living") is None


def test_a_dead_process_of_this_machine_loses_its_claim_at_once(tmp_path):
    process = FORK.Process(target=claim, args=(tmp_path, "work"))
    process.start()
    process.join(30)
    assert holder(tmp_path, "work") is None
    assert claim(tmp_path, "work") is not None


def test_the_heartbeat_keeps_a_claim_and_a_lost_one_stays_with_its_new_holder(tmp_path):
    with claim(tmp_path, "work", stale_seconds=1.0) as mine:
        time.sleep(1.3)
        assert claim(tmp_path, "work", stale_seconds=1.0) is None
    with claim(tmp_path, "lost") as mine:  # a laptop slept: no heartbeat came through
        os.utime(mine.ticket, (0, 0))
        ticket = json.loads(mine.ticket.read_text())
        mine.ticket.write_text(json.dumps(ticket | {"machine": "far"}))
        os.utime(mine.ticket, (0, 0))
        other = claim(tmp_path, "lost")
        assert other is not None
        assert not mine.held()
    assert other.held()
    assert claim(tmp_path, "lost") is None


def test_a_ticket_that_is_not_written_yet_counts_as_held(tmp_path):
    (tmp_path / "work.1").touch()
    assert claim(tmp_path, "work") is None
