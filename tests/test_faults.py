"""Training where numbers, files and other processes fail: what was good stays, and a line says what to do."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from accelerate.optimizer import AcceleratedOptimizer

from objective_tools import NETWORK
from t2h import T2HPipeline, UserError
from t2h.cli import main
from t2h.data import DataConfig
from t2h.device import make_accelerator
from t2h.pipeline.read import read_checkpoint
from t2h.training import LearningConfig, MachineConfig, NetworkConfig, TrainConfig, loop, train
from t2h.training.loop import draw_batch, take_step
from t2h.training.run import RunFolder
from t2h.training.setup import Training
from t2h.training.skipped import IN_A_ROW

TINY = TrainConfig(
    data=DataConfig(imbalance=0.1),
    network=NetworkConfig(network=json.dumps(NETWORK)),
    learning=LearningConfig(steps=6, batch_size=4, warmup_steps=0, seed=1),
    machine=MachineConfig(device="cpu", log_every=1, save_every=2, keep=None, grid_every=None),
)


def config(**learning: object) -> TrainConfig:
    return dataclasses.replace(TINY, learning=dataclasses.replace(TINY.learning, **learning))


def weights(training: Training) -> list[torch.Tensor]:
    moments = [part for state in training.optimizer.state.values() for part in state.values()]
    return [p.detach().clone() for p in (*training.unet.parameters(), *training.average.unet.parameters(), *moments)]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(one, two) for one, two in zip(a, b, strict=True))


def spoilt(monkeypatch: pytest.MonkeyPatch, steps: range, value: float = math.nan) -> None:
    """The noised images of these steps have a pixel that is no number."""

    def draw(training, x0, y, part=0):
        batch = draw_batch(training, x0, y, part)
        if training.step in steps:
            batch.xt[0, 0, 0, 0] = value
        return batch

    monkeypatch.setattr(loop, "draw_batch", draw)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train(TINY, out, progress=False).status == "finished"
    return RunFolder(out)


def assert_equal_runs(a: RunFolder, b: RunFolder) -> None:
    one, two = a.load(), b.load()
    for part in ("unet", "ema"):
        assert all(torch.equal(value, two[part][name]) for name, value in one[part].items())
    logged = [[(line["step"], line.get("loss")) for line in run.metrics()] for run in (a, b)]
    assert logged[0] == logged[1]


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_is_no_number_changes_nothing_but_its_count(monkeypatch, value, accumulate):
    spoilt(monkeypatch, range(2, 3), value)
    made = Training(config(accumulate=accumulate), make_accelerator("cpu", "no"))
    batches = made.stream.batches(0, made.share)
    take_step(made, batches)
    take_step(made, batches)
    before, window = weights(made), copy.deepcopy(made.window)
    take_step(made, batches)
    assert same(weights(made), before)
    assert (made.step, made.skipped.steps, made.skipped.in_a_row, made.window, made.window_parts) == (
        3, 1, 1, window, 2 * accumulate,
    )  # fmt: skip
    take_step(made, batches)
    assert not same(weights(made), before)
    assert (made.skipped.steps, made.skipped.in_a_row) == (1, 0)


def test_a_gradient_may_be_no_number_where_the_loss_is_one(monkeypatch):
    """As of a square root at 0; and a loss may be infinite where its gradient is not, as of a square."""
    made = Training(TINY, make_accelerator("cpu", "no"))
    batches, parameter = made.stream.batches(0, made.share), next(made.unet.parameters())
    forward = made.model.forward
    take_step(made, batches)
    for term in (lambda: parameter.sum().mul(0).sqrt(), lambda: parameter.sum().detach() * math.inf):
        before = weights(made)
        monkeypatch.setattr(made.model, "forward", lambda batch, term=term: forward(batch) | {"more": term()})
        take_step(made, batches)
        assert same(weights(made), before)
    assert made.skipped.steps == 2


def test_skipped_steps_are_counted_in_bar_and_metrics_and_survive_a_resume(tmp_path, monkeypatch, capsys):
    spoilt(monkeypatch, range(1, 4))
    train(TINY, tmp_path / "whole")
    assert "skipped=3" in capsys.readouterr().err
    folder = RunFolder(tmp_path / "whole")
    assert [line.get("skipped", 0) for line in folder.metrics()] == [0, 1, 2, 3, 3, 3]
    assert ["loss" in line for line in folder.metrics()] == [True, False, False, False, True, True]
    train(config(steps=3), tmp_path / "parts", progress=False)  # stops in the middle of them
    assert RunFolder(tmp_path / "parts").load()["skipped"]["in_a_row"] == 2
    train(TINY, tmp_path / "parts", progress=False, extend=True)
    assert RunFolder(tmp_path / "parts").load()["skipped"] == folder.load()["skipped"]
    assert_equal_runs(folder, RunFolder(tmp_path / "parts"))


def test_ten_in_a_row_stop_the_run_with_a_diagnosis(tmp_path, monkeypatch):
    spoilt(monkeypatch, range(3, 99))
    with pytest.raises(UserError) as caught:
        train(config(steps=50), tmp_path / "run", progress=False)
    says = str(caught.value)
    for part in (
        "stopped at step 13",
        "10 steps in a row",
        "loss nan, mse nan",
        "gradient norm nan, ",
        " t ",
        "classes",
    ):
        assert part in says
    assert "--init" in says
    assert "\n" not in says
    folder = RunFolder(tmp_path / "run")
    good = folder.load(4)
    assert all(torch.equal(value, folder.load()["ema"][name]) for name, value in good["ema"].items())
    assert all(value.isfinite().all() for value in good["ema"].values())
    assert len(folder.metrics()) == 3 + IN_A_ROW - 1
    monkeypatch.undo()  # its weights are good for another run
    new = dataclasses.replace(TINY, network=NetworkConfig(init=str(tmp_path / "run")))
    assert train(new, tmp_path / "new", progress=False).status == "finished"


def test_fp16_overflow_lowers_the_scale_and_is_told_from_divergence(monkeypatch):
    """A real scaler on the CPU, whose scale is too large even for float32 at a loss of a million."""
    made = Training(TINY, make_accelerator("cpu", "no"))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    adam = made.optimizer.optimizer
    made.accelerator.scaler, made.optimizer = scaler, AcceleratedOptimizer(adam, scaler=scaler)
    monkeypatch.setattr(made.accelerator, "unscale_gradients", lambda: scaler.unscale_(adam))
    batches, before, forward = made.stream.batches(0, made.share), weights(made), made.model.forward
    monkeypatch.setattr(made.model, "forward", lambda batch: {"mse": forward(batch)["mse"] * 1e6})
    take_step(made, batches)
    assert (made.skipped.overflows, made.skipped.steps, scaler.get_scale()) == (1, 0, 2.0**126)
    assert same(weights(made), before)
    scaler.update(2.0**60)
    take_step(made, batches)
    assert not same(weights(made), before)
    assert made.skipped.shown() == {"overflows": 1}
    spoilt(monkeypatch, range(99))
    take_step(made, batches)  # here the loss itself is no number: no scale mends that
    assert made.skipped.shown() == {"skipped": 1, "overflows": 1}


# --- files ------------------------------------------------------------------------------------------------------------


def damaged(folder: RunFolder, step: int) -> None:
    file = folder.checkpoints()[step]
    file.write_bytes(file.read_bytes()[:-1000])


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_taken(whole, tmp_path, capsys):
    shutil.copytree(whole.path, tmp_path / "moved")
    folder = RunFolder(tmp_path / "moved")
    damaged(folder, 6)
    assert train(TINY, folder.path, progress=False).status == "finished"
    said = capsys.readouterr().err.splitlines()
    assert said == [f"t2h: {folder.path}/checkpoints/step_00000006.pt cannot be read as a checkpoint: it is damaged or "
                    "none. Step 4, before it, is taken."]  # fmt: skip
    assert_equal_runs(whole, folder)
    for step in folder.checkpoints():
        damaged(folder, step)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert main(["train", "--out", str(folder.path), *WORDS]) == 2
    assert "There is no other: remove it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


WORDS = ["--network", json.dumps(NETWORK), "--steps", "6", "--batch-size", "4", "--warmup-steps", "0", "--seed", "1"]
WORDS += ["--imbalance", "0.1", "--device", "cpu", "--grid-every", "None"]


def test_no_flipped_bit_changes_what_is_read(whole, tmp_path):
    """Anywhere in the file: the damage is found, or it was where nothing is kept, as in padding."""
    content, found = whole.checkpoints()[6].read_bytes(), 0
    state = read_checkpoint(whole.checkpoints()[6])
    tensors = {f"{part}.{name}": value for part in ("unet", "ema") for name, value in state[part].items()}
    draw = random.Random(0)
    for _ in range(150):
        at = draw.randrange(len(content))
        file = tmp_path / "x.pt"
        file.write_bytes(content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :])
        try:
            read = read_checkpoint(file)
        except UserError:
            found += 1
            continue
        assert all(torch.equal(read[key.split(".")[0]][key.split(".", 1)[1]], value) for key, value in tensors.items())
    assert found > 75


def test_what_is_no_checkpoint_of_ours_is_passed_over_or_named(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    torch.save({"model": torch.zeros(1)}, folder.path / "checkpoints" / "best.pt")
    assert list(folder.checkpoints()) == [2, 4, 6]
    torch.save({"model": torch.zeros(1)}, folder.checkpoints()[4])
    with pytest.raises(UserError, match=r"step_00000004\.pt is no checkpoint of t2h"):
        folder.load(4)


def test_parts_that_do_not_fit_are_one_line_before_anything_is_written(whole, tmp_path, capsys):
    """As of a method that has other parts now."""
    shutil.copytree(whole.path, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    state = folder.load()
    state["objective"]["terms.0.experts.0.a"] = torch.zeros(3)
    torch.save(state, folder.checkpoints()[6])
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert main(["train", "--out", str(folder.path), *WORDS, "--extend", "--steps", "8"]) == 2
    line = capsys.readouterr().err.strip().splitlines()
    assert len(line) == 1
    assert "fits these options" in line[0]
    assert "terms.0.experts.0.a" in line[0]
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "text"), [("classes.json", "{"), ("classes.json", "[]"), ("pipeline/unet/config.json", "")]
)
def test_half_a_file_is_named(whole, tmp_path, name, text):
    shutil.copytree(whole.path, tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(UserError, match=rf"{name} is no .*, or a damaged one"):
        train(TINY, tmp_path / "run", progress=False)


def test_what_a_kill_left_is_removed_at_the_next_start(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    left = [
        "checkpoints/.step_00000006.pt.0123abcd.tmp",
        "checkpoints/.step_00000006.pt.4711.tmp",
        "grids/.x.png.1.tmp",
    ]
    left += [".pipeline.0123abcd.tmp/unet", ".metrics.jsonl.0123abcd.tmp"]
    others = [".samples.npz.0123abcd.tmp"]  # `t2h sample` may be at work
    for name in (*left, *others):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("half")
    train(TINY, tmp_path / "run", progress=False)
    assert [path.name for path in (tmp_path / "run").rglob("*.tmp")] == others


def test_a_folder_that_was_begun_but_not_named_is_gone_on_with(whole, tmp_path):
    """Killed before config.yaml was in place."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".config.yaml.0123abcd.tmp").write_text("half")
    train(TINY, tmp_path / "run", progress=False)
    assert_equal_runs(whole, RunFolder(tmp_path / "run"))


