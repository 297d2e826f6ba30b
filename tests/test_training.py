"""A run resumes to the last bit, does not depend on how it is split, and never loses what the user had."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image

from t2h import T2HPipeline, UserError
from t2h.cli import main
from t2h.data import DataConfig
from t2h.device import make_accelerator
from t2h.errors import check_ranges
from t2h.methods import MethodOptions, describe
from t2h.methods.t2h import T2H
from t2h.network import build_network, network_config
from t2h.process import NoiseSchedule
from t2h.sampling import SamplingFlags
from t2h.training import LearningConfig, MachineConfig, NetworkConfig, ProcessConfig, TrainConfig, loop, train
from t2h.training.average import MovingAverage
from t2h.training.loop import draw_batch, take_step
from t2h.training.plan import plan
from t2h.training.presets import PRESETS, preset
from t2h.training.run import RunFolder
from t2h.training.same import differences
from t2h.training.setup import Training

COUNTED = "aim.counter.counted"
LEARNING = LearningConfig(steps=6, batch_size=8, warmup_steps=3, ema_decay=0.9, ema_rampup=0.05, seed=1)
MACHINE = MachineConfig(device="cpu", log_every=2, save_every=0, grid_every=None)
TINY = TrainConfig(
    data=DataConfig(imbalance=0.1),
    network=NetworkConfig(network="digits", dropout=0.1),
    learning=LEARNING,
    machine=MACHINE,
)


def config(base: TrainConfig = TINY, **changes: object) -> TrainConfig:
    """TINY with some leaves changed, each found in whichever part has it."""
    for name, value in changes.items():
        for part in ("data", "network", "learning", "machine"):
            if name in getattr(base, part).__dataclass_fields__:
                base = dataclasses.replace(base, **{part: dataclasses.replace(getattr(base, part), **{name: value})})
                break
        else:
            base = dataclasses.replace(base, **{name: value})
    return base


def run(out: Path, **changes: object) -> RunFolder:
    result = train(config(**changes), out, progress=False)
    assert result.status == "finished"
    return RunFolder(out)


def losses(folder: RunFolder) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in folder.metrics()]


def same_weights(a: RunFolder, b: RunFolder) -> bool:
    one, two = a.load(), b.load()
    return all(
        torch.equal(value, two[part][name]) for part in ("unet", "ema") for name, value in one[part].items()
    ) and torch.equal(one["objective"][COUNTED], two["objective"][COUNTED])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """TINY, uninterrupted."""
    return run(tmp_path_factory.mktemp("whole") / "run", grid_every=0)


def training(given: TrainConfig = TINY, step: int = 0) -> Training:
    """The objects of a run on the CPU, at some step."""
    made = Training(given, make_accelerator("cpu", "no"))
    made.step = step
    return made


def test_more_references_follow_the_batch_and_change_the_targets_alone():
    few, many = (training(config(references=n), step=2) for n in (0, 40))
    x0, y = next(few.stream.batches(16, few.share))
    one, two = draw_batch(few, x0, y), draw_batch(many, x0, y)
    assert torch.equal(one.reference_x0, x0)
    assert torch.equal(two.reference_x0[:8], x0)
    assert torch.equal(two.reference_y[:8], y)
    others = many.stream.references(2, 40)
    assert torch.equal(two.reference_x0[8:], others[0])
    assert torch.equal(two.reference_y[8:], others[1])
    assert one.own.tolist() == two.own.tolist() == list(range(8))
    assert (one.shared, two.shared) == (0, 0)
    assert torch.equal(one.xt, two.xt)
    late = torch.full_like(one.t, 900)
    targets = [made.objective.aim(dataclasses.replace(batch, t=late)) for made, batch in ((few, one), (many, two))]
    assert not torch.equal(*targets)


def t2h(**options: object) -> MethodOptions:
    return MethodOptions(t2h=T2H(**options))


@pytest.mark.parametrize("flip", ["on", "off"])
def test_all_references_give_the_exact_posterior_over_the_training_set(flip):
    made = training(config(methods=t2h(references="all", estimate="expectation"), flip=flip), step=2)
    b = draw_batch(made, *next(made.stream.batches(16, made.share)))
    b = dataclasses.replace(b, t=torch.arange(300, 700, 50))
    images = torch.from_numpy(made.table.images).double() / 127.5 - 1
    labels = torch.from_numpy(made.table.labels)
    if flip == "on":
        images, labels = torch.cat([images, images.flip(-1)]), labels.repeat(2)
    n, x0, sigma = torch.from_numpy(made.table.class_counts), b.x0.double(), made.process.sigma(b.t)
    noisy = x0.flatten(1) + sigma[:, None] * b.eps.double().flatten(1)
    p = (torch.cdist(noisy, images.flatten(1)).square() / (-2 * sigma[:, None] ** 2)).softmax(dim=1)
    p *= n[labels] >= n[b.y][:, None]
    expected = (p @ images.flatten(1) + (1 - p.sum(dim=1, keepdim=True)) * x0.flatten(1)).view_as(x0)
    aim = made.objective.aim(b)
    assert (aim - expected).abs().max() < 1e-4
    assert (aim - b.x0).abs().max() > 0.05
    counted = made.objective.statistics()["transfer"]
    own = torch.cdist(x0.flatten(1), images.flatten(1)).argmin(dim=1)  # no image is there twice
    assert sum(counted["transferred"]) == pytest.approx(float((p.sum(dim=1) - p[range(8), own]).sum()), abs=1e-4)


def test_a_bank_is_beside_each_image_and_may_be_balanced():
    for kind in ("bank", "balanced"):
        made = training(config(methods=t2h(references=kind), references=300), step=2)
        b = draw_batch(made, *next(made.stream.batches(16, made.share)))
        assert b.shared == 8
        assert torch.equal(b.reference_x0[b.own], b.x0)
        drawn = made.stream.references(2, 300, balanced=kind == "balanced")[1]
        assert torch.equal(b.reference_y[8:], drawn)
    assert drawn.bincount().min() > 15  # of 3 to 18 images a class


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"methods": t2h(references="bank")}, "--references N"),
        ({"methods": t2h(references="balanced")}, "--references N"),
        ({"methods": t2h(references="all"), "augment": 0.1}, "--augment"),
        ({"methods": t2h(references="all"), "resident_gib": 1e-5}, "--resident-gib"),
        ({"methods": t2h(window=(0.9, 1.0))}, "below the window's 0.9"),
    ],
)
def test_references_that_cannot_be_are_refused_before_anything_is_written(tmp_path, changes, says):
    with pytest.raises(UserError, match=says):
        train(config(**changes), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_window_from_the_data_is_kept_and_resumed(tmp_path, monkeypatch):
    """The same in every run, by bounds or by the times that follow; a resumed run takes it from the checkpoint."""
    windowed = {"methods": t2h(window=(0.01, 0.2), references="bank"), "references": 30}
    whole = run(tmp_path / "whole", **windowed)
    t_min, t_max = whole.load()["objective"]["aim.gate.window.times"].tolist()
    assert 0 < t_min < t_max < 1000
    assert f"window      {t_min} <= t < {t_max}" in plan(config(**windowed))
    times = run(tmp_path / "times", methods=t2h(t_min=t_min, t_max=t_max, references="bank"), references=30)
    assert same_weights(whole, times)
    run(tmp_path / "parts", steps=2, **windowed)
    monkeypatch.setattr(loop, "calibrate", lambda _: pytest.fail("the checkpoint has the window"))
    train(config(**windowed), tmp_path / "parts", progress=False, extend=True)
    assert same_weights(whole, RunFolder(tmp_path / "parts"))


def test_references_are_read_for_methods_that_look_at_them_only(monkeypatch):
    plain = training(config(objective="ddpm", references=40))
    monkeypatch.setattr(plain.stream, "references", None)
    x0, y = next(plain.stream.batches(0, plain.share))
    assert torch.equal(draw_batch(plain, x0, y).reference_x0, x0)


def test_a_run_writes_what_it_promises(whole):
    assert [line["step"] for line in whole.metrics()] == [2, 4, 6]
    assert whole.metrics()[-1]["images_seen"] == 48
    assert sum(whole.metrics()[-1]["transfer"]["total"]) == 48
    assert yaml.safe_load(whole.config_file.read_text())["learning"]["steps"] == 6
    assert json.loads((whole.path / "classes.json").read_text())["class_counts"][0] > 100
    with Image.open(whole.path / "grids" / "step_00000006.png") as grid:
        assert min(grid.size) > 100
    pipeline = T2HPipeline.from_pretrained(whole.pipeline_folder)
    assert pipeline.config["method"] == "t2h"
    assert pipeline.config["images_seen"] == 48
    ema = whole.load()["ema"]
    assert all(torch.equal(value, ema[name]) for name, value in pipeline.unet.state_dict().items())
    assert not [path for path in whole.path.rglob("*") if path.name.endswith((".tmp", ".old"))]


def test_a_run_may_be_extended_and_is_the_longer_one(whole, tmp_path):
    short = config(steps=4)
    train(short, tmp_path / "run", progress=False)
    with pytest.raises(UserError, match=r"learning.steps: 4 -> 6"):
        train(TINY, tmp_path / "run", progress=False)
    wrong = config(lr=1.0)
    with pytest.raises(UserError, match=r"\(learning.lr: .* -> 1.0\)"):
        train(wrong, tmp_path / "run", progress=False, extend=True)
    assert RunFolder(tmp_path / "run").config() == short
    assert train(TINY, tmp_path / "run", progress=False, extend=True).status == "finished"
    assert RunFolder(tmp_path / "run").config() == TINY
    assert same_weights(RunFolder(tmp_path / "run"), whole)


def test_a_run_goes_on_with_its_own_images_only(tmp_path):
    """A class or an image more would shift every draw, and the run's class table would no longer be true."""
    for k, name in enumerate(("ant", "bee")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (8, 8), color=k * 40 + i).save(tmp_path / "images" / name / f"{i}.png")
    given = config(data=str(tmp_path / "images"), image_size=8, imbalance=1.0)
    train(given, tmp_path / "run", progress=False)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    shutil.copytree(tmp_path / "images" / "bee", tmp_path / "images" / "cat")
    (tmp_path / "images" / "ant" / "0.png").unlink()
    longer = config(given, steps=8)
    with pytest.raises(UserError, match=r"other images \(ant: 3 images, now 2; cat: 0 images, now 3\).*--init"):
        train(longer, tmp_path / "run", progress=False, extend=True)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    new = config(longer, init=str(tmp_path / "run"), network=NetworkConfig().network)
    assert train(new, tmp_path / "new", progress=False).status == "finished"


