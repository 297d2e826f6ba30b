"""Classifiers of long-tailed data, filled up with synthetic images, and of balanced data."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from t2h import UserError
from t2h.classify.choose import best, candidates
from t2h.classify.classifier import ResNet, _augmented, fit, probabilities
from t2h.classify.config import ClassifierTraining
from t2h.classify.study import Study, filled_arm, make_arm, missing, summarise, summary
from t2h.cli import main
from t2h.data import DataConfig, ImageTable, load, load_images
from t2h.data.batches import Order
from t2h.randomness import derive_seed, generator
from t2h.results.table import written
from t2h.training import LearningConfig, MachineConfig, TrainConfig, train

LONG_TAIL = DataConfig(data="digits", imbalance=0.1)
TINY = ClassifierTraining(steps=3, batch_size=8)


@pytest.fixture(scope="module")
def table() -> ImageTable:
    return load(LONG_TAIL)


def synthetic(table: ImageTable, per_class: int = 150) -> ImageTable:
    """Noise, so that no class can be learned from it."""
    labels = np.tile(np.arange(10), per_class)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 8, 8), dtype=np.uint8)
    return ImageTable(images, labels, table.class_names)


def test_resnet32_has_the_papers_parameters():
    parameters = sum(p.numel() for p in ResNet(3, 10, blocks=5).parameters())
    assert parameters == 464_154  # 0.46 million in table 6 of the paper; option A has no weights in its shortcuts
    assert ResNet(3, 10, blocks=5)(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert ResNet(1, 10, blocks=1)(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_augmentation_shifts_and_mirrors_each_image_on_its_own():
    images = torch.randint(0, 256, (40, 2, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    out = _augmented(images, 1, True, torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(images.float() / 127.5 - 1, (1, 1, 1, 1))
    seen = set()
    for i in range(40):
        ways = [
            (dy, dx, mirrored)
            for dy in range(3)
            for dx in range(3)
            for mirrored in (False, True)
            if torch.equal(out[i].flip(-1) if mirrored else out[i], padded[i, :, dy : dy + 5, dx : dx + 6])
        ]
        assert len(ways) == 1
        seen.add(ways[0])
    assert len(seen) > 10
    plain = _augmented(images, 0, False, torch.Generator().manual_seed(1))
    assert torch.equal(plain, images.float() / 127.5 - 1)


def test_it_learns_the_digits_and_repeats_itself():
    data, test = load_images("digits", split="train"), load_images("digits", split="test")
    images, training = np.asarray(data.images), ClassifierTraining(steps=150, batch_size=64)
    order = Order(data.labels.astype(np.int64), 0)
    network = fit(images, order, 10, training, seed=0)
    right = (probabilities(network, test, "cpu").argmax(axis=1) == test.labels).mean()
    assert right > 0.9
    short = ClassifierTraining(steps=3, batch_size=8)
    a, b, c = (fit(images, order, 10, short, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)


def test_the_filled_arm_is_balanced_and_keeps_every_real_image(table):
    noise = synthetic(table)
    arm = filled_arm(table, noise)
    counts = table.class_counts
    assert np.bincount(arm.labels).tolist() == [counts.max()] * 10
    assert list(arm.synthetic) == (counts.max() - counts).tolist() == missing(counts).tolist()
    assert np.array_equal(arm.images[: len(table)], np.asarray(table.images))
    added, labels = arm.images[len(table) :], arm.labels[len(table) :]
    assert np.array_equal(added[labels == 9], noise.images[noise.labels == 9][: missing(counts)[9]])
    assert arm.name == "filled"
    some = filled_arm(table, noise, fill_to=60)
    assert np.bincount(some.labels).tolist() == np.maximum(counts, 60).tolist()
    assert list(some.synthetic) == missing(counts, 60).tolist()
    assert make_arm("resampled", table).power == 0
    assert make_arm("long-tailed", table).power == 1


def test_synthetic_images_that_do_not_suit_are_refused(table):
    with pytest.raises(UserError, match=r"too few synthetic images: .* 5 of "):
        filled_arm(table, synthetic(table, 5))
    large = ImageTable(np.zeros((10, 1, 16, 16), np.uint8), np.arange(10), table.class_names)
    with pytest.raises(UserError, match="16 px with 1 channels, the data 8 px"):
        filled_arm(table, large)


@pytest.fixture
def mixed(table: ImageTable) -> tuple[ImageTable, np.ndarray]:
    """Real digits that the long tail left out as "synthetic" ones, and which of them have a wrong label: a third."""
    left_out = load_images("digits", split="train")
    wrong = np.random.default_rng(0).random(len(left_out)) < 1 / 3
    labels = np.where(wrong, (left_out.labels + 1 + np.arange(len(wrong)) % 9) % 10, left_out.labels)
    return ImageTable(left_out.images, labels, table.class_names, name="mixed"), wrong


LEARNS = ClassifierTraining(steps=150, batch_size=64)


def test_what_looks_least_like_its_class_is_left_out(table, mixed, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("T2H_CACHE", str(tmp_path))
    images, wrong = mixed
    lacking = np.full(10, 40)
    assert candidates(lacking, 0.5).tolist() == [80] * 10
    assert candidates(np.array([70, 7]), 0.7).tolist() == [100, 10]
    first = np.concatenate([np.flatnonzero(images.labels == c)[:80] for c in range(10)])
    chosen, facts = best(table, images, lacking, 0.5, LEARNS)
    assert chosen.class_counts.tolist() == [40] * 10
    whole = {image.tobytes(): row for row, image in enumerate(images.images)}
    kept = np.array([whole[image.tobytes()] for image in chosen.images])
    assert set(kept) <= set(first)
    assert all((np.diff(kept[chosen.labels == c]) > 0).all() for c in range(10))
    assert wrong[first].mean() > 0.25
    assert wrong[kept].mean() < 0.02
    assert facts["left_out"] == [40] * 10
    found = facts["out_of_class"]
    assert abs(found["drawn"] - wrong[first].sum()) < 0.2 * wrong[first].sum()
    assert found["kept"] < 0.1 * found["drawn"]
    said = capsys.readouterr().err
    assert "mixed: 400 of 800 synthetic images are left out (0 40, 1 40, 2 40, 3 40, 4 40, 5 40, 6 40, 7 40" in said
    assert f"takes {found['drawn']} for another class, and {found['kept']} of those kept" in said
    monkeypatch.setattr("t2h.classify.choose.fit", lambda *_: pytest.fail("it is kept"))
    assert np.array_equal(best(table, images, lacking, 0.5, LEARNS)[0].images, chosen.images)
    with pytest.raises(UserError, match=r"too few synthetic images: .* of 400"):
        best(table, images, lacking, 0.1, LEARNS)


def test_a_synthetic_image_counts_in_the_loss_as_it_is_weighed(table, mixed):
    """One step is that of the loss written out; and wrong labels that count little do little harm."""
    images, _ = mixed
    arm = filled_arm(table, images, 60, weight=0.25)
    real = len(table)
    assert arm.weights.tolist() == [1.0] * real + [0.25] * (len(arm.labels) - real)
    once = ClassifierTraining(steps=1, batch_size=16, lr=0.1, momentum=0.9, weight_decay=0.0, flip="off")
    order = Order(arm.labels, 0)
    rows = order.rows(0, 16)
    assert 0 < (rows < real).sum() < 16
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(3, "classifier weights"))
        mine = ResNet(1, 10, blocks=1).train()
    x = _augmented(torch.from_numpy(arm.images[rows]), 1, False, generator("cpu", 3, "classifier augmentation"))
    log_p, total, weights = mine(x).log_softmax(dim=1), 0.0, [1.0 if row < real else 0.25 for row in rows]
    for i, row in enumerate(rows):
        total = total - weights[i] * log_p[i, arm.labels[row]] / sum(weights)
    total.backward()
    expected = mine.head.weight - 0.1 * 1.9 * mine.head.weight.grad  # the first step of Nesterov's momentum
    weighed, alike = (fit(arm.images, order, 10, once, 3, weights=w) for w in (arm.weights, None))
    torch.testing.assert_close(weighed.head.weight, expected, atol=1e-6, rtol=1e-4)
    assert (alike.head.weight - expected).abs().max() > 1e-3

    left_out, test, right = load_images("digits"), load_images("digits", split="test"), {}
    wrong = ImageTable(left_out.images, (left_out.labels + 1) % 10, left_out.class_names)
    for weight in (1.0, 0.01):
        arm = filled_arm(table, wrong, 120, weight=weight)
        network = fit(arm.images, Order(arm.labels, 0), 10, LEARNS, 0, weights=arm.weights)
        right[weight] = (probabilities(network, test, "cpu").argmax(axis=1) == test.labels).mean()
    assert right[0.01] > right[1.0] + 0.2


def test_a_study_resumes_and_refuses_results_of_something_else(table, tmp_path):
    test = load_images("digits", split="test")
    study = Study(table.class_counts, test, TINY, tmp_path, progress=False)
    arm = make_arm("long-tailed", table)
    first = study.run(arm, 0)
    stamp = (tmp_path / "long-tailed/seed0.json").stat().st_mtime_ns
    assert study.run(arm, 0) == first
    assert (tmp_path / "long-tailed/seed0.json").stat().st_mtime_ns == stamp
    counts = np.bincount(test.labels)
    per_class = np.array(first["per_class"])
    assert first["accuracy"]["overall"] == pytest.approx((per_class * counts).sum() / counts.sum())
    tail = [6, 7, 8, 9]  # i*C//3: thirds of 10 classes are 3, 3 and 4
    assert first["accuracy"]["tail"] == pytest.approx((per_class[tail] * counts[tail]).sum() / counts[tail].sum())
    other = Study(table.class_counts, test, ClassifierTraining(steps=4, batch_size=8), tmp_path, progress=False)
    with pytest.raises(UserError, match="other images or another training"):
        other.run(arm, 0)
    with pytest.raises(UserError, match="other images or another training"):
        study.run(dataclasses.replace(arm, weight=0.5), 0)


def test_the_table_against_hand_computation():
    def run(arm: str, seed: int, overall: float) -> dict:
        return {"arm": arm, "seed": seed, "images": 10, "accuracy": {"overall": overall, "tail": overall / 2}}

    runs = [run("long-tailed", s, v) for s, v in enumerate((0.5, 0.6, 0.7))]
    runs += [run("filled", s, v) for s, v in enumerate((0.6, 0.6, 0.9))]
    plain, filled = summarise(runs)
    assert plain["accuracy"]["overall"]["mean"] == pytest.approx(0.6)
    assert plain["accuracy"]["overall"]["std"] == pytest.approx(0.1)
    assert plain["accuracy"]["overall"]["difference"] is None
    difference = filled["accuracy"]["tail"]["difference"]
    assert difference["mean"] == pytest.approx(0.05)
    half = 4.302653 * np.std([0.05, 0.0, 0.1], ddof=1) / np.sqrt(3)  # Student's t with 2 degrees of freedom
    assert difference["interval"] == pytest.approx((0.05 - half, 0.05 + half))
    assert "60.0 ± 10.0" in written(summary([plain, filled]), "text")
    assert "+10.0 [-14.8, +34.8]" in written(summary([plain, filled]), "text")
    few = summarise([r for r in runs if r["seed"] == 0])
    assert few[1]["accuracy"]["overall"]["difference"]["interval"] is None
    assert "too few seeds" in written(summary(few), "text")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "ddpm"
    machine = MachineConfig(device="cpu", log_every=2, save_every=0, grid_every=None)
    learning = LearningConfig(steps=2, batch_size=8, warmup_steps=1)
    train(TrainConfig(data=LONG_TAIL, objective="ddpm", learning=learning, machine=machine), out, progress=False)
    return out


def test_the_command_from_a_run_to_the_table_and_again(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("T2H_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "study"
    command = ["classify", "--out", str(out), "--run", str(trained), "--imbalance", "0.1", "--sampling-steps", "1"]
    command += ["--steps", "3", "--batch-size", "8", "--device", "cpu", "--quiet", "--seeds", "0", "1"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "paired difference to long-tailed" in shown
    assert "too few seeds for intervals (2; 3 are needed)" in shown
    content = json.loads((out / "classify.json").read_text())
    assert [row["arm"] for row in content["summary"]] == ["long-tailed", "filled", "balanced"]
    images = {row["arm"]: row["images"] for row in content["summary"]}
    counts = content["data"]["class_counts"]
    assert images == {"long-tailed": sum(counts), "filled": 10 * max(counts), "balanced": 1437}
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert main(command) == 0
    assert {path for path in before if path.stat().st_mtime_ns != before[path]} == {out / "classify.json"}
    with np.load(out / "synthetic.npz") as file:
        assert np.bincount(file["labels"], minlength=10).tolist() == [max(counts) - n for n in counts]

    few = [*command, "--seeds", "0", "--keep", "0.5", "--synthetic-weight", "0.5", "--out", str(tmp_path / "few")]
    assert main([*few, "--fill-to", "40"]) == 0
    kept = json.loads((tmp_path / "few/classify.json").read_text())
    lacking = [max(40 - n, 0) for n in counts]
    assert kept["synthetic"][0]["left_out"] == lacking == kept["runs"][1]["synthetic"]
    assert (kept["synthetic_weight"], kept["runs"][1]["synthetic_weight"]) == (0.5, 0.5)
    with np.load(tmp_path / "few" / "synthetic.npz") as file:
        assert np.bincount(file["labels"], minlength=10).tolist() == [2 * n for n in lacking]

    stored = ["classify", "--out", str(tmp_path / "b"), "--samples", str(out / "synthetic.npz"), "--imbalance", "0.1"]
    assert main([*stored, "--arms", "filled", "--seeds", "0", "--steps", "3", "--batch-size", "8", "--quiet"]) == 0
    again = json.loads((tmp_path / "b/classify.json").read_text())["runs"][0]
    assert again["images_sha256"] == next(r for r in content["runs"] if r["arm"] == "filled")["images_sha256"]


def test_several_sources_are_arms_of_their_own(trained, tmp_path, capsys):
    """Each run at its own w, stored samples beside them; the arms are named by what tells the paths apart."""
    other = tmp_path / "runs" / "t2h-0.1" / "seed0"
    shutil.copytree(trained, other)
    shutil.copytree(trained, tmp_path / "runs" / "t2h-0.10" / "seed0")
    out, common = tmp_path / "study", ["--imbalance", "0.1", "--seeds", "0", "--steps", "3", "--batch-size", "8"]
    common += [
        "--fill-to",
        "40",
        "--sampling-steps",
        "1",
        "--arms",
        "long-tailed",
        "filled",
        "--device",
        "cpu",
        "--quiet",
    ]
    runs = ["--run", str(other), str(other.parents[1] / "t2h-0.10" / "seed0"), "--w", "0", "2"]
    assert main(["classify", "--out", str(out), *runs, *common]) == 0
    content = json.loads((out / "classify.json").read_text())
    assert [row["arm"] for row in content["summary"]] == ["long-tailed", "filled-t2h-0.1", "filled-t2h-0.10"]
    assert [(source["arm"], source["w"]) for source in content["synthetic"]] == [
        ("filled-t2h-0.1", 0.0),
        ("filled-t2h-0.10", 2.0),
    ]
    for w, file in ((0.0, out / "synthetic-t2h-0.1.npz"), (2.0, out / "synthetic-t2h-0.10.npz")):
        with np.load(file) as stored:
            assert json.loads(str(stored["protocol"]))["w"] == w
            assert len(stored["labels"]) == sum(max(40 - n, 0) for n in content["data"]["class_counts"])
    mixed = ["--run", str(trained), "--samples", str(out / "synthetic-t2h-0.10.npz")]
    assert main(["classify", "--out", str(tmp_path / "mixed"), *mixed, *common]) == 0
    kept = json.loads((tmp_path / "mixed" / "classify.json").read_text())
    assert kept["runs"][2]["images_sha256"] == content["runs"][2]["images_sha256"]


def test_a_folder_that_is_long_tailed_by_nature(table, tmp_path, capsys):
    """The usual case of own images: nothing was left out, so there is no balanced arm; the folder has a test split."""
    test = load_images("digits", split="test")
    for split, source in (("train", table), ("test", test)):
        for k, (image, label) in enumerate(zip(np.asarray(source.images), source.labels, strict=True)):
            folder = tmp_path / "images" / split / source.class_names[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(folder / f"{k}.png")
    noise = synthetic(table)
    np.savez(tmp_path / "noise.npz", images=noise.images.transpose(0, 2, 3, 1), labels=noise.labels)
    words = ["classify", "--data", str(tmp_path / "images"), "--samples", str(tmp_path / "noise.npz")]
    words += ["--steps", "3", "--batch-size", "8", "--seeds", "0", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 0
    content = json.loads((tmp_path / "out" / "classify.json").read_text())
    assert [row["arm"] for row in content["summary"]] == ["long-tailed", "filled", "resampled"]
    assert content["data"]["class_counts"] == table.class_counts.tolist()
    assert content["data"]["test"] == {"split": "test", "images": len(test)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give --run or --samples"),
        (["--arms", "long-tailed"], "is not long-tailed (139 to 146 images in a class); give --imbalance"),
        (["--arms", "balanced"], "the arm `balanced` is what a long tail leaves out as well"),
        (["--imbalance", "0.1"], "give --run or --samples"),
        (["--imbalance", "0.1", "--run", "a", "--samples", "./a"], "give each folder or file once"),
        (["--imbalance", "0.1", "--run", "a", "b", "c", "--w", "1", "2"], "--w has 2 weights for 3 runs"),
        (["--imbalance", "0.1", "--run", "a", "--fill-to", "0"], "fill_to is 0"),
        (["--imbalance", "0.1", "--run", "a", "--keep", "0"], "keep is 0.0; it must be in (0, 1]"),
        (
            ["--imbalance", "0.1", "--run", "a", "--synthetic-weight", "0"],
            "synthetic_weight is 0.0; it must be in (0, 1000]",
        ),
        (["--imbalance", "0.1", "--run", "a", "--fill-to", "14"], "every class has 14 images or more"),
        (["--imbalance", "0.1", "--arms", "fill"], "unknown arm 'fill'; did you mean 'filled'"),
        (["--imbalance", "0.1", "--arms", "balanced", "--seeds", "1", "1"], "seeds is 1 1"),
    ],
)
def test_mistakes(words, said, tmp_path, capsys):
    assert main(["classify", "--out", str(tmp_path / "x"), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_run_of_another_long_tail_is_refused(trained, tmp_path, capsys):
    assert main(["classify", "--out", str(tmp_path / "x"), "--run", str(trained), "--imbalance", "0.2"]) == 2
    assert "was trained on other class counts" in capsys.readouterr().err