@pytest.mark.parametrize("at", ["save", "save_pipeline"])
def test_a_kill_between_checkpoint_and_pipeline_leaves_no_older_pipeline(tmp_path, monkeypatch, at):
    """Such a run would be called finished, and what it was before would be sampled and judged."""
    real = getattr(RunFolder, at)

    def killed(self, *args):
        if self.checkpoints():
            raise RuntimeError("kill")
        real(self, *args)

    monkeypatch.setattr(RunFolder, at, killed)
    with pytest.raises(RuntimeError, match="kill"):
        train(config(steps=4), tmp_path / "run", progress=False)
    monkeypatch.undo()
    train(config(steps=4), tmp_path / "run", progress=False)
    folder = RunFolder(tmp_path / "run")
    state, pipeline = folder.load(4), T2HPipeline.from_pretrained(folder.pipeline_folder)
    assert pipeline.config["images_seen"] == 16
    assert all(torch.equal(value, state["ema"][name]) for name, value in pipeline.unet.state_dict().items())


# --- other processes --------------------------------------------------------------------------------------------------


def hold(path: Path, ready, done) -> None:
    folder = RunFolder(path)
    with folder.held(make_accelerator("cpu", "no"), folder.found()):
        ready.set()
        done.wait(60)
        os._exit(9)  # as if killed: the lock is not released


