"""Evaluation from images to result files: right metrics in the right places, honest absences, resuming, bad input."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DModel
from jaxtyping import Float
from PIL import Image
from scipy import linalg
from torch import Tensor

from t2h.cli import main
from t2h.data import ImageTable, load_images, long_tail_indices
from t2h.errors import UserError
from t2h.evaluation import (
    Judge,
    MetricOptions,
    Provenance,
    Reference,
    evaluate_arrays,
    load_reference,
    make_reference,
    make_result,
    save_reference,
)
from t2h.evaluation import curve as curve_module
from t2h.evaluation.curve import Drawing, evaluate_run, evaluate_stored
from t2h.evaluation.nearest import nearest_examples
from t2h.evaluation.point import group_classes
from t2h.features.base import Pixels, unit_range
from t2h.features.classifier import ClassifierConfig, train_classifier
from t2h.metrics.fid import frechet_distance
from t2h.pipeline import T2HPipeline
from t2h.process import NoiseSchedule
from t2h.results.comparable import differing_factors, unknown_factors
from t2h.results.compare import compare, summary
from t2h.results.point import Point, Value
from t2h.results.result import read_result, write_result
from t2h.results.table import as_text
from t2h.samples.read import SampleSet, read_samples
from t2h.sampling import CurveFlags

QUICK = MetricOptions(prd_runs=1, kid_subsets=5, resamples=10)
PAPER = {
    "clipping": "final",
    "mixed_precision": "no",
    "eta": 0.0,
    "guidance": "w",
}  # what the papers' samplers leave undone


class Patches:
    """Means of 2x2 patches: features that a test can compute on its own."""

    name, sha256, dim, resize = "patches", "0" * 64, 16, "none"
    image_shape: tuple[int, int, int] | None = None

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Pixels) -> Float[Tensor, "n d"]:
        self.seen += len(images)
        return torch.nn.functional.avg_pool2d(unit_range(images, "cpu"), 2).flatten(1)

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"] | None:
        return None


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("T2H_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def digits() -> ImageTable:
    table = load_images("digits", split="all")
    return replace(table, images=np.asarray(table.images))


@pytest.fixture(scope="module")
def rows(digits: ImageTable) -> np.ndarray:
    return long_tail_indices(digits.labels, 0.1)


@pytest.fixture(scope="module")
def reference(digits: ImageTable, rows: np.ndarray) -> Reference:
    return make_reference(digits, Patches(), rows)


def drawn(digits: ImageTable, per_class: int = 30, noise: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a model that is not bad: real digits with noise, class by class."""
    rng = np.random.default_rng(seed)
    index = np.concatenate([rng.choice(np.flatnonzero(digits.labels == k), per_class) for k in range(10)])
    images = np.asarray(digits.images)[index].astype(int)
    noisy = np.clip(images + rng.integers(-noise, noise + 1, images.shape), 0, 255).astype(np.uint8)
    return noisy, digits.labels[index]


def point_of(images: np.ndarray, labels: np.ndarray | None, reference: Reference, **options: Any) -> Point:
    judge = Judge(reference, Patches(), replace(QUICK, **options))
    return evaluate_arrays(images, labels, judge, w=1.5)


def plain_fid(a: np.ndarray, b: np.ndarray) -> float:
    root = linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root))


def test_fid_of_everything_of_groups_and_of_classes(
    digits: ImageTable, rows: np.ndarray, reference: Reference, tmp_path: Path
) -> None:
    images, labels = drawn(digits)
    point = point_of(images, labels, reference, metrics=("fid",))
    real, fake = (Patches()(torch.from_numpy(x)).double().numpy() for x in (np.asarray(digits.images), images))
    assert point.metrics["fid"].value == pytest.approx(plain_fid(real, fake), rel=1e-3)
    order = np.argsort(-np.bincount(digits.labels[rows]), kind="stable")
    for name, part in {"head": order[:3], "medium": order[3:6], "tail": order[6:]}.items():
        assert point.groups[name].classes == tuple(part.tolist())
        expected = plain_fid(real[np.isin(digits.labels, part)], fake[np.isin(labels, part)])
        assert point.groups[name].metrics["fid"].value == pytest.approx(expected, rel=1e-3)
    for k in (0, 9):
        found = point.classes[k].metrics["fid"]
        expected = plain_fid(real[digits.labels == k], fake[labels == k])
        assert found.value == pytest.approx(expected, rel=1e-3)
        assert (found.n, found.n_reference) == (30, int((digits.labels == k).sum()))
    assert (point.w, point.num_images) == (1.5, 300)