@pytest.mark.parametrize(("stop", "number"), [(2, signal.SIGTERM), (3, signal.SIGINT), (3, signal.SIGHUP)])
def test_an_interrupted_run_resumes_to_the_last_bit(whole, tmp_path, monkeypatch, stop, number):
    """Stopped by a signal after ``stop`` steps (once on a line of metrics, once between two), then run again."""

    def signalled(made, batches):
        take_step(made, batches)
        if made.step == stop:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(loop, "take_step", signalled)
    result = train(TINY, tmp_path / "run", progress=False)
    assert (result.status, result.step, result.signal) == ("interrupted", stop, number)
    assert [file.name for file in RunFolder(tmp_path / "run").checkpoints().values()] == [f"resume_{stop:08d}.pt"]
    monkeypatch.undo()
    resumed = run(tmp_path / "run")
    assert losses(resumed) == losses(whole)
    assert same_weights(resumed, whole)
    assert resumed.metrics()[-1]["transfer"] == whole.metrics()[-1]["transfer"]


def test_a_killed_run_goes_on_from_its_last_checkpoint(whole, tmp_path, monkeypatch):

    def killed(made, batches):
        if made.step == 5:
            raise RuntimeError("power cut")
        take_step(made, batches)

    monkeypatch.setattr(loop, "take_step", killed)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config(save_every=3), tmp_path / "run", progress=False)
    monkeypatch.undo()
    assert losses(RunFolder(tmp_path / "run"))[-1][0] == 4  # written after the checkpoint of step 3
    resumed = run(tmp_path / "run", save_every=3)
    assert losses(resumed) == losses(whole)
    assert same_weights(resumed, whole)


