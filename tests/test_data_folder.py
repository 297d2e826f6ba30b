"""A folder of one's own images, in every state that such folders are in."""

import numpy as np
import pytest
from PIL import Image

from t2h.data import DataConfig, load, load_images
from t2h.errors import UserError


def save(path, value=0, size=(6, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value,) * 3 if mode == "RGB" else value).save(path)


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    save(root / "dog" / "b.PNG", 30)
    save(root / "dog" / "a.bmp", 20)
    save(root / "cat" / "1.png", 10)
    save(root / "cat" / "deeper" / "still" / "2.webp", 11)
    return root


def test_classes_and_files_are_sorted(pets):
    table = load_images("folder", pets)
    assert table.class_names == ("cat", "dog")
    assert table.labels.tolist() == [0, 0, 1, 1]
    assert table.images[[0, 2, 3], 0, 0, 0].tolist() == [10, 20, 30]
    assert (table.name, table.split, table.images.shape) == ("pets", "train", (4, 3, 6, 6))


def test_a_path_is_a_folder(pets, monkeypatch):
    assert len(load_images(str(pets))) == 4
    monkeypatch.chdir(pets.parent)
    assert load_images("pets").name == "pets"
    with pytest.raises(UserError, match="has no use"):
        load_images("pets", root=pets)


def test_what_is_passed_over(pets):
    save(pets / "cat" / ".hidden.png")
    save(pets / ".cache" / "x.png")
    save(pets / "cat" / ".thumbs" / "x.png")
    save(pets / "loose.png")
    (pets / "cat" / "notes.txt").write_text("no image")
    assert load_images("folder", pets).class_counts.tolist() == [2, 2]


def test_grey_if_all_are(pets, tmp_path):
    root = tmp_path / "scans"
    save(root / "a" / "1.png", 7, mode="L")
    save(root / "b" / "1.png", 0, mode="1")
    assert load_images("folder", root).channels == 1
    assert load_images("folder", root, channels=3).channels == 3
    assert load_images("folder", pets, channels=1).channels == 1


def test_sizes(pets):
    save(pets / "cat" / "wide.jpg", 99, size=(40, 20))
    with pytest.raises(UserError, match="--image-size"):
        load_images("folder", pets)
    table = load_images("folder", pets, image_size=8)
    assert table.images.shape == (5, 3, 8, 8)
    assert abs(int(table.images[2].mean()) - 99) <= 1


def test_empty_class_folder(pets):
    (pets / "emu").mkdir()
    (pets / "ant").mkdir()
    (pets / "ant" / "readme.txt").write_text("soon")
    with pytest.raises(UserError, match=r"no images in \S+/ant, \S+/emu; put some there .* or remove"):
        load_images("folder", pets)


def test_all_unreadable_images_are_named(pets):
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(noise).save(pets / "dog" / "cut.png")
    whole = (pets / "dog" / "cut.png").read_bytes()
    (pets / "dog" / "cut.png").write_bytes(whole[:-60])
    (pets / "cat" / "text.jpg").write_text("hello")
    (pets / "cat" / "empty.jpg").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        load_images("folder", pets)
    message = str(caught.value)
    assert message.startswith("3 of 7 images cannot be read; replace or remove them:")
    for name in ("dog/cut.png", "cat/text.jpg", "cat/empty.jpg"):
        assert str(pets / name) in message


def test_only_unreadable_images(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"1 of 1 images .*\n.*x\.png: not an image"):
        load_images("folder", tmp_path)


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="no root given"):
        load_images("folder")
    with pytest.raises(UserError, match="no such file or directory; give a folder with one subfolder"):
        load_images("folder", tmp_path / "absent")
    with pytest.raises(UserError, match="no subfolders"):
        load_images("folder", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file; give a folder"):
        load_images("folder", tmp_path / "file")


def test_splits(tmp_path):
    for split, classes in (("train", "abc"), ("test", "ca")):
        for name in classes:
            save(tmp_path / split / name / "1.png", ord(name))
    assert load_images("folder", tmp_path).class_names == ("a", "b", "c")
    test = load_images("folder", tmp_path, "test")
    assert test.class_names == ("a", "b", "c")
    assert test.labels.tolist() == [0, 2]
    assert test.images[:, 0, 0, 0].tolist() == [ord("a"), ord("c")]
    with pytest.raises(UserError, match="unknown split of folder 'val'"):
        load_images("folder", tmp_path, "val")
    save(tmp_path / "test" / "z" / "1.png")
    with pytest.raises(UserError, match="z not among the classes of"):
        load_images("folder", tmp_path, "test")
    (tmp_path / "train" / "b" / "1.png").unlink()
    with pytest.raises(UserError, match="no images in"):
        load_images("folder", tmp_path)


def test_a_class_may_be_called_train(tmp_path):
    save(tmp_path / "train" / "1.png")
    save(tmp_path / "bus" / "1.png")
    assert load_images("folder", tmp_path).class_names == ("bus", "train")
    with pytest.raises(UserError, match="unknown split"):
        load_images("folder", tmp_path, "test")


def test_long_tail_of_a_folder_decodes_what_it_keeps(tmp_path):
    for name in "ab":
        for i in range(10):
            save(tmp_path / name / f"{i}.png", i)
    config = DataConfig("folder", tmp_path, imbalance=0.2)
    table = load(config)
    assert table.class_counts.tolist() == [10, 2]
    assert isinstance(table.images, np.ndarray)
    kept = table.images[table.labels == 1, 0, 0, 0].tolist()
    (tmp_path / "b" / f"{min(set(range(10)) - set(kept))}.png").write_bytes(b"damaged, but not kept")
    np.testing.assert_array_equal(load(config).images, table.images)