def test_the_reference_itself_is_perfect(digits: ImageTable, reference: Reference, tmp_path: Path) -> None:
    point = point_of(np.asarray(digits.images), digits.labels, reference)
    for part in (point, point.groups["tail"], point.classes[9]):
        metrics = part.metrics
        assert metrics["fid"].value == pytest.approx(0, abs=1e-6)
        assert metrics["kid"].value < 1e-3
        assert metrics["precision_k3"].value == metrics["recall_k5"].value == 1
        assert metrics["diversity"].value == metrics["diversity_real"].value


def test_memorisation_tells_training_images_from_unseen_ones(
    digits: ImageTable, rows: np.ndarray, reference: Reference, tmp_path: Path
) -> None:
    unseen = np.setdiff1d(np.arange(len(digits)), rows)
    copies, honest = (
        point_of(np.asarray(digits.images)[r], digits.labels[r], reference, metrics=("memorisation",))
        for r in (rows, unseen)
    )
    for part in (
        lambda p: p.metrics,
        lambda p: p.groups["tail"].metrics,
        lambda p: p.classes[9].metrics,
    ):
        assert part(copies)["memorisation"].value == 1
        assert part(honest)["memorisation"].value < 0.12
    head = copies.classes[int(np.bincount(digits.labels[rows]).argmax())].metrics["memorisation"]
    assert head.value is None
    assert "at least 20 are needed" in head.reason


def test_shuffled_labels_show_in_the_classes_and_not_in_the_whole(
    digits: ImageTable, reference: Reference, tmp_path: Path
) -> None:
    images, labels = drawn(digits)
    right = point_of(images, labels, reference, metrics=("fid",))
    wrong = point_of(images, np.random.default_rng(0).permutation(labels), reference, metrics=("fid",))
    assert wrong.metrics["fid"].value == right.metrics["fid"].value
    for a, b in zip(right.classes, wrong.classes, strict=True):
        assert b.metrics["fid"].value > 2 * a.metrics["fid"].value


def test_a_class_with_one_or_no_image_has_reasons_instead_of_metrics(
    digits: ImageTable, reference: Reference, tmp_path: Path
) -> None:
    images, labels = drawn(digits)
    keep = np.concatenate([np.flatnonzero(labels < 8), np.flatnonzero(labels == 8)[:1]])
    point = point_of(images[keep], labels[keep], reference)
    for k, text in ((8, "1 generated image;"), (9, "no generated images")):
        metrics = point.classes[k].metrics
        written = point.to_dict()["classes"][k]
        assert written["class"] == k
        assert written["metrics"]["fid"] == {"value": None, "reason": metrics["fid"].reason}
        assert text in metrics["fid"].reason
        assert all(f.value is None for name, f in metrics.items() if name not in ("memorisation", "prd_f8", "prd_f1_8"))
    assert point.metrics["fid"].value > 0
    json.dumps(point.to_dict(), allow_nan=False)


def test_without_labels_there_are_overall_metrics_only(
    digits: ImageTable, reference: Reference, tmp_path: Path
) -> None:
    point = point_of(drawn(digits)[0], None, reference)
    assert point.classes == ()
    assert point.groups == {}
    assert point.metrics["precision_k3"].value > 0
    assert point.metrics["diversity"].reason == "the samples have no labels."