def test_a_finished_run_is_not_trained_again(whole, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in whole.path.rglob("*.*") if path.is_file()}
    result = train(TINY, whole.path, progress=False)
    assert result.status == "already finished"
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert not changed & {"metrics.jsonl", "step_00000006.pt", "diffusion_pytorch_model.safetensors"}


def test_the_seed_decides_and_another_seed_differs(whole, tmp_path):
    assert losses(run(tmp_path / "again")) == losses(whole)
    assert losses(run(tmp_path / "other", seed=2)) != losses(whole)


def test_methods_that_are_compared_see_the_same_images_and_noise(whole, tmp_path):
    """Where nothing is transferred, T2H is DDPM, bit for bit: same weights, order, t, noise and dropped labels."""
    ddpm = run(tmp_path / "ddpm", objective="ddpm")
    nowhere = run(tmp_path / "t2h", methods=MethodOptions(t2h=T2H(t_max=0, t_min=-1)))
    assert losses(nowhere) == losses(ddpm)
    assert losses(whole) != losses(ddpm)


def test_accumulated_parts_learn_what_a_whole_batch_learns(tmp_path):
    """DDPM's gradient is a mean over samples; the order of images does not depend on the split."""
    changes = {"objective": "ddpm", "steps": 2, "log_every": 1, "dropout": 0.0, "label_dropout": 0.0}
    parts = training(config(accumulate=2, **changes))
    whole = training(config(**changes))
    a, b = next(whole.stream.batches(0, whole.share)), parts.stream.batches(0, parts.share)
    first, second = next(b), next(b)
    assert torch.equal(torch.cat([first[1], second[1]]), a[1])
    assert torch.equal(torch.cat([first[0], second[0]]), a[0])


def test_label_dropout_units():
    for unit, shares in (("sample", {0.25, 0.375, 0.5, 0.625, 0.75}), ("batch", {0.0, 1.0})):
        made = training(config(label_dropout=0.5, dropout_unit=unit))
        x0, y = next(made.stream.batches(0, made.share))
        seen = set()
        for made.step in range(20):
            seen.add(draw_batch(made, x0, y).dropped.float().mean().item())
        assert len(seen) > 1
        assert seen <= shares | ({0.125, 0.875, 0.0, 1.0} if unit == "sample" else set())