def test_a_second_training_in_a_folder_is_refused_and_names_the_first(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("t2h.training.run.LOCK_SECONDS", 0.2)
    shutil.copytree(whole.path, tmp_path / "run")
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    first = context.Process(target=hold, args=(tmp_path / "run", ready, done))
    first.start()
    assert ready.wait(60)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert main(["train", "--out", str(tmp_path / "run"), *WORDS]) == 2
    assert f"is trained by process {first.pid} on {os.uname().nodename}, since 2" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    done.set()
    first.join()
    assert main(["train", "--out", str(tmp_path / "run"), *WORDS]) == 0


def test_a_run_that_another_process_has_just_begun_is_not_begun_again(whole, tmp_path, monkeypatch):
    """Both found the folder empty."""

    def begun(*_args):
        shutil.copytree(whole.path, tmp_path / "run")

    monkeypatch.setattr(loop, "check_images", begun)
    with pytest.raises(UserError, match="by another process just now"):
        train(config(lr=1e-3), tmp_path / "run", progress=False)
    assert RunFolder(tmp_path / "run").config() == RunFolder(whole.path).config()


# --- two processes of one run -----------------------------------------------------------------------------------------


def start_two(*words: str, out: Path) -> list[subprocess.Popen]:
    """As torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "WORLD_SIZE": "2"}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "t2h", "train", "--out", str(out), *WORDS, "--log-every", "1", *words]
    return [
        subprocess.Popen(
            command,
            env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def ends(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Exit status, output and errors of each; killed after two minutes."""
    found = []
    for process in processes:
        watch = threading.Timer(120, process.kill)
        watch.start()
        out, err = process.communicate()
        watch.cancel()
        found.append((process.returncode, out, err))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("number", "to"), [(signal.SIGTERM, 1), (signal.SIGINT, 0), (signal.SIGHUP, 0)])
