"""How trainings stand, from their files: running, finished and damaged."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from t2h.cli import main
from t2h.report.watch import Progress, progress_page, progress_table, read_all

STEPS = 1000


def make(folder: Path, last: int, age: float = 0.0, transfer: bool = False) -> Path:
    """A run of 1,000 steps of 10 images that has come to step ``last``, with 50 images/s and a loss of 1 / step."""
    (folder / "grids").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"learning:\n  steps: {STEPS}\n  batch_size: 10\n")
    (folder / "classes.json").write_text('{"class_names": ["a", "b"], "class_counts": [20, 2]}')
    lines = []
    for step in range(10, last + 1, 10):
        line = {"step": step, "images_seen": 10 * step, "loss": 1 / step, "mse": 0.8 / step, "pull": 0.2 / step}
        line |= {"lr": 1e-3, "grad_norm": 0.5, "images_per_second": 50.0, "seconds": step / 5, "skipped": 3}
        counts = {"t_edges": [0, 1, 2, 3], "total": [10] * 3, "within_class": [0, 1, 2], "across_class": [0, 0, 3]}
        lines.append(json.dumps(line | ({"transfer": counts} if transfer else {})))
    file = folder / "metrics.jsonl"
    file.write_text("\n".join(lines) + "\n")
    os.utime(file, (time.time() - age, time.time() - age))
    for step in range(100, last + 1, 100):
        Image.new("RGB", (64, 32), (step // 4, 0, 0)).save(folder / "grids" / f"step_{step:08d}.png")
    return folder


def rows(*folders: Path) -> dict[str, list[str]]:
    return {row[0]: row[1:] for row in progress_table(read_all(folders)).texts[1:]}


def test_running_stopped_and_finished(tmp_path: Path) -> None:
    runs = (
        make(tmp_path / "new", 400, 30, transfer=True),
        make(tmp_path / "old", 400, 7200),
        make(tmp_path / "end", STEPS),
    )
    table = rows(*runs)
    assert table["state"] == ["running, last line 30 s ago", "stopped, last line 2.0 h ago", "finished"]
    assert table["step"] == ["400 of 1,000 (40%)"] * 2 + ["1,000 of 1,000 (100%)"]
    assert table["time left"] == ["2 min", "2 min", ""]  # 6,000 images at 50 a second
    course, value = table["loss"][0].split()
    assert value == "0.0025"
    assert list(course) == sorted(course, reverse=True)
    assert (len(course), course[0], course[-1]) == (16, "█", "▁")
    assert table["  mse"][2].endswith(" 0.0008")
    assert table["  pull"][2].endswith(" 0.0002")
    assert table["gradient norm"] == ["0.5"] * 3
    assert table["skipped steps"] == ["3"] * 3
    assert table["transferred, t of low to high noise"] == ["0 % · 10 % · 50 %", "", ""]
    assert table["disk"][0].startswith("0 MiB, ")


def test_a_slow_run_is_not_stopped(tmp_path: Path) -> None:
    folder = make(tmp_path / "slow", 20, 1000)
    lines = [{"step": n, "images_seen": n, "loss": 1.0, "seconds": 200.0 * n} for n in (1, 2)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    os.utime(folder / "metrics.jsonl", (time.time() - 1000,) * 2)
    assert rows(folder)["state"] == ["running, last line 17 min ago"]


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = make(tmp_path / "ddpm" / "seed0", 100), make(tmp_path / "t2h" / "seed0", 100)
    assert progress_table(read_all(runs)).texts[0] == ["", "seed0 (ddpm)", "seed0 (t2h)"]


DAMAGES = {
    "a line cut short": lambda run: (run / "metrics.jsonl").open("a").write('{"step": 410, "lo'),
    "no configuration": lambda run: (run / "config.yaml").unlink(),
    "a damaged configuration": lambda run: (run / "config.yaml").write_text("learning: [\x00"),
    "other configuration": lambda run: (run / "config.yaml").write_text("learning:\n  steps: many\n"),
    "damaged classes": lambda run: (run / "classes.json").write_text("{"),
    "no metrics": lambda run: (run / "metrics.jsonl").unlink(),
    "bytes as metrics": lambda run: (run / "metrics.jsonl").write_bytes(bytes(range(256))),
    "a damaged grid": lambda run: (run / "grids" / "step_00000400.png").write_bytes(b"no picture"),
    "no grids": lambda run: shutil.rmtree(run / "grids"),
    "odd values": lambda run: (run / "metrics.jsonl").write_text(
        '{"step": 3, "loss": "NaN"}\n{"step": 4, "loss": 1}\n[]\n'
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_shown_as_far_as_it_goes(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, page = make(tmp_path / "run", 400, 5), tmp_path / "page.html"
    DAMAGES[damage](run)
    before = sorted(run.rglob("*"))
    assert main(["watch", str(run), "--once", "--html", str(page)]) == 0
    assert sorted(run.rglob("*")) == before
    out = capsys.readouterr().out
    metrics_gone = damage in ("no metrics", "bytes as metrics")
    assert ("no step yet" in out) == metrics_gone
    assert ("400 of 1,000" in out) == (
        damage not in (*[d for d in DAMAGES if "config" in d], "no metrics", "bytes as metrics", "odd values")
    )
    assert "</html>" in page.read_text("utf-8")


def test_what_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["nowhere"], [str(tmp_path)], []):
        assert main(["watch", *words, "--once"]) == 2
        assert capsys.readouterr().err.startswith("t2h: ")
    assert main(["watch", str(make(tmp_path / "run", 100)), "--every", "0"]) == 2


def test_the_page_carries_everything_and_loads_itself_anew(tmp_path: Path) -> None:
    found = read_all([make(tmp_path / "a", 400, transfer=True), make(tmp_path / "b", 500)])
    page = progress_page(found, 5.0)
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert page.count("<svg") == 7  # loss, gradient, speed, rate, two terms, transfer
    assert page.count("data-step=") == 9
    assert "location.reload(), 5000" in page
    assert "location.reload" not in progress_page(found, None)
    assert "40%" in page


def test_one_watches_until_the_end(tmp_path: Path) -> None:
    """A page of a run that ends while it is watched: it is written again, and the last one stays as it is."""
    run, page = make(tmp_path / "run", 400), tmp_path / "page.html"
    words = [sys.executable, "-m", "t2h", "watch", str(run), "--html", str(page), "--every", "0.2"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    while not page.exists() and process.poll() is None:
        time.sleep(0.05)
    assert "location.reload(), 200" in page.read_text("utf-8")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": STEPS, "images_seen": 10 * STEPS, "loss": 0.1}) + "\n")
    assert "running" in process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert "location.reload" not in page.read_text("utf-8")


def test_many_grids_are_thinned_and_the_last_is_kept(tmp_path: Path) -> None:
    run = make(tmp_path / "run", 400)
    for step in range(1, 100):
        Image.new("RGB", (8, 8)).save(run / "grids" / f"step_{1000 + step:08d}.png")
    steps = re.findall(r'data-step="(\d+)"', progress_page([Progress.of(run)], None))
    assert len(steps) == 24
    assert (steps[0], steps[-1]) == ("100", "1099")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_the_page_works_in_a_browser(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(progress_page(read_all([make(tmp_path / "a", 400), make(tmp_path / "b", 700)]), None), "utf-8")
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    ran = subprocess.run([*browser, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120)
    assert "<output>step 700</output>" in ran.stdout
    assert re.findall(r"<small>(step \d+)</small>", ran.stdout) == ["step 400", "step 700"]


def test_the_terminal_has_the_same_table(tmp_path: Path) -> None:
    console = pytest.importorskip("rich.console")
    from t2h.cli.watch import _rich

    screen, table = io.StringIO(), progress_table(read_all([make(tmp_path / "[red]run", 400)]))
    console.Console(file=screen, width=120).print(_rich(table))
    for row in table.texts:
        assert all(cell.strip() in screen.getvalue() for cell in row)