def test_a_batch_drops_its_labels_in_all_of_its_parts_or_in_none():
    made = training(config(label_dropout=0.5, dropout_unit="batch", accumulate=4))
    x0, y = next(made.stream.batches(0, made.share))
    seen = []
    for made.step in range(20):
        seen.append({bool(dropped) for part in range(4) for dropped in draw_batch(made, x0, y, part).dropped})
    assert all(len(whole) == 1 for whole in seen)
    assert {True} in seen
    assert {False} in seen


def test_the_null_label_is_never_trained(whole):
    for part in ("unet", "ema"):
        table = whole.load()[part]["class_embedding.weight"]
        assert torch.all(table[-1] == 0)
        assert torch.all(table[:-1].abs().sum(dim=1) > 0)


@pytest.mark.parametrize("rampup", [0.0, 0.4])
def test_moving_average_follows_its_equation(rampup):
    """Half-life min(that of ema_decay, rampup × images seen), as EDM has it; rampup 0 is constant from step 0."""
    made = training(config(warmup_steps=0, ema_rampup=rampup, ema_decay=0.7))
    batches, size, seen = made.stream.batches(0, made.share), 8, 0
    average = [p.clone() for p in made.unet.parameters()]
    for _ in range(8):
        take_step(made, batches)
        half_life = size * math.log(0.5) / math.log(0.7)
        if rampup:
            half_life = min(half_life, seen * rampup)
        beta = 0.5 ** (size / max(half_life, 1e-8))
        seen += size
        average = [beta * a + (1 - beta) * p.detach() for a, p in zip(average, made.unet.parameters(), strict=True)]
    for ours, expected in zip(made.average.unet.parameters(), average, strict=True):
        torch.testing.assert_close(ours, expected)


def test_no_initial_weight_is_left_in_the_average_of_a_default_run():
    learning, share = LearningConfig(), {}
    unet = build_network(network_config("digits", 10, 1, 8))
    for rampup in (learning.rampup, 0.0):
        average = MovingAverage(unet, learning.ema_decay, rampup)
        average.unet = torch.nn.Linear(1, 1, bias=False).requires_grad_(False)
        average.unet.weight.fill_(1.0)
        for step in range(learning.steps):
            average.update([torch.zeros(1, 1)], step)
        share[rampup] = average.unet.weight.item()
    assert share == {learning.rampup: 0.0, 0.0: pytest.approx(0.1353, abs=1e-4)}


def test_warm_up_and_clip_are_the_official_ones(tmp_path):
    """min(step, warmup)/warmup with the step counted from 0: the first step has rate 0."""
    trainer = training(config(warmup_steps=4))
    batches, rates = trainer.stream.batches(0, trainer.share), []
    for _ in range(6):
        take_step(trainer, batches)
        rates.append(trainer.optimizer.param_groups[0]["lr"] / 2e-4)
    assert rates == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])


def test_training_lowers_the_loss_on_digits(tmp_path):
    folder = run(tmp_path / "run", steps=40, batch_size=16, warmup_steps=5, log_every=10, lr=1e-3, objective="ddpm")
    values = [loss for _, loss in losses(folder)]
    assert values[-1] < 0.75 * values[0]


def test_checkpoints_are_kept_as_asked(tmp_path):
    assert list(run(tmp_path / "two", save_every=1, keep=2).checkpoints()) == [5, 6]
    assert list(run(tmp_path / "all", save_every=2, keep=None).checkpoints()) == [2, 4, 6]
    folder = RunFolder(tmp_path / "all")
    assert folder.load(4)["step"] == 4
    with pytest.raises(UserError, match=r"no checkpoint of step 5; there are: 2, 4, 6"):
        folder.load(5)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lr": 1e-3}, r"learning\.lr: 0\.0002 -> 0\.001"),
        ({"steps": 12}, r"learning\.steps: 6 -> 12"),
        ({"objective": "ddpm"}, "objective: t2h -> ddpm"),
        ({"imbalance": 0.5}, r"data\.imbalance: 0\.1 -> 0\.5"),
    ],
)
def test_another_configuration_is_refused_with_the_difference(whole, changes, says):
    before = whole.config_file.read_text()
    with pytest.raises(UserError, match=says):
        train(config(**changes), whole.path, progress=False)
    assert whole.config_file.read_text() == before


def test_what_does_not_change_the_learning_may_change(whole):
    assert differences(TINY, config(log_every=7, workers=1, keep=None)) == []
    assert train(config(log_every=7), whole.path, progress=False).status == "already finished"


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty and holds no run"):
        train(TINY, tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_broken_checkpoint_says_what_to_do(tmp_path):
    folder = run(tmp_path / "run")
    folder.checkpoints()[6].write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"step_00000006\.pt cannot be read .* remove it to begin this run anew"):
        train(TINY, tmp_path / "run", progress=False)


def test_a_pickle_in_place_of_a_checkpoint_runs_no_code(tmp_path):
    folder, evil = run(tmp_path / "run"), tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (evil,))

    torch.save(Evil(), folder.checkpoints()[6])
    with pytest.raises(UserError, match="cannot be read"):
        folder.load()
    assert not evil.exists()