def test_accuracy_comes_from_the_classifier_that_the_reference_carries(digits: ImageTable, tmp_path: Path) -> None:
    classifier = train_classifier(digits.images, digits.labels, 10, ClassifierConfig(epochs=8))
    save_reference(make_reference(digits, classifier), tmp_path / "ref.safetensors")
    reference = load_reference(tmp_path / "ref.safetensors")
    extractor = reference.extractor()
    assert extractor is not None
    assert extractor.sha256 == classifier.sha256
    images, labels = drawn(digits, noise=0)
    judge = Judge(reference, extractor, replace(QUICK, metrics=("accuracy", "is")))
    counts = np.arange(100, 0, -10)
    point = evaluate_arrays(images, np.where(labels == 9, 8, labels), judge, counts)
    accuracy = point.metrics["accuracy"]
    low, high = accuracy.interval
    assert low <= accuracy.value <= high
    assert 0.8 < accuracy.value < 0.92
    assert point.classes[8].metrics["accuracy"].value == pytest.approx(0.5, abs=0.06)
    assert point.classes[9].metrics["accuracy"].reason == "no generated images."
    assert "is" not in point.classes[0].metrics
    assert "use --features inception" in point.metrics["is"].reason


def test_groups_by_thirds_and_by_shots() -> None:
    groups = group_classes(np.array([5, 500, 50, 19, 20, 101, 100]))
    assert groups["head"] == (1, 5)
    assert groups["medium"] == (6, 2)
    assert groups["tail"] == (4, 3, 0)
    assert groups["many"] == (1, 5)
    assert groups["medium-shot"] == (6, 2, 4)
    assert groups["few"] == (3, 0)
    assert set(group_classes(np.array([30, 40, 50]))) == {"head", "medium", "tail"}


def test_a_reference_file_round_trips(reference: Reference, digits: ImageTable, tmp_path: Path) -> None:
    save_reference(reference, tmp_path / "a.safetensors")
    again = load_reference(tmp_path / "a.safetensors")
    for name in ("features", "labels", "train_rows"):
        np.testing.assert_array_equal(getattr(again, name), getattr(reference, name))
    np.testing.assert_array_equal(again.statistics.covariance, reference.statistics.covariance)
    for name in ("name", "split", "seen_by", "image_shape", "class_names", "sha256", "class_counts", "train_counts"):
        assert getattr(again, name) == getattr(reference, name)
    assert again.held_out is None
    assert again.statistics.n == len(digits)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("upper", [False, True])
def test_statistics_of_other_projects(reference: Reference, digits: ImageTable, tmp_path: Path, upper: bool) -> None:
    statistics = reference.statistics
    if upper:
        triangle = statistics.covariance[np.triu_indices(16)].astype(np.float32)
        np.savez(
            tmp_path / "s.npz", mu=statistics.mean.astype(np.float32), sigma_upper=triangle, n=np.array(statistics.n)
        )
    else:
        save_reference(reference, tmp_path / "s.npz")
    foreign = load_reference(tmp_path / "s.npz")
    assert foreign.statistics.n == statistics.n
    assert frechet_distance(foreign.statistics, statistics) < 1e-5
    images, labels = drawn(digits)
    whole, only = (point_of(images, labels, r, metrics=("fid", "kid")) for r in (reference, foreign))
    assert only.metrics["fid"].value == pytest.approx(whole.metrics["fid"].value, rel=1e-3)
    assert "statistics only" in only.metrics["kid"].reason
    assert only.classes == ()
    assert only.groups == {}


@pytest.mark.slow
def test_cifar10_train_against_test_is_the_known_fid() -> None:
    if "T2H_FID_STATISTICS" not in os.environ:
        pytest.skip("set T2H_FID_STATISTICS to the folder with fid_cifar10_train.npz and fid_cifar10_test.npz")
    folder = Path(os.environ["T2H_FID_STATISTICS"])
    train, test = (load_reference(folder / f"fid_cifar10_{split}.npz") for split in ("train", "test"))
    assert (train.statistics.n, test.statistics.n) == (50_000, 10_000)
    assert frechet_distance(train.statistics, test.statistics) == pytest.approx(3.152, abs=0.005)


# --- bad input: one line each ---


def test_samples_that_do_not_suit_the_reference(digits: ImageTable, reference: Reference, tmp_path: Path) -> None:
    images, labels = drawn(digits)
    small = np.repeat(np.repeat(images, 2, 2), 2, 3)
    for bad, message in (
        ((small, labels), "samples are grey of 16x16 pixels, the reference grey of 8x8"),
        ((np.repeat(images, 3, 1), labels), "samples are RGB of 8x8 pixels, the reference grey"),
        ((images, labels + 1), r"reference digits run from 1 to 10; with 10 classes they must lie in 0 \.\.\. 9"),
        ((images, labels[1:]), "300 sample images but 299 labels"),
    ):
        with pytest.raises(UserError, match=message):
            point_of(*bad, reference)
    other = Patches()
    other.sha256 = "1" * 64
    with pytest.raises(UserError, match=r"seen by patches .weights 00000000.*samples by patches .weights 11111111"):
        evaluate_arrays(images, labels, Judge(reference, other))
    with pytest.raises(UserError, match="9 training counts, but the reference digits has 10"):
        evaluate_arrays(images, labels, Judge(reference, Patches()), np.ones(9, np.int64))


