"""Stored samples of any origin have one reader; what is in doubt is refused, and the file is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from t2h import UserError
from t2h.data.sources import load_images
from t2h.samples.read import read_facts, read_samples

NAMES = ("cat", "sea lion", "dog")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 0, 1, 1, 2, 2])


def write(root, folders, count=1, size=(4, 4)):
    for k, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((*size, 3), 20 * k + i, np.uint8)).save(root / folder / f"{i}.png")
    return root


@pytest.mark.parametrize(
    ("folders", "names", "labels"),
    [
        (["0_cat", "1_sea-lion", "2_dog"], NAMES, [0, 1, 2]),
        (["cat", "dog"], NAMES, [0, 2]),
        (["0", "2"], NAMES, [0, 2]),
        (["0_katze", "2_hund"], NAMES, [0, 2]),
        (["00", "01"], ("0", "1"), [0, 1]),
        (["3", "7"], (), [3, 7]),
        (["1", "10", "2"], (*tuple("123456789"), "10"), [0, 9, 1]),  # 10 is no index, so all are names
        (["0_1", "1_2"], ("1", "2"), [0, 1]),
        (["0_a-b", "1_a-b"], ("a b", "a/b"), [0, 1]),
    ],
)
def test_class_folders_are_all_indices_or_all_names(tmp_path, folders, names, labels):
    samples = read_samples(write(tmp_path / "s", folders), names)
    assert samples.labels.tolist() == labels
    assert samples.images[np.arange(len(folders))][:, 0, 0, 0].tolist() == [20 * k for k in range(len(folders))]


@pytest.mark.parametrize(
    ("folders", "names", "says"),
    [
        (
            [f"{k:02d}" for k in range(1, 13)],
            [str(k) for k in range(1, 13)],
            "01 is 2 by index, no class by name; 02 is 3",
        ),
        (["1", "2"], ["1", "2", "3"], "1 is 2 by index, 1 by name"),
        (["cat", "1"], NAMES, "1 is sea lion by index, no class by name; cat is no class by index, cat by name. "),
        (["0_dog", "2_cat"], NAMES, "0_dog is cat by index, dog by name"),
        (["cow"], NAMES, "cow is no class by index, no class by name"),
    ],
)
def test_a_mixture_or_a_doubt_is_refused_with_both_readings(tmp_path, folders, names, says):
    with pytest.raises(UserError, match=says) as error:
        read_samples(write(tmp_path / "s", folders), names)
    assert "\n" not in str(error.value)


def test_folders_of_names_that_nobody_knows_name_their_classes(tmp_path):
    samples = read_samples(write(tmp_path / "s", ["cat", "dog"]))
    assert (samples.labels.tolist(), samples.class_names) == ([0, 1], ("cat", "dog"))


def test_the_first_of_each_class_are_decoded_alone(tmp_path):
    root = write(tmp_path / "s", ["0_cat", "2_dog"], count=3)
    (root / "2_dog" / "2.png").write_bytes(b"no image")
    first = read_samples(root, NAMES).first(2)
    assert first.labels.tolist() == [0, 0, 2, 2]
    assert first.images[:, 0, 0, 0].tolist() == [0, 1, 20, 21]


def test_every_damaged_image_is_named(tmp_path):
    root = write(tmp_path / "s", ["0_cat", "2_dog"], count=3, size=(40, 40))
    damaged = [root / "0_cat" / "1.png", root / "2_dog" / "0.png"]
    for file in damaged:
        file.write_bytes(file.read_bytes()[:60])
    samples = read_samples(root, NAMES)
    with pytest.raises(UserError, match="2 of 6 images cannot be read") as error:
        samples.checked()
    assert all(str(file) in str(error.value) for file in damaged)


def test_images_of_two_sizes_get_a_remedy_that_exists(tmp_path):
    root = write(tmp_path / "s", ["0_cat"])
    Image.new("RGB", (8, 6)).save(root / "0_cat" / "large.png")
    with pytest.raises(UserError, match="2 sizes, from 4x4 to 8x6 pixels; bring all samples to one size") as error:
        read_samples(root, NAMES)
    assert "--image-size" not in str(error.value)


def test_what_samples_say_of_themselves(tmp_path):
    root = write(tmp_path / "s", ["0_cat"])
    facts = {"format": "t2h-samples", "w": 1.3 - 1, "scheduler": "heun", "steps": 7, "seed": 3, "class_names": NAMES}
    (root / "samples.json").write_text(json.dumps(facts))
    samples = read_samples(root)
    assert samples.class_names == NAMES
    assert (samples.w, samples.facts["scheduler"], samples.facts["steps"]) == (0.3, "heun", 7)
    with pytest.raises(UserError, match="the samples have the classes cat, sea lion, dog, the reference a"):
        read_samples(root, ("a", "b", "c"))
    (root / "samples.json").write_text(json.dumps(facts)[:40])
    with pytest.raises(UserError, match=r"samples\.json says is no account of samples, or a damaged") as error:
        read_facts(root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": IMAGES, "labels": LABELS},
        {"x": IMAGES.transpose(0, 3, 1, 2), "y": LABELS[:, None]},
        {"arr_0": IMAGES.astype(np.int64), "arr_1": LABELS.astype(np.uint8)},
    ],
)
def test_arrays_in_any_usual_form_are_the_same_to_samples_and_to_training(tmp_path, arrays):
    np.savez(tmp_path / "x.npz", **arrays)
    samples, table = read_samples(tmp_path / "x.npz", NAMES), load_images(str(tmp_path / "x.npz"))
    for found in (samples, table):
        np.testing.assert_array_equal(found.images, IMAGES.transpose(0, 3, 1, 2))
        assert found.images.dtype == np.uint8
        assert found.labels.tolist() == LABELS.tolist()


def test_an_ambiguous_array_is_read_alike_and_grey_needs_no_channel(tmp_path):
    both = np.arange(6 * 3 * 4 * 3, dtype=np.uint8).reshape(6, 3, 4, 3)  # (N, H, W, C) or (N, C, H, W)
    np.savez(tmp_path / "both.npz", images=both, labels=LABELS)
    np.savez(tmp_path / "grey.npz", images=IMAGES[..., 0], labels=LABELS)
    for name, expected in (("both", both.transpose(0, 3, 1, 2)), ("grey", IMAGES[:, None, :, :, 0])):
        file = tmp_path / f"{name}.npz"
        np.testing.assert_array_equal(read_samples(file, NAMES).images, expected)
        np.testing.assert_array_equal(load_images(str(file)).images, expected)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"images": np.zeros((2, 4, 5, 4), np.uint8)}, r"\(RGBA has 4; leave out the last\)"),
        ({"images": np.zeros((0, 4, 5, 3), np.uint8)}, "no images in it"),
        ({"images": IMAGES.astype(np.int64) + 200}, "images are int64 from 2.. to 4..; integers in 0"),
        ({"images": IMAGES.astype(float)}, r"images are float64 from .* to 255.0; .* or floats in \[0, 1\] are needed"),
        ({"images": IMAGES, "labels": LABELS + 0.7}, "labels are float64"),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels run from -1 to 1"),
        ({"images": IMAGES, "labels": LABELS * 10**9}, "labels run from 0 to 2000000000; they must number the classes"),
        ({"images": IMAGES, "labels": LABELS[:3]}, "6 images but 3 labels"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, says):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=rf"x\.npz: .*{says}"):
        read_samples(tmp_path / "x.npz", NAMES)


def test_files_that_are_no_archive(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(UserError, match=r"a\.npz: one array, not an \.npz"):
        read_samples(tmp_path / "a.npz", NAMES)
    np.savez(tmp_path / "b.npz", images=IMAGES, labels=np.full(6, -1))
    assert read_samples(tmp_path / "b.npz", NAMES).labels is None  # drawn without labels, as t2h sample stores them