def test_yaml_round_trip():
    for one in (TINY, *PRESETS.values(), config(counts=(5, 4, 3), trackers=("tensorboard",))):
        assert TrainConfig.from_yaml(one.to_yaml()) == one
    with pytest.raises(UserError, match="unknown entry 'colour'"):
        TrainConfig.from_yaml("colour: red")
    with pytest.raises(UserError, match="not the configuration"):
        TrainConfig.from_yaml("- just\n- a list")


def test_presets_are_the_official_rows():
    assert len(PRESETS) == 9 + 1
    row = preset("cifar100-lt-t2h")
    assert (row.learning.steps, row.learning.batch_size, row.learning.lr) == (500_001, 128, 2e-4)
    assert (row.learning.warmup_steps, row.learning.grad_clip, row.learning.ema_decay) == (5000, 1.0, 0.9999)
    assert (row.learning.dropout_unit, row.network.network, row.data.imbalance) == ("batch", "cifar", 0.01)
    assert preset("cifar10-lt-h2t-unconditional").methods.t2h.direction == "h2t"
    assert not preset("cifar10-lt-h2t-unconditional").network.conditional
    with pytest.raises(UserError, match="did you mean 'cifar10-lt-t2h'"):
        preset("cifar10lt-t2h")


@pytest.mark.parametrize("objective", ["t2h", "ddpm"])
def test_the_laptop_preset_takes_any_images_and_method(tmp_path, objective):
    for k, (name, size) in enumerate((("ant", (40, 30)), ("bee", (17, 64)))):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", size, color=k * 40).save(tmp_path / "images" / name / "0.png")
    words = ["--data", str(tmp_path / "images"), "--objective", objective, "--out", str(tmp_path / "run")]
    assert main(["train", "--preset", "laptop", *words, "--steps", "2", "--device", "cpu", "--grid-every", "None"]) == 0
    pipeline = T2HPipeline.from_pretrained(tmp_path / "run" / "pipeline")
    assert pipeline.image_shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 7, "accumulate": 2}, "--batch-size that 2 divides"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"lr": 1e30}, r"lr is 1e\+30; it must be in \(0, 1\]"),
        ({"ema_decay": 1.0}, r"ema_decay is 1\.0"),
        ({"grid_every": -1}, "grid_every is -1; it must be at least 0"),
        ({"network": "cifarr"}, "did you mean 'cifar'"),
        ({"network": "cifar", "image_size": 12}, "--image-size 16"),
        ({"objective": "t2hh"}, "did you mean 't2h'"),
        ({"mixed_precision": "fp16"}, "needs a CUDA device"),
        ({"trackers": ("nothing",)}, "nothing"),
        ({"sampling": SamplingFlags(scheduler="dimd")}, "unknown scheduler 'dimd'"),
        ({"sampling": SamplingFlags(steps=1001)}, "steps is 1001"),
    ],
)
def test_bad_options_say_what_to_do(tmp_path, changes, says):
    with pytest.raises(UserError, match=says):
        train(config(**changes), tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "says"),
    [
        ("(0, 1]", (0.5, 1, None), (0, -1, 1.1, float("nan")), r"x\.value is .*; it must be in \(0, 1\]\."),
        ("[0, 1)", (0, 0.5), (1, -0.1, float("inf")), r"in \[0, 1\)"),
        ("[1, inf)", (1, 1e30), (0.9, float("nan")), "at least 1"),
        ("(0, inf)", (1e-30,), (0, -1), "above 0"),
    ],
)
def test_ranges(interval, inside, outside, says):
    for value in inside:
        check_ranges(SimpleNamespace(value=value), "x.", value=interval)
    for value in outside:
        with pytest.raises(UserError, match=says):
            check_ranges(SimpleNamespace(value=value), "x.", value=interval)


def test_unconditional_training(tmp_path):
    folder = run(tmp_path / "run", conditional=False)
    pipeline = T2HPipeline.from_pretrained(folder.pipeline_folder)
    assert pipeline.num_classes is None
    assert len(pipeline(batch_size=2, num_inference_steps=2).images) == 2


def test_the_plan_names_what_matters_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = plan(TINY, timed_steps=1)
    for part in ("702,753 parameters", "48 to see", "memory", "images/s", "kept on cpu"):
        assert part in text
    assert not list(tmp_path.iterdir())


def test_bf16_keeps_the_posterior_exact(tmp_path):
    """Targets are computed outside the reduced precision."""
    losses_bf16 = losses(run(tmp_path / "run", mixed_precision="bf16"))
    assert all(0 < loss < 3 for _, loss in losses_bf16)


def test_tensorboard_gets_the_losses(tmp_path):
    pytest.importorskip("tensorboard")
    run(tmp_path / "run", trackers=("tensorboard",))
    assert list((tmp_path / "run" / "trackers").rglob("events.out.tfevents*"))