def test_references_that_are_none(tmp_path: Path, reference: Reference) -> None:
    save_reference(reference, tmp_path / "whole.safetensors")
    data = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.npz").write_text("no")
    np.savez(tmp_path / "images.npz", images=np.zeros(3))
    np.savez(tmp_path / "nan.npz", mu=np.full(2, np.nan), sigma=np.eye(2))
    for name, message in (
        ("missing.safetensors", "there is no reference file"),
        ("cut.safetensors", "no reference file, or a damaged one"),
        ("text.npz", "no reference file, or a damaged one"),
        ("images.npz", "holds images; `mu` and `sigma`"),
        ("nan.npz", "NaN or infinite"),
    ):
        with pytest.raises(UserError, match=message):
            load_reference(tmp_path / name)
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        save_reference(reference, tmp_path / "a.txt")


def write_folder(path: Path, images: np.ndarray, labels: np.ndarray, names: dict[int, str]) -> None:
    for i, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        (path / names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path / names[label] / f"{i:05d}.png")


def test_samples_from_folders_and_files(digits: ImageTable, tmp_path: Path) -> None:
    images, labels = drawn(digits, 2)
    write_folder(tmp_path / "by_index", images[2:], labels[2:], {k: f"{k}_digit" for k in range(10)})
    write_folder(tmp_path / "by_name", images[2:], labels[2:], {k: "abcdefghij"[k] for k in range(10)})
    np.savez(tmp_path / "x.npz", images=images[2:].transpose(0, 2, 3, 1), labels=labels[2:])
    names = tuple("abcdefghij")
    for path in (tmp_path / "by_index", tmp_path / "by_name", tmp_path / "x.npz"):
        found = read_samples(path, names)
        np.testing.assert_array_equal(found.images[np.arange(18)], images[2:])
        np.testing.assert_array_equal(
            found.labels, labels[2:]
        )  # class 0 has no folder, and the others keep their index
        source = Provenance.of(found, 10)
        assert (source.sampler, found.w, source.image_path, source.labels) == (None, None, "8-bit", "random")
    flat = read_samples(tmp_path / "by_name" / "b", names)
    assert flat.labels is None
    assert Provenance.of(flat, 10).labels == "none"
    np.savez(tmp_path / "float.npz", images=images.astype(np.float64) / 255)
    assert Provenance.of(read_samples(tmp_path / "float.npz", names), 10).image_path == "float"


def test_samples_that_are_none(digits: ImageTable, tmp_path: Path) -> None:
    images, labels = drawn(digits, 1)
    write_folder(tmp_path / "cats", images[:2], labels[:2], {0: "cat", 1: "dog"})
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "nan.npz", images=np.full((2, 8, 8, 1), np.nan))
    np.savez(tmp_path / "none.npz", labels=labels)
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    np.savez(tmp_path / "other.npz", images=images, labels=labels, class_names=np.array(list("abcdefghij")))
    for name, message in (
        ("missing", "no folder of samples, no .npz and no run"),
        ("empty", "no images in it"),
        (
            "cats",
            "names of the classes .0, 1, 2 ... .10..; cat is no class by index, no class by name; dog is",
        ),
        ("nan.npz", "images are float64 from nan to nan"),
        ("none.npz", "none of images, x, arr_0 in it"),
        ("cut.npz", "not a whole .npz"),
        ("other.npz", "samples have the classes a, b, c ... .10., the reference 0, 1, 2"),
    ):
        with pytest.raises(UserError, match=message):
            read_samples(tmp_path / name, tuple("0123456789"))


# --- results ---


