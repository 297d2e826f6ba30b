"""A plan runs to its end, alone or shared; a failed cell stops nobody, and what is done is not done again."""

from __future__ import annotations

import json
import math
import multiprocessing
from pathlib import Path

import pytest
import yaml

from t2h import UserError
from t2h.benchmark import run as run_module
from t2h.benchmark.plan import parse_plan
from t2h.benchmark.run import BenchmarkFolder, run, state_of
from t2h.benchmark.write import write_all
from t2h.cli import main
from t2h.results.result import read_result
from t2h.training import loop
from t2h.training.draw import draw_batch
from t2h.training.run import RunFolder

PLAN = {
    "data": {"digits": {"data": "digits"}},
    "imbalance": [0.1],
    "seeds": [0, 1],
    "base": {
        "learning": {"steps": 2, "batch_size": 8, "warmup_steps": 1, "ema_decay": 0.5},
        "machine": {"save_every": 0, "keep": 1, "grid_every": None, "log_every": 1},
    },
    "methods": {"ddpm": {"objective": "ddpm"}, "t2h": {"objective": "t2h"}},
    "evaluation": {"features": "classifier", "w": [1.5], "per_class": 4, "steps": 2, "metrics": ["fid", "accuracy"]},
}


@pytest.fixture(autouse=True)
def cached(tmp_path_factory, monkeypatch):
    """The classifier of the reference is trained once for all tests."""
    monkeypatch.setenv("T2H_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def plan(**changes: object):
    return parse_plan(yaml.safe_dump(PLAN | changes), "tiny")


def do(out: Path, the_plan=None, **options: bool):
    the_plan = the_plan or plan()
    said: list[str] = []
    place = BenchmarkFolder(out, "cpu", progress=False)
    outcome = run(the_plan, the_plan.cells(device="cpu"), place, say=said.append, **options)
    return outcome, said


def stamps(out: Path) -> dict[str, int]:
    files = [path for path in out.rglob("*") if path.is_file() and ".claims" not in path.parts]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in files}