def test_streamed_and_resident_images_are_the_same(whole, tmp_path):
    streamed = run(tmp_path / "run", resident_gib=0.0, workers=0)
    assert losses(streamed) == losses(whole)


def test_ctrl_c_at_the_command_line(tmp_path):
    """A real process: SIGINT saves, says how to go on and leaves with 130."""
    command = [
        sys.executable,
        "-m",
        "t2h",
        "train",
        "--steps",
        "100000",
        "--batch-size",
        "8",
        "--out",
        str(tmp_path / "r"),
    ]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [*command, "--log-every", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    )
    watch = threading.Timer(120, process.kill)
    watch.start()
    lines = tmp_path / "r" / "metrics.jsonl"
    while process.poll() is None and not (lines.exists() and lines.stat().st_size):
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    watch.cancel()
    assert process.returncode == 130, err
    assert "The same command goes on from there" in out
    assert len(RunFolder(tmp_path / "r").checkpoints()) == 1


PROCESS = """
import dataclasses, hashlib, json, sys
from pathlib import Path
import torch
from t2h import UserError
from t2h.device import make_accelerator
from t2h.methods import MethodOptions
from t2h.methods.t2h import T2H
from t2h.training import TrainConfig, loop, train
from t2h.training.loop import calibrate, draw_batch, take_step
from t2h.training.setup import Training

config, out = TrainConfig.from_yaml(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
result = train(config, out / "run", progress=False)
longer = dataclasses.replace(config, learning=dataclasses.replace(config.learning, steps=6))
train(longer, out / "run", progress=False, extend=True)

accelerator = make_accelerator("auto", "no")
rank = accelerator.process_index
assert result.main_process == (rank == 0)
training = Training(config, accelerator)
batches = training.stream.batches(0, training.share)
x0, y = next(batches)
batch = draw_batch(training, x0, y)
assert len(x0) == 4 and len(batch.reference_x0) == 8 and batch.own.tolist() == list(range(4 * rank, 4 * rank + 4))
assert torch.equal(batch.reference_x0[batch.own], x0)
for _ in range(3):
    take_step(training, batches)
weights = b"".join(p.detach().numpy().tobytes() for p in training.unet.parameters())
(out / f"weights{rank}").write_text(hashlib.sha256(weights).hexdigest())
(out / f"images{rank}").write_text(" ".join(map(str, y.tolist())))

windowed = MethodOptions(t2h=T2H(window=(0.01, 0.2)))
training = Training(dataclasses.replace(config, methods=windowed), accelerator)
calibrate(training)
(out / f"window{rank}").write_text(training.objective.aim.gate.window.extra_repr())

dropping = dataclasses.replace(config.learning, dropout_unit="batch", label_dropout=0.5)
training = Training(dataclasses.replace(config, learning=dropping, objective="ddpm"), accelerator)
training.accelerator.gather = None  # ddpm looks at no references
dropped = []
for training.step in range(20):
    batch = draw_batch(training, x0, y)
    assert len(batch.reference_x0) == 4
    dropped.append([bool(one) for one in batch.dropped])
(out / f"dropped{rank}").write_text(json.dumps(dropped))
del training.accelerator.gather

def broken(training, x0, y, part=0):
    batch = draw_batch(training, x0, y, part)
    return dataclasses.replace(batch, xt=batch.xt * float("nan")) if rank == 1 and training.step >= 2 else batch

loop.draw_batch = broken
config = dataclasses.replace(config, learning=dataclasses.replace(config.learning, steps=20))
try:
    train(config, out / "broken", progress=False)
except UserError as error:
    (out / f"stopped{rank}").write_text(str(error))
"""