def stored(folder: Path, digits: ImageTable, w: float, seed: int = 0) -> Path:
    images, labels = drawn(digits, noise=int(60 - 20 * w), seed=seed)
    facts = {"w": w, "method": "noise", "scheduler": "ddim", "steps": 100, "seed": 0, "weights_sha256": "ab" * 32}
    path = folder / f"w{w:g}.npz"
    np.savez(path, images=images.transpose(0, 2, 3, 1), labels=labels, protocol=np.asarray(json.dumps(facts)))
    return path


def test_a_curve_is_one_result_and_resumes(
    digits: ImageTable, reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, out, extractor = [stored(tmp_path, digits, w) for w in (1.5, 0.0)], tmp_path / "out.json", Patches()
    judge = Judge(reference, extractor, replace(QUICK, metrics=("fid", "manifold")))
    real = curve_module.judged
    judged: list[float] = []

    def breaking(*args: Any) -> Any:
        judged.append(args[3])
        if len(judged) == 2:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(curve_module, "judged", breaking)
    with pytest.raises(KeyboardInterrupt):
        evaluate_stored(paths, judge, out, progress=False)
    assert [point.w for point in read_result(out).points] == [1.5]
    result = evaluate_stored(paths, judge, out, progress=False)
    assert judged == [1.5, 0.0, 0.0]
    assert [point.w for point in result.points] == [0.0, 1.5]
    assert read_result(out).points == result.points
    assert result.points[0].metrics["fid"].value > result.points[1].metrics["fid"].value
    evaluate_stored(paths, judge, out, progress=False)
    assert len(judged) == 3
    stored(tmp_path, digits, 0.0, seed=1)  # other samples under the same name are judged anew
    evaluate_stored(paths, judge, out, progress=False)
    assert judged[3:] == [0.0]
    with pytest.raises(UserError, match=r"measured otherwise \(ks\); remove it"):
        evaluate_stored(paths, Judge(reference, extractor, replace(QUICK, ks=(3,))), out, progress=False)
    with pytest.raises(UserError, match=r"same .or no. w"):
        evaluate_stored([paths[0], paths[0]], judge, out, progress=False)


def store_run(folder: Path, config: str) -> list[int]:
    """A run of ten classes with an untrained network; returns the training images of each class."""
    unet = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=2,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"), num_class_embeds=11,
    )  # fmt: skip
    names, counts = [str(k) for k in range(10)], list(range(100, 0, -10))
    pipeline = T2HPipeline(unet, NoiseSchedule().ddim_scheduler(), names, counts, "t2h", images_seen=7)
    pipeline.save_pretrained(folder / "pipeline")
    (folder / "config.yaml").write_text(config)
    return counts


def test_a_run_is_judged_without_storing_its_samples(reference: Reference, tmp_path: Path, cache: Path) -> None:
    counts = store_run(tmp_path / "run", "learning: {label_dropout: 0.1, dropout_unit: batch, seed: 3}\n")
    judge = Judge(reference, Patches(), replace(QUICK, metrics=("fid",)))
    drawing = Drawing(3, CurveFlags(steps=2))
    out, before = tmp_path / "out.json", set(cache.rglob("*"))
    result = evaluate_run(tmp_path / "run", (0.0, 1.5), judge, out, drawing, progress=False)
    again = evaluate_run(tmp_path / "run", (1.5,), judge, out, drawing, progress=False)
    with pytest.raises(UserError, match=r"measured otherwise \(.*number of images"):
        evaluate_run(tmp_path / "run", (1.5,), judge, out, replace(drawing, per_class=2), progress=False)
    assert again.points == result.points
    assert [(point.w, point.num_images) for point in result.points] == [(0.0, 30), (1.5, 30)]
    assert (result.name, result.run["method"], result.run["images_seen"]) == ("run", "t2h", 7)
    assert result.run["seed"] == 3
    assert result.protocol["sampler"] == {"scheduler": "ddim", "steps": 2, "seed": 0, **PAPER}
    assert result.protocol["label_dropout"] == 0.1
    assert "labels were dropped for whole batches in training, not per sample" in result.notes
    assert result.data["class_counts"] == counts
    assert not list((tmp_path / "run").rglob("*.png"))
    assert set(cache.rglob("*")) == before, "features that nobody reads again grew the cache with every point"