def test_the_command_from_plan_to_page_and_again(tmp_path, capsys):
    file, out = tmp_path / "tiny.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(PLAN))
    command = ["benchmark", str(file), "--out", str(out), "--device", "cpu", "--quiet"]
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "cells    4, of which 0 are done" in shown
    assert "images   16 seen in each cell" in shown
    assert not out.exists()
    assert main([*command, "--table-only"]) == 2
    assert "holds no results of plan tiny yet" in capsys.readouterr().err

    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "paired difference to ddpm" in shown
    assert "too few seeds" in shown
    content = json.loads((out / "benchmark.json").read_text())
    assert [cell["state"] for cell in content["cells"]] == ["done"] * 4
    results = {(cell["method"], cell["seed"]): read_result(out / cell["result"]) for cell in content["cells"]}
    for seed in (0, 1):  # paired: as many images, and the samples' seed is the run's
        a, b = results["ddpm", seed], results["t2h", seed]
        assert a.run["images_seen"] == b.run["images_seen"] == 16
        assert a.protocol["sampler"]["seed"] == b.protocol["sampler"]["seed"] == seed
        assert a.run["weights_sha256"] != b.run["weights_sha256"]
    fids = [[results[m, s].points[0].metrics["fid"].value for s in (0, 1)] for m in ("ddpm", "t2h")]
    t2h = next(row for row in content["tables"][0]["rows"] if row["method"] == "t2h")
    fid = t2h["metrics"][0]
    assert fid["mean"] == pytest.approx(sum(fids[1]) / 2)
    assert fid["difference"]["mean"] == pytest.approx((sum(fids[1]) - sum(fids[0])) / 2)
    for cell in content["cells"]:
        (point,) = cell["points"]
        assert point["w"] == 1.5
        assert point["fid"] == results[cell["method"], cell["seed"]].points[0].metrics["fid"].value
        assert "accuracy" in point
    counted = [RunFolder(out / f"digits-0.1/t2h/seed{s}").metrics()[-1]["transfer"] for s in (0, 1)]
    (transfer,) = content["tables"][0]["transfers"]
    assert transfer["method"] == "t2h"
    assert sum(transfer["total"]) == 2 * 16
    for name in ("within", "across"):
        both = [sum(pair) for pair in zip(*(c[f"{name}_class"] for c in counted), strict=True)]
        assert transfer[name] == pytest.approx(both)
    assert (out / "digits-0.1" / "report.html").exists()
    page = (out / "benchmark.html").read_text()
    assert "At w = 1.5: mean ± standard deviation" in page
    assert 'href="digits-0.1/report.html"' in page
    assert "Targets from another class" in page

    before = stamps(out)
    assert main([*command, "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("data,point,method")
    changed = {name for name, stamp in stamps(out).items() if before.get(name) != stamp}
    assert changed == {"benchmark.json", "benchmark.html", "digits-0.1/report.html"}


def test_a_w_for_each_class(tmp_path):
    """Asked for later, it is chosen among the points, and nothing is trained or judged again."""
    curve = PLAN["evaluation"] | {"w": [0.0, 1.5], "metrics": ["fid"]}
    assert do(tmp_path, plan(evaluation=curve, seeds=[0]))[0].done == 2
    before = stamps(tmp_path)
    chosen = plan(evaluation=curve | {"w_per": "class"}, seeds=[0])
    place = BenchmarkFolder(tmp_path, "cpu", progress=False)
    assert {state_of(cell, chosen, place) for cell in chosen.cells(device="cpu")} == {"begun"}
    assert do(tmp_path, chosen)[0].done == 2
    after = stamps(tmp_path)
    assert not {name for name in before if name.endswith(".safetensors") and before[name] != after[name]}
    result = read_result(tmp_path / "digits-0.1/t2h/seed0/results/benchmark.json")
    assert set(result.choice.w_table.values()) <= {0.0, 1.5}
    assert "with a w for each class" in write_all(chosen, chosen.cells(device="cpu"), place)


def test_a_failed_cell_is_told_and_stops_nobody_and_is_retried_on_request(tmp_path, monkeypatch):
    real, out = run_module.evaluate_run, tmp_path / "out"

    def broken(run_folder, *args, **options):
        if "ddpm/seed0" in str(run_folder):
            raise RuntimeError("out of memory")
        return real(run_folder, *args, **options)

    monkeypatch.setattr(run_module, "evaluate_run", broken)
    outcome, said = do(out)
    assert (outcome.done, [cell.name for cell in outcome.failed]) == (3, ["digits-0.1/ddpm/seed0"])
    assert said[0] == "digits-0.1/ddpm/seed0  FAILED: RuntimeError: out of memory"
    failed = out / "digits-0.1/ddpm/seed0/failed.txt"
    assert "Traceback" in failed.read_text()
    place = BenchmarkFolder(out, "cpu", progress=False)
    assert "no result yet" not in write_all(plan(), plan().cells(), place)
    content = json.loads((out / "benchmark.json").read_text())
    assert content["cells"][0]["state"] == "failed"
    assert content["cells"][0]["reason"].endswith("out of memory\n")

    assert do(out)[1] == []  # not again without being asked
    monkeypatch.setattr(run_module, "evaluate_run", real)
    checkpoint = next((out / "digits-0.1/ddpm/seed0/checkpoints").iterdir())
    trained = checkpoint.stat().st_mtime_ns
    outcome, said = do(out, retry=True)
    assert (outcome.done, outcome.failed, len(said)) == (4, (), 1)
    assert checkpoint.stat().st_mtime_ns == trained  # the training was not lost
    assert not failed.exists()


def test_a_diverged_training_is_a_failure_and_no_figure(tmp_path, monkeypatch):
    def spoilt(training, x0, y, part=0):
        batch = draw_batch(training, x0, y, part)
        batch.xt.fill_(math.nan)
        return batch

    monkeypatch.setattr(loop, "draw_batch", spoilt)
    longer = PLAN["base"] | {"learning": PLAN["base"]["learning"] | {"steps": 12}}
    outcome, said = do(tmp_path, plan(base=longer, methods={"ddpm": {"objective": "ddpm"}}, seeds=[0]))
    assert outcome.done == 0
    assert "FAILED" in said[0]


def test_what_others_work_at_is_left_to_them(tmp_path):
    cells = plan().cells()
    with BenchmarkFolder(tmp_path).lock("digits-0.1/ddpm/seed0"):
        outcome, said = do(tmp_path)
    assert (outcome.done, outcome.elsewhere) == (3, 1)
    assert not any("ddpm/seed0" in line for line in said)
    assert state_of(cells[0], plan(), BenchmarkFolder(tmp_path)) == "to do"
    assert do(tmp_path)[0].done == 4


def _share(out: Path, lines) -> None:
    outcome, said = do(out)
    lines.put((outcome.done, said))


def test_two_processes_share_a_plan_and_do_nothing_twice(tmp_path):
    context = multiprocessing.get_context("fork")
    lines = context.Queue()
    processes = [context.Process(target=_share, args=(tmp_path, lines)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [lines.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(30)
    finished = [line.split()[0] for _, said in found for line in said]
    assert sorted(finished) == sorted(cell.name for cell in plan().cells())
    assert max(done for done, _ in found) == 4


def test_a_folder_of_another_plan_is_refused_before_anything_begins(tmp_path):
    do(tmp_path, plan(seeds=[0], methods={"ddpm": {"objective": "ddpm"}}))
    before = stamps(tmp_path)
    longer = {"learning": PLAN["base"]["learning"] | {"steps": 3}, "machine": PLAN["base"]["machine"]}
    with pytest.raises(UserError, match="another configuration"):
        do(tmp_path, plan(base=longer))
    assert stamps(tmp_path) == before
    assert do(tmp_path, plan(seeds=[0]))[1][0].startswith("digits-0.1/t2h/seed0  finished")  # a method more: welcome