def test_two_processes_share_a_run(tmp_path):
    """Each takes its half of every batch; T2H's references are those of both; the weights stay the same on both."""
    (tmp_path / "go.py").write_text(PROCESS)
    (tmp_path / "config.yaml").write_text(config(steps=4, warmup_steps=0, device="auto").to_yaml())
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, str(tmp_path / "go.py"), str(tmp_path / "config.yaml"), str(tmp_path)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(command, env=env, timeout=280, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    folder = RunFolder(tmp_path / "run")
    assert [step for step, _ in losses(folder)] == [2, 4, 6]
    assert folder.metrics()[-1]["images_seen"] == 48
    # all images of both processes, also after the run went on
    assert [sum(line["transfer"]["total"]) for line in folder.metrics()] == [16, 32, 48]
    assert T2HPipeline.from_pretrained(folder.pipeline_folder).config["images_seen"] == 48
    assert (tmp_path / "weights0").read_text() == (tmp_path / "weights1").read_text()
    assert not (window := (tmp_path / "window0").read_text()).startswith("0 <=")  # measured on the images of both
    assert window == (tmp_path / "window1").read_text()
    whole = training()
    _, y = next(whole.stream.batches(0, whole.share))
    halves = [(tmp_path / f"images{rank}").read_text().split() for rank in (0, 1)]
    assert [int(label) for half in halves for label in half] == y.tolist()
    first, second = (json.loads((tmp_path / f"dropped{rank}").read_text()) for rank in (0, 1))
    assert first == second
    assert {tuple(set(batch)) for batch in first} == {(True,), (False,)}
    for rank in (0, 1):  # a loss that is no number in the second one stops both
        assert "stopped at step 12: 10 steps in a row" in (tmp_path / f"stopped{rank}").read_text()
    assert not RunFolder(tmp_path / "broken").checkpoints()
    assert [line["step"] for line in RunFolder(tmp_path / "broken").metrics()] == [2, 4, 6, 8, 10]


@pytest.mark.slow
def test_the_documented_command_runs_two_processes(tmp_path):
    """They finish one run, and say so once."""
    words = ["--steps", "2", "--batch-size", "4", "--grid-every", "None", "--device", "cpu", "--out"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "t2h", "train"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run([*launch, *words, str(tmp_path / "run")], env=env, timeout=280, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("Finished: 2 steps, 8 images seen.") == 1
    assert ran.stdout.count("images      8 to see") == 1


def test_a_checkpoint_to_go_on_from_is_written_by_minutes(whole, tmp_path, monkeypatch):
    """The newest replaces the one before, and leaves the kept ones alone; a run goes on from it exactly."""
    now, seen = [0.0], []
    monkeypatch.setattr("t2h.training.watch.time.monotonic", lambda: now[0])

    def hours(made, batches):
        if made.step == 5:
            raise RuntimeError("power cut")
        take_step(made, batches)
        now[0] += 31
        seen.append(sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*")))

    monkeypatch.setattr(loop, "take_step", hours)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config(save_every=3, checkpoint_minutes=1.0), tmp_path / "run", progress=False)
    monkeypatch.undo()
    first, kept, second = "resume_00000002.pt", "step_00000003.pt", "resume_00000004.pt"
    assert seen == [[], [], [first], [kept], [second, kept]]
    assert list(RunFolder(tmp_path / "run").checkpoints()) == [3, 4]
    resumed = run(tmp_path / "run", save_every=3)
    assert losses(resumed) == losses(whole)
    assert same_weights(resumed, whole)
    assert list(resumed.checkpoints().values())[-1].name == "step_00000006.pt"
    assert not list((tmp_path / "run" / "checkpoints").glob("resume_*"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a terminal that can be closed")
def test_a_closed_terminal_saves(tmp_path):
    """SIGHUP, and everything that is printed afterwards is an error."""
    import pty

    words = ["--steps", "100000", "--batch-size", "4", "--log-every", "1", "--device", "cpu", "--out", f"{tmp_path}/r"]
    pid, terminal = pty.fork()
    if pid == 0:  # not a new interpreter: its imports take a minute on a busy machine
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        os._exit(main(["train", *words]))
    watch = threading.Timer(250, os.kill, (pid, signal.SIGKILL))
    watch.start()
    lines = tmp_path / "r" / "metrics.jsonl"
    with suppress(OSError):  # it has ended
        while not (lines.exists() and lines.stat().st_size):
            if select.select([terminal], [], [], 0.2)[0]:
                os.read(terminal, 1024)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    watch.cancel()
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert len(RunFolder(tmp_path / "r").checkpoints()) == 1


def test_precision_is_part_of_what_is_learned(whole):
    with pytest.raises(UserError, match=r"learning\.mixed_precision: no -> bf16"):
        train(config(mixed_precision="bf16"), whole.path, progress=False)


def test_a_run_of_version_01_goes_on_with_the_same_command(tmp_path):
    """Its average had a constant decay, its warm-up 5,000 steps, and its entries stood elsewhere."""
    given = config(warmup_steps=None, ema_rampup=None, steps=2)
    train(config(given, ema_rampup=0.0, warmup_steps=5_000), tmp_path / "run", progress=False)
    file = tmp_path / "run" / "config.yaml"
    tree = yaml.safe_load(file.read_text())
    tree["schedule"] = {"num_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
    del tree["process"], tree["learning"]["ema_rampup"], tree["sampling"], tree["machine"]["checkpoint_minutes"]
    tree["machine"] |= {"mixed_precision": tree["learning"].pop("mixed_precision"), "grid_w": 2.0}
    file.write_text(yaml.safe_dump(tree))
    folder = RunFolder(tmp_path / "run")
    state = folder.load()
    state["objective"]["target.counted"] = state["objective"].pop(COUNTED) / 2**20
    torch.save(state, folder.checkpoints()[2])
    assert RunFolder(tmp_path / "run").config().sampling.w == 2.0
    longer = config(given, steps=4)
    assert train(longer, tmp_path / "run", progress=False, extend=True).status == "finished"
    learning = RunFolder(tmp_path / "run").config().learning
    assert (learning.ema_rampup, learning.warmup_steps, learning.steps) == (0.0, 5_000, 4)
    assert [sum(line["transfer"]["total"]) for line in folder.metrics()] == [16, 32]
    assert train(longer, tmp_path / "run", progress=False).status == "already finished"


def test_the_warm_up_follows_from_the_length_and_stays_when_a_run_is_extended(tmp_path):
    assert [LearningConfig(steps=n).warmup for n in (300, 20_000, 100_000, 500_000)] == [15, 1_000, 5_000, 5_000]
    short = config(steps=40, warmup_steps=None, batch_size=2)
    train(short, tmp_path / "run", progress=False)
    assert RunFolder(tmp_path / "run").config().learning.warmup_steps == 2
    train(config(short, steps=42), tmp_path / "run", progress=False, extend=True)
    assert RunFolder(tmp_path / "run").config().learning.warmup_steps == 2


def test_an_empty_configuration_is_named(whole, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    with pytest.raises(UserError, match=r"config\.yaml.*not the configuration of a training run.*empty"):
        train(TINY, tmp_path / "run", progress=False)


def colours(folder: Path) -> Path:
    for k, name in enumerate(("ant", "bee")):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            Image.new("L", (8, 8), color=k * 40 + i).save(folder / name / f"{i}.png")
    return folder


def test_the_same_images_under_another_path_are_the_same(tmp_path, monkeypatch):
    colours(tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    given = config(data="./images", image_size=8, imbalance=1.0, steps=1)
    train(given, tmp_path / "run", progress=False)
    for path in ("images/", str(tmp_path / "images"), "./images"):
        assert train(config(given, data=path), tmp_path / "run", progress=False).status == "already finished"
    colours(tmp_path / "others")
    with pytest.raises(UserError, match=r"data\.data"):  # the first ones are still there
        train(config(given, data="others"), tmp_path / "run", progress=False)
    shutil.move(tmp_path / "images", tmp_path / "moved")
    assert train(config(given, data="moved"), tmp_path / "run", progress=False).status == "already finished"


def test_a_run_among_its_images_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(colours(tmp_path / "my_images"))
    assert main(["train", "--data", ".", "--image-size", "8", "--steps", "1", "--device", "cpu"]) == 2
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["ant", "bee"]
    with pytest.raises(UserError, match=r"among its training images .*choose a folder outside with --out"):
        train(config(data=".", image_size=8), Path("runs") / "mine", progress=False)


def test_a_library_call_leaves_accelerate_as_it_is(tmp_path):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    code = AcceleratorState._shared_state, Accelerator  # whatever an earlier test left
    AcceleratorState._shared_state = {}
    try:
        ours = Accelerator(mixed_precision="bf16", cpu=True)
        run(tmp_path / "run", steps=1)
        assert ours.mixed_precision == "bf16"
        assert AcceleratorState().mixed_precision == "bf16"
        assert ours.prepare(torch.nn.Linear(2, 2))(torch.zeros(1, 2)).shape == (1, 2)
    finally:
        AcceleratorState._shared_state = code[0]


def test_a_run_carries_how_its_images_are_drawn(whole):
    assert T2HPipeline.from_pretrained(whole.pipeline_folder).config["sampling"]["scheduler"] == "ddpm-small"
    paper, ours = preset("cifar10-lt-t2h").own_sampling, config(sampling=SamplingFlags(w=0.5)).own_sampling
    assert (paper.scheduler, paper.steps, paper.w) == ("ddim", 100, 1.5)
    assert (ours.scheduler, ours.w) == ("ddpm-small", 0.5)
    few = config(process=ProcessConfig(num_timesteps=20))
    assert few.own_sampling.steps == 20


def test_values_that_cannot_work_are_named():
    assert LearningConfig().warnings() == LearningConfig(steps=300).warnings() == []
    constant, warming = LearningConfig(steps=300, ema_rampup=0.0), LearningConfig(steps=300, warmup_steps=5_000)
    assert "97% of the average" in constant.warnings()[0]
    assert "rises for 5,000 of 300 steps" in warming.warnings()[0]
    assert all(not one.learning.warnings() for one in PRESETS.values())


def test_a_damaged_network_file_is_one_line(tmp_path):
    (tmp_path / "x.json").write_text("{broken")
    with pytest.raises(UserError, match=r"x\.json.*JSON"):
        train(config(network=str(tmp_path / "x.json")), tmp_path / "run", progress=False)


def test_the_old_name_of_the_grids_guidance_still_works(tmp_path, capsys):
    words = [
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--device",
        "cpu",
        "--grid-every",
        "None",
        "--out",
        str(tmp_path / "r"),
    ]
    assert main(["train", "--grid-w", "0.5", *words]) == 0
    assert "--grid-w is --sampling.w now" in capsys.readouterr().err
    assert T2HPipeline.from_pretrained(tmp_path / "r" / "pipeline").config["sampling"]["w"] == 0.5


def test_a_window_of_time_is_checked_by_the_process_of_the_run():
    late = MethodOptions(t2h=T2H(t_min=1500))
    with pytest.raises(UserError, match="time window"):
        describe("t2h", late)
    assert describe("t2h", late, NoiseSchedule(2000)).passes == 1