def test_a_signal_to_one_of_two_processes_stops_and_saves_both(tmp_path, number, to):
    """Also to the second one, which does not write."""
    both = start_two("--steps", "100000", out=tmp_path / "run")
    while any(process.poll() is None for process in both) and not RunFolder(tmp_path / "run").metrics():
        time.sleep(0.1)
    both[to].send_signal(number)
    asked = time.time()
    first, second = ends(both)
    assert (first[0], second[0]) == (128 + number, 128 + number), first[2] + second[2]
    assert first[2].count("t2h: saving, then leaving") == 1
    assert first[1].count("The same command goes on from there") == 1
    assert "saving" not in second[2]
    assert not second[1]
    (checkpoint,) = RunFolder(tmp_path / "run").checkpoints().values()
    assert checkpoint.stat().st_mtime - asked < 30


@pytest.mark.slow
def test_what_the_main_process_cannot_write_stops_both(tmp_path):
    """A file stands where the checkpoints have to."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").touch()
    RunFolder(tmp_path / "run").config_file.write_text(TINY.to_yaml())
    for status, _, err in ends(start_two("--save-every", "2", out=tmp_path / "run")):
        lines = [line for line in err.splitlines() if line.startswith("t2h: ")]
        assert (status, lines) == (2, [f"t2h: {tmp_path}/run/checkpoints: file exists."])
        assert "Traceback" not in err


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_disk_that_is_full_in_training_leaves_the_last_checkpoint(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["--out", str(disk / "run"), *WORDS, "--save-every", "1", "--keep", "None", "--log-every", "1"]
    command = f'mount -t tmpfs -o size=1200k tmpfs {disk} && "$@"; status=$?; cp -a {disk}/run {tmp_path}; exit $status'
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, "sh", sys.executable, "-m", "t2h", "train", *words, "--steps", "60"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if "mount" in ran.stderr or "unshare" in ran.stderr:
        pytest.skip("this machine lets nobody mount a small disk")
    assert ran.returncode == 2, ran.stderr
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("t2h: ")]
    assert f"t2h: {disk}/run/" in line
    assert "the disk is full; what was there before is unchanged. Make room, and run the same command again." in line
    for sign in ("Traceback", "terminate", "Exception", "frame #"):
        assert sign not in ran.stderr
    folder = RunFolder(tmp_path / "run")
    assert not list(folder.path.rglob("*.tmp"))
    assert folder.load()["step"] >= 1
    assert (
        train(TrainConfig.from_yaml(folder.config_file.read_text()), folder.path, progress=False).status == "finished"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--resampling", "nan"],
        ["--resampling", "-11"],
        ["--dropout", "1"],
        ["--resident-gib", "nan"],
        ["--t2h.beta", "nan"],
        ["--t2h.window", "nan", "0.3"],
        ["--cbdm.tau", "inf"],
        ["--sampling.w", "nan"],
    ],
    ids=" ".join,
)
def test_numbers_of_a_run_are_finite_and_in_range(words, tmp_path, capsys):
    assert main(["train", "--data", "digits", "--out", str(tmp_path / "run"), *words]) == 2
    line = capsys.readouterr().err
    assert "must be" in line
    assert line.count("\n") == 1
    assert not (tmp_path / "run").exists()