def test_a_result_shows_the_rarest_classes_beside_training_images_unless_told_not_to(
    reference: Reference, tmp_path: Path
) -> None:
    store_run(tmp_path / "run", "data: {data: digits, imbalance: 0.05}\n")
    judge = Judge(reference, Patches(), replace(QUICK, metrics=("fid",)))
    drawing = Drawing(2, CurveFlags(steps=1))
    shown = evaluate_run(tmp_path / "run", (1.5,), judge, tmp_path / "a.json", drawing, progress=False)
    told = replace(drawing, pictures=False)
    plain = evaluate_run(tmp_path / "run", (1.5,), judge, tmp_path / "b.json", told, progress=False)
    assert [picture["class"] for picture in shown.images["1.5"]] == [9, 9, 8, 8, 7, 7]
    assert plain.images == {}
    assert "png" not in (tmp_path / "b.json").read_text()


def test_a_result_carries_the_protocol_and_its_deviations(reference: Reference) -> None:
    facts = {"method": "t2h", "images_seen": 100, "weights_sha256": "ab" * 32, "class_counts": range(100, 0, -10)}
    source = Provenance("x", facts, {"learning": {"label_dropout": 0.1}}, "random", "float")
    point = Point(0.5, 300)
    result = make_result(source, Judge(reference, Patches()), [point])
    protocol = result.protocol
    assert protocol["reference"]["sha256"] == reference.sha256
    assert protocol["reference"]["num_images"] == 1797
    assert protocol["features"] == {"name": "patches", "sha256": "0" * 64, "resize": "none", "dim": 16}
    notes = " | ".join(result.notes)
    for text in (
        "300 images instead of 50,000",
        "split all, not the balanced training set",
        "features of patches, not of the FID Inception",
        "judged as float",
        "labels drawn at random",
        "sampler is not known",
        "trained on other class counts",
        "w = 1.5",
    ):
        assert text in notes
    assert result.data["class_counts"] == list(range(100, 0, -10))
    assert result.run["method"] == "t2h"
    assert protocol["images_seen"] == 100
    assert protocol["label_dropout"] == 0.1
    json.dumps(result.to_dict(), allow_nan=False)


def test_a_result_by_the_protocol_has_no_notes(reference: Reference) -> None:
    extractor = Patches()
    extractor.name, extractor.resize = "inception-tf-2015-12-05-pool3", "bilinear-half-pixel"
    sampler = {"scheduler": "ddim", "steps": 100, "seed": 5, "eta": 0.0, "mixed_precision": "no"}
    source = Provenance("x", sampler | {"class_counts": reference.train_counts})
    point = Point(1.5, 50_000)
    balanced = replace(reference, split="train")
    assert make_result(source, Judge(balanced, extractor), [point]).notes == ()


def test_a_result_names_the_clipping_and_arithmetic_of_its_sampler(reference: Reference, tmp_path: Path) -> None:
    facts = {"scheduler": "ddim", "steps": 20, "seed": 5}
    old = Provenance("x", facts)
    new = Provenance("x", {**facts, "clip_sample": True, "mixed_precision": "bf16"})
    assert old.sampler == {**facts, **PAPER}
    result = make_result(new, Judge(reference, Patches()), [])
    assert "sampler: steps 20, clipping every step, mixed precision bf16, not DDIM with 100 steps" in result.notes
    plain = make_result(old, Judge(reference, Patches()), [])
    assert set(differing_factors(plain, result)) == {"sampler.clipping", "sampler.mixed_precision"}
    del plain.protocol["sampler"]["mixed_precision"]  # a result of a version that did not write it down
    write_result(plain, tmp_path / "old.json")
    assert set(differing_factors(read_result(tmp_path / "old.json"), result)) == {
        "sampler.clipping",
        "sampler.mixed_precision",
    }


