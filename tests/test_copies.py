"""Are they copies? Against a slow loop, and where the truth is known: training images, unseen images, noise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from t2h import UserError
from t2h.cli import main
from t2h.data import load_images
from t2h.metrics.memorisation import near_copies
from t2h.samples.draw import load_pipeline
from t2h.samples.read import read_facts, run_of

RNG = np.random.default_rng(0)


def slow(samples: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance and ratio of each sample, and both thresholds, from the definition, in float64."""
    sides = [training.reshape(len(training), -1), training[..., ::-1].reshape(len(training), -1)]

    def both(image: np.ndarray, others: list[int]) -> tuple[float, float]:
        to = sorted(min(np.linalg.norm(image.ravel() - side[j]) for side in sides) for j in others)
        return to[0], to[0] / np.mean(to[1 : min(6, len(training) - 1)])

    every = list(range(len(training)))
    own = [both(training[i], [j for j in every if j != i]) for i in every]
    return np.array([both(sample, every) for sample in samples]), np.quantile(own, 0.05, axis=0)


@pytest.mark.parametrize("m", [3, 5, 30])
def test_near_copies_are_those_of_the_definition(m: int) -> None:
    training = RNG.random((m, 3, 4, 6))
    samples = np.concatenate(
        [RNG.random((20, 3, 4, 6)), training[:2] + 0.02 * RNG.random((2, 3, 4, 6)), training[:1, ..., ::-1]]
    )
    found, (values, thresholds) = near_copies(samples, training), slow(samples, training)
    np.testing.assert_allclose(found.ratio, values[:, 1], atol=1e-4)
    assert found.near.tolist() == (values <= thresholds).all(axis=1).tolist()
    assert found.near[-3:].all()
    assert found.index[-3:].tolist() == [0, 1, 0]
    assert found.mirrored[-3:].tolist() == [False, False, True]
    assert found.ratio[-1] < 1e-6
    assert found.expected == pytest.approx((1 + 0.05 * (m - 1)) / (m + 1))


def test_copies_are_found_and_unseen_images_are_below_the_expected_share() -> None:
    digits, rng = load_images("digits", split="all"), np.random.default_rng(0)
    shares, expected = [], []
    for c in [*range(10)] * 4:
        rows = rng.permutation(np.flatnonzero(digits.labels == c))
        training, unseen = digits.images[rows[:80]], digits.images[rows[80:]]
        assert near_copies(training, training).near.all()
        noisy = np.clip(training + rng.normal(0, 10, training.shape), 0, 255).astype(np.uint8)
        assert near_copies(noisy, training).near.mean() > 0.9
        fresh = near_copies(unseen, training)
        assert not fresh.far
        assert fresh.distance == pytest.approx(1, abs=0.2)
        shares += fresh.near.tolist()
        expected.append(fresh.expected)
        noise = near_copies(rng.integers(0, 256, training.shape, dtype=np.uint8), training)
        assert noise.far
        assert not noise.near.any()
    assert 0.3 * np.mean(expected) < np.mean(shares) < np.mean(expected)


def test_duplicates_in_the_training_set_hide_no_copies() -> None:
    training = RNG.random((40, 1, 8, 8)).astype(np.float32)
    training[20:] = training[:20]
    assert near_copies(training + np.float32(1e-3), training).near.all()


@pytest.mark.parametrize(
    ("samples", "training"), [((2, 1, 8, 8), (2, 1, 8, 8)), ((0, 1, 8, 8), (9, 1, 8, 8)), ((1, 1, 8, 8), (9, 3, 8, 8))]
)
def test_what_cannot_be_told(samples: tuple[int, ...], training: tuple[int, ...]) -> None:
    with pytest.raises(UserError):
        near_copies(np.zeros(samples, np.uint8), np.zeros(training, np.uint8))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step on long-tailed digits, of 142 to 7 images a class."""
    place = tmp_path_factory.mktemp("copies") / "run"
    options = "--data digits --imbalance 0.05 --steps 1 --batch-size 8 --grid-every None"
    assert main(["train", *options.split(), "--out", str(place)]) == 0
    return place


def put_training_images(place: Path) -> None:
    """In the place of the samples of class 9, whose seven training images they are then."""
    from PIL import Image

    from t2h.data.config import DataConfig, load

    table = load(DataConfig(imbalance=0.05))
    for i, image in enumerate(table.images[np.flatnonzero(table.labels == 9)]):
        Image.fromarray(image[0]).save(place / "9_9" / f"{i:05d}.png")


def test_a_run_says_so_and_shows_it(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = run / "samples" / "w_1.5"
    assert main(["sample", str(run), "--per-class", "7", "--steps", "2"]) == 0
    assert "rarest classes (9, 8, 7): no more near copies" in capsys.readouterr().out
    put_training_images(place)
    (place / "0_0" / "00006.png").unlink()
    assert main(["sample", str(run), "--per-class", "7", "--steps", "2"]) == 0
    assert f"9: 7 of 7 are near copies of training images; t2h inspect samples {place} shows" in capsys.readouterr().out
    page = tmp_path / "page.html"
    for given in (run, place):
        assert main(["inspect", "samples", str(given), "--format", "json", "--html", str(page)]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [row["class"] for row in rows] == [str(c) for c in range(10)]
        assert rows[9] == {
            "class": "9",
            "training_images": 7,
            "samples": 7,
            "near_copies": 7,
            "share": 1.0,
            "expected_share": pytest.approx(1.3 / 8),
            "distance": 0.0,
        }
        assert all(row["near_copies"] == 0 for row in rows[:5])
        assert 'class="near"' in page.read_text("utf-8")
    assert main(["inspect", "samples", str(run)]) == 0
    out = capsys.readouterr().out
    assert "7 (100%)" in out
    assert "9: more near copies than fresh images would have." in out
    assert "far from the training images" in out


def test_samples_elsewhere_know_their_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (tmp_path / "mine", tmp_path / "mine.npz"):
        assert main(["sample", str(run), "--per-class", "4", "--steps", "1", "--out", str(place)]) == 0
        assert run_of(place).resolve() == run.resolve()
        assert main(["inspect", "samples", str(place)]) == 0
        assert main(["sample", str(run), "--per-class", "4", "--steps", "1", "--out", str(place)]) == 0  # it goes on
    assert "run" in read_facts(tmp_path / "mine.npz")
    assert load_pipeline(run).name_or_path
    alone = tmp_path / "alone"
    shutil.copytree(tmp_path / "mine", alone)
    facts = json.loads((alone / "samples.json").read_text())
    (alone / "samples.json").write_text(json.dumps({**facts, "run": "gone"}))
    capsys.readouterr()
    assert main(["inspect", "samples", str(alone)]) == 2
    assert "say what it was trained on (--data" in capsys.readouterr().err
    assert main(["inspect", "samples", str(alone), "--data", "digits"]) == 2
    assert "its network was trained on 483 images of 10 classes, these are 1,437 of 10" in capsys.readouterr().err
    assert main(["inspect", "samples", str(alone), "--data", "digits", "--imbalance", "0.05"]) == 0
    assert main(["inspect", "samples", str(run), "--image-size", "16"]) == 2
    assert "grey of 8x8 pixels, the training images grey of 16x16" in capsys.readouterr().err


def test_samples_without_labels_are_one_class(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = load_images("digits").images[:30]
    np.savez(tmp_path / "x.npz", images=images.transpose(0, 2, 3, 1))
    assert main(["inspect", "samples", str(tmp_path / "x.npz"), "--data", "digits", "--format", "json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert (row["class"], row["training_images"], row["near_copies"]) == ("all classes", 1437, 30)