def test_a_run_compares_with_its_own_stored_samples_and_with_foreign_ones(
    digits: ImageTable, reference: Reference, tmp_path: Path
) -> None:
    """Stored samples do not know the run's configuration, foreign ones nothing; both were refused."""
    facts = {"scheduler": "ddim", "steps": 20, "seed": 5, "images_seen": 7, "class_counts": reference.train_counts}
    config = {"learning": {"label_dropout": 0.1, "dropout_unit": "sample", "seed": 3}}
    judge, point = Judge(reference, Patches(), QUICK), Point(1.5, 300, metrics={"fid": Value(3.0)})
    run = make_result(Provenance("run", facts, config), judge, [point])
    own = make_result(Provenance("stored", facts), judge, [point])
    np.savez(tmp_path / "theirs.npz", images=drawn(digits)[0])
    source = Provenance.of(read_samples(tmp_path / "theirs.npz", reference.class_names), 10)
    theirs = make_result(source, judge, [replace(point, w=None)])
    for other in (own, theirs):
        assert differing_factors(run, other) == {}
        assert all(row[2].values == (300, True) for row in compare([run, other]).rows)
    assert "label_dropout" in unknown_factors(run, own)
    assert "sampler" in unknown_factors(run, theirs)
    floats = make_result(replace(source, image_path="float"), judge, [point])
    assert list(differing_factors(run, floats)) == ["image_path"]


def test_label_kinds() -> None:
    def kind(labels: list[int] | None, num_classes: int) -> str:
        array = None if labels is None else np.array(labels)
        samples = SampleSet(Path("x"), np.zeros((4, 1, 8, 8), np.uint8), array, (), {})
        return Provenance.of(samples, num_classes).labels

    assert kind(None, 2) == "none"
    assert kind([0, 1, 0, 1], 2) == "exact"
    assert kind([0, 1, 0, 1], 3) == kind([0, 1, 1], 2) == "random"


def test_no_result(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"format": "else"}')
    (tmp_path / "b.json").write_text('{"format": ')
    for name, message in (("a", "no result file of"), ("b", "or a damaged one"), ("c", "there is no result file")):
        with pytest.raises(UserError, match=message):
            read_result(tmp_path / f"{name}.json")


def test_the_rarest_classes_beside_their_nearest_training_images(digits: ImageTable, rows: np.ndarray) -> None:
    images, labels = np.asarray(digits.images)[rows], digits.labels[rows]
    found = nearest_examples((images, labels), (images, labels), Patches(), num_classes=2, per_class=3)
    rarest = np.argsort(np.bincount(labels), kind="stable")[:2]
    assert [example["class"] for example in found] == np.repeat(rarest, 3).tolist()
    assert all(example["distance"] == 0 and example["png"] == example["nearest_png"] for example in found)


def test_the_commands(digits: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "patches_features.py").write_text(
        "import torch\ndef patches(x):\n    return torch.nn.functional.avg_pool2d(x, 2).flatten(1)\n"
    )
    features = "patches_features:patches"
    line = ["reference", "--data", "digits", "--split", "all", "--features", features, "--imbalance", "0.1"]
    assert main([*line, "--out", "ref.safetensors"]) == 0
    assert "1,797 images of 10 classes" in capsys.readouterr().out
    stored(tmp_path, digits, 1.5)
    line = ["evaluate", "w1.5.npz", "--reference", "ref.safetensors", "--features", features]
    assert main([*line, "--metrics", "fid", "memorisation"]) == 0
    shown = capsys.readouterr().out
    assert "tail" in shown
    assert "note: 300 images instead of 50,000" in shown
    assert "w1.5.json" in shown
    # Version 0.1 called metrics figures.
    assert main([*line, "--figures", "fid", "memorisation", "--figure-seed", "0"]) == 0
    error = capsys.readouterr().err
    assert "--figures is --metrics now" in error
    assert "--figure-seed is --metric-seed now" in error
    assert main(["compare", "w1.5.json", "w1.5.json", "--format", "markdown"]) == 0
    assert "| noise | 1.5 | 300 |" in capsys.readouterr().out
    assert main(["evaluate", "nowhere", "--reference", "ref.safetensors"]) == 2
    assert main([*line, "--metrics", "fit"]) == 2
    error = capsys.readouterr().err
    assert "nowhere does not exist" in error
    assert "did you mean 'fid'" in error
    assert error.count("\n") == 2


def test_w_per_class_of_a_run(reference: Reference, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out, extractor, ws = tmp_path / "run", tmp_path / "out.json", Patches(), (0.0, 1.5, 6.0)
    counts = np.array(store_run(run, "learning: {label_dropout: 0.1, dropout_unit: batch, seed: 3}\n"))
    judge = Judge(reference, extractor, replace(QUICK, metrics=("fid", "kid")))
    drawing = Drawing(4, CurveFlags(steps=2, w_power=0.5))
    curve = evaluate_run(run, ws, judge, out, drawing, progress=False)
    assert "w_table" not in json.loads(out.read_text())
    by_class, by_group = (replace(judge, options=replace(judge.options, w_per=per)) for per in ("class", "group"))
    result = evaluate_run(run, ws, by_class, out, drawing, progress=False)
    assert result.points == curve.points
    assert result.choice is not None
    assert read_result(out).choice == result.choice
    allowed = np.array(ws)[:, None] * np.sqrt(counts.mean() / counts)
    for name, w in json.loads(out.read_text())["w_table"].items():
        assert np.isclose(allowed[:, int(name)], w).any()
    assert result.choice.mixture.num_images == result.choice.single.num_images == 20
    assert result.choice.mixture.metrics.keys() == {"fid", "kid"} == result.choice.single.groups["tail"].metrics.keys()
    before = extractor.seen
    again = evaluate_run(run, ws, by_class, out, drawing, progress=False)
    assert (again.choice, extractor.seen) == (result.choice, before), "what was chosen is not chosen again"
    assert evaluate_run(run, ws[:1], judge, out, drawing, progress=False).choice == result.choice
    groups = evaluate_run(run, ws, by_group, out, drawing, progress=False).choice
    assert groups is not None
    assert len({round(groups.w_table[str(c)] / np.sqrt(counts.mean() / counts[c]), 9) for c in range(3)}) == 1
    text = as_text(summary(result))
    assert "w per class, tail" in text
    assert f"chosen on all images: 0 {result.choice.w_table['0']:g}, " in text
    words = ["--w-table", str(out), "--per-class", "1", "--steps", "2", "--out", str(tmp_path / "s")]
    assert main(["sample", str(run), *words]) == 0
    assert json.loads((tmp_path / "s" / "samples.json").read_text())["w_table"] == groups.w_table


def test_w_per_class_of_stored_samples(digits: ImageTable, reference: Reference, tmp_path: Path) -> None:
    paths = [stored(tmp_path, digits, w) for w in (0.0, 0.5, 1.5)]  # the larger w, the less noise
    options = replace(QUICK, metrics=("fid",), w_per="class")
    judge, out = Judge(reference, Patches(), options), tmp_path / "o.json"
    choice = evaluate_stored(paths, judge, out, progress=False).choice
    assert choice is not None
    assert choice.single_w == [1.5, 1.5]
    assert sum(w == 1.5 for w in choice.w_table.values()) > 5
    stored(tmp_path, digits, 1.5, seed=1)  # other samples of the same w: what was chosen from the old ones goes
    assert (
        evaluate_stored(paths, Judge(reference, Patches(), replace(options, w_per=None)), out, progress=False).choice
        is None
    )
    without = Judge(replace(reference, train_rows=None), Patches(), replace(options, w_per="group"))
    for given, by, says in (
        (paths[:1], judge, "--w-per chooses among weights for each class: give two or more"),
        (paths, without, "the training images of each class are not known; take --w-per class"),
    ):
        with pytest.raises(UserError, match=says):
            evaluate_stored(given, by, tmp_path / "none.json", progress=False)
    assert not (tmp_path / "none.json").exists()


def test_guidance_is_a_factor_of_comparable_results(reference: Reference, tmp_path: Path) -> None:
    facts = {"scheduler": "ddim", "steps": 100, "seed": 0}
    judge = Judge(reference, Patches())
    plain, ruled = (make_result(Provenance("x", facts | more), judge, []) for more in ({}, {"w_power": 0.5}))
    assert differing_factors(plain, ruled) == {"sampler.guidance": ("w", "w (n̄/n)^0.5")}
    assert "sampler: guidance w (n̄/n)^0.5, not DDIM with 100 steps" in ruled.notes
    del plain.protocol["sampler"]["guidance"]  # of a version that had none of this
    write_result(plain, tmp_path / "old.json")
    assert differing_factors(read_result(tmp_path / "old.json"), ruled) == {"sampler.guidance": ("w", "w (n̄/n)^0.5")}
