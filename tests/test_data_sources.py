"""Every other source: digits, idx files, TinyImageNet's layout, npz files, the Hub's tables, and names."""

import gzip
import struct

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from t2h.data import load_images
from t2h.data.sources import canonical, fashion_mnist
from t2h.data.sources.base import Request
from t2h.data.sources.cifar import CIFAR10, CIFAR100
from t2h.data.sources.digits import stratified_rows
from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.features.inception import PTH


def test_digits():
    whole, train, test = (load_images("digits", split=split) for split in ("all", "train", "test"))
    assert (len(whole), len(train), len(test)) == (1797, 1437, 360)
    np.testing.assert_array_equal(whole.images[:, 0], np.floor(load_digits().images * 255 / 16 + 0.5))
    assert whole.images.max() == 255
    np.testing.assert_allclose(train.class_counts / whole.class_counts, 0.8, atol=0.004)
    both = np.concatenate([train.images, test.images]).reshape(1797, -1)
    assert sorted(map(tuple, both)) == sorted(map(tuple, whole.images.reshape(1797, -1)))


def test_stratified_rows():
    labels = np.array([0, 1, 0, 1, 0, 1, 0, 1, 1, 1])
    assert stratified_rows(labels, 0.5).tolist() == [0, 1, 2, 3, 5]
    assert stratified_rows(np.array([0, 1, 0, 1, 0, 1]), 0.5).tolist() == [0, 1, 2]  # of equal remainders the first


def test_size_and_channels_of_any_source():
    table = load_images("digits", image_size=16, channels=3)
    assert table.images.shape == (1437, 3, 16, 16)
    np.testing.assert_array_equal(table.images[:, 0], table.images[:, 2])
    assert load_images("digits", image_size=8).images.shape == (1437, 1, 8, 8)
    for wrong in ({"image_size": 0}, {"channels": 2}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            load_images("digits", **wrong)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("digitss", "did you mean 'digits'"),
        ("tiny-imagenet", "did you mean 'tiny-imagenet-200'"),
        ("xyz", "Allowed: digits, cifar10"),
        ("./absent", "no such file or directory"),
        ("absent.npz", "no such file or directory"),
        (__file__, "neither a folder nor an .npz"),
    ],
)
def test_unknown_data(given, message):
    with pytest.raises(UserError, match=message):
        load_images(given)


def test_data_have_one_name_however_they_are_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    given = ["mine", "./mine", "./mine/", "../" + tmp_path.name + "/mine", "~/mine", str(tmp_path / "mine")]
    assert {canonical(data) for data in given} == {str(tmp_path / "mine")}
    for data in ("cifar10", "CIFAR10", "CIFAR-10", "cifar_10"):
        assert canonical(data) == "cifar10"
    (tmp_path / "CIFAR10").mkdir()
    assert canonical("CIFAR10") == str(tmp_path / "CIFAR10")  # what is there is meant
    assert (canonical("cifar10"), canonical("hub:me/pets"), canonical("absent")) == ("cifar10", "hub:me/pets", "absent")


def write_idx(path, array: np.ndarray) -> None:
    content = struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def idx(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = np.arange(12, dtype=np.uint8) % 10
    for stem, ending in (("train", ".gz"), ("t10k", "")):
        write_idx(tmp_path / f"{stem}-images-idx3-ubyte{ending}", images)
        write_idx(tmp_path / f"{stem}-labels-idx1-ubyte{ending}", labels)
    return tmp_path, images, labels


@pytest.mark.parametrize("split", ["train", "test"])
def test_fashion_mnist(idx, split):
    root, images, labels = idx
    table = load_images("fashion-mnist", root, split)
    np.testing.assert_array_equal(table.images[:, 0], images)
    np.testing.assert_array_equal(table.labels, labels)
    assert table.class_names[9] == "Ankle boot"


def test_damaged_idx(idx):
    root, images, labels = idx
    path = root / "t10k-images-idx3-ubyte"
    content = path.read_bytes()
    for damaged, message in [
        (content[:-1], "9,407 values, but its header says 12 x 28 x 28"),
        (content + b"\0", "9,409 values"),
        (content[:10], "ends inside its header"),
        (b"", "starts with nothing"),
        (b"\0\0\x0d\x03" + content[4:], "starts with 00 00 0d 03, not 00 00 08 03"),
    ]:
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=message):
            load_images("fashion-mnist", root, "test")
    write_idx(path, images[:5])
    with pytest.raises(UserError, match="5 images but 12 labels"):
        load_images("fashion-mnist", root, "test")
    packed = root / "train-labels-idx1-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(
        UserError,
        match=r"train-labels-idx1-ubyte.gz is no idx file of unsigned bytes, or a damaged one \(Compressed file",
    ):
        load_images("fashion-mnist", root)
    packed.unlink()
    with pytest.raises(UserError, match=r"no train-labels-idx1-ubyte .*fetches 31 MB from http"):
        load_images("fashion-mnist", root)
    write_idx(packed, labels + 1)
    with pytest.raises(UserError, match="labels run from 1 to 10"):
        load_images("fashion-mnist", root)


def test_addresses_are_whole():
    remotes = [*fashion_mnist.REMOTES, CIFAR10.remote, CIFAR100.remote, PTH]
    assert len({remote.checksum for remote in remotes}) == 7
    assert all(remote.url.startswith("https://") for remote in remotes)
    assert all(len(remote.checksum) == 32 and remote.filename.endswith("-ubyte.gz") for remote in fashion_mnist.REMOTES)


WNIDS = ("n02", "n01", "n03")


@pytest.fixture
def tiny(tmp_path):
    root = tmp_path / "tiny-imagenet-200"
    (root / "val" / "images").mkdir(parents=True)
    annotations = []
    for i, wnid in enumerate(WNIDS):
        folder = root / "train" / wnid / "images"
        folder.mkdir(parents=True)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text("no image")
        for j in range(i + 1):
            Image.new("L" if j else "RGB", (64, 64), 40 * i if j else (40 * i,) * 3).save(folder / f"{wnid}_{j}.JPEG")
        Image.new("RGB", (64, 64), (200 + i,) * 3).save(root / "val" / "images" / f"val_{i}.JPEG")
        annotations.append(f"val_{i}.JPEG\t{wnid}\t0\t0\t63\t63\n")
    (root / "val" / "val_annotations.txt").write_text("".join(annotations))
    (root / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tcrane\nn03\tcrane\nn99\tother\n")
    return root


def test_tiny_imagenet(tiny):
    train = load_images("tiny-imagenet-200", tiny.parent)
    assert train.class_names == ("goldfish", "crane (n02)", "crane (n03)")
    assert train.class_counts.tolist() == [2, 1, 3]
    assert train.images.shape == (6, 3, 64, 64)  # the grey ones too
    assert train.images[:, 0, 0, 0].tolist() == [40, 40, 0, 80, 80, 80]
    val = load_images("tiny-imagenet-200", tiny, "val")
    assert val.labels.tolist() == [0, 1, 2]
    assert val.images[:, 0, 0, 0].tolist() == [201, 200, 202]
    assert load_images("tiny-imagenet-200", tiny, image_size=32, channels=1).images.shape == (6, 1, 32, 32)


def test_tiny_imagenet_classes_are_sorted(tmp_path):
    wnids = [f"n{i * 37 % 50:02d}" for i in range(50)]
    for wnid in wnids:
        (tmp_path / "train" / wnid).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / "train" / wnid / "x.JPEG")
    assert load_images("tiny-imagenet-200", tmp_path).class_names == tuple(sorted(wnids))


def test_tiny_imagenet_incomplete(tiny, tmp_path):
    with pytest.raises(UserError, match="unknown split"):
        load_images("tiny-imagenet-200", tiny, "test")
    with pytest.raises(UserError, match=r"no train/WNID/images here; unpack http"):
        load_images("tiny-imagenet-200", tmp_path / "absent")
    (tiny / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn77\t0\n")
    with pytest.raises(UserError, match="line 1: 'n77' is not a class"):
        load_images("tiny-imagenet-200", tiny, "val")
    (tiny / "train" / "n02" / "images" / "n02_0.JPEG").unlink()
    with pytest.raises(UserError, match="no train images of n02"):
        load_images("tiny-imagenet-200", tiny)


IMAGES = np.random.default_rng(1).integers(0, 256, (5, 7, 6, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 2, 0, 2])


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": IMAGES, "labels": LABELS},
        {"x": IMAGES, "y": LABELS.astype(np.uint8)},
        {"arr_0": IMAGES, "arr_1": LABELS},
        {"images": IMAGES.transpose(0, 3, 1, 2), "labels": LABELS, "meta": np.array(1.5)},
    ],
)
def test_npz(tmp_path, arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    for data, root in (("npz", tmp_path / "mine.npz"), (str(tmp_path / "mine.npz"), None)):
        table = load_images(data, root)
        np.testing.assert_array_equal(table.images, IMAGES.transpose(0, 3, 1, 2))
        assert table.labels.tolist() == LABELS.tolist()
        assert table.class_names == ("0", "1", "2")
        assert table.name == "mine"


def test_npz_variants(tmp_path):
    np.savez(tmp_path / "train.npz", images=IMAGES[..., 0], labels=LABELS, class_names=["a", "b", "c", "d"])
    table = load_images("npz", tmp_path)
    assert table.images.shape == (5, 1, 7, 6)
    assert table.class_names == ("a", "b", "c", "d")
    assert table.class_counts.tolist() == [2, 0, 3, 0]
    np.savez(tmp_path / "samples.npz", IMAGES)
    assert load_images(str(tmp_path / "samples.npz")).class_names == ("unlabelled",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": IMAGES.astype(np.float32), "labels": LABELS},
            "images are float32 from 0.0 to 255.0; integers in 0",
        ),
        ({"images": IMAGES[..., :2], "labels": LABELS}, "shape .*C = 1 or 3"),
        ({"images": IMAGES, "labels": LABELS[:4]}, "5 images but 4 labels"),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels run from -1 to 1"),
        ({"images": IMAGES, "labels": LABELS, "class_names": ["a", "b"]}, "labels run from 0 to 2; with 2 classes"),
        ({"images": IMAGES, "labels": LABELS * 1.0}, "labels are float64"),
        ({"images": IMAGES}, "none of labels, y, arr_1"),
        ({"labels": LABELS}, "none of images, x, arr_0"),
        ({"images": IMAGES, "labels": LABELS.astype(object)}, "not a whole .npz of plain arrays"),
    ],
)
def test_wrong_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message):
        load_images("npz", tmp_path / "x.npz")


def test_damaged_npz(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=IMAGES, labels=LABELS)
    whole = path.read_bytes()
    for keep in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:keep])
        with pytest.raises(UserError, match=r"not a whole \.npz"):
            load_images("npz", path)
    path.write_bytes(whole[:60] + bytes(40) + whole[100:])
    with pytest.raises(UserError, match=r"not a whole \.npz"):
        load_images("npz", path)
    np.save(tmp_path / "x.npy", IMAGES)
    (tmp_path / "x.npy").rename(path)
    with pytest.raises(UserError, match=r"one array, not an \.npz"):
        load_images("npz", path)
    with pytest.raises(UserError, match="no root given"):
        load_images("npz")
    with pytest.raises(UserError, match="no such file"):
        load_images("npz", tmp_path / "absent.npz")
    with pytest.raises(UserError, match="unknown split of npz 'test'"):
        load_images("npz", tmp_path, "test")


def test_labels_out_of_range():
    with pytest.raises(UserError, match="labels run from 0 to 3; with 2 classes"):
        ImageTable(np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 3]), ("a", "b"))


@pytest.fixture
def hub_rows():
    datasets = pytest.importorskip("datasets")
    from t2h.data.encoded import settled
    from t2h.data.sources.hub import table_of

    def make(columns, kinds, request=None):
        features = datasets.Features({name: kinds[name](datasets) for name in columns})
        dataset = datasets.Dataset.from_dict(columns, features=features)
        return settled(table_of(dataset, "pets", request or Request("hub:me/pets")))

    return make


PICTURES = [Image.fromarray(image) for image in IMAGES]
PETS = ["cat", "dog", "emu"]
KINDS = {
    "image": lambda d: d.Image(),
    "image2": lambda d: d.Image(),
    "label": lambda d: d.ClassLabel(names=PETS),
    "fine_label": lambda d: d.ClassLabel(names=PETS),
    "coarse_label": lambda d: d.ClassLabel(names=["animal"]),
    "text": lambda d: d.Value("string"),
}


def test_hub_table(hub_rows):
    columns = {"text": list("abcde"), "image": PICTURES, "label": LABELS.tolist()}
    table = hub_rows(columns, KINDS)
    np.testing.assert_array_equal(table.images, IMAGES.transpose(0, 3, 1, 2))
    assert table.labels.tolist() == LABELS.tolist()
    assert table.class_names == tuple(PETS)
    assert hub_rows(columns, KINDS, Request("hub:me/pets", image_size=4, channels=1)).images.shape == (5, 1, 4, 4)


def test_hub_columns(hub_rows):
    several = {"image": PICTURES, "coarse_label": [0] * 5, "fine_label": LABELS.tolist(), "image2": PICTURES}
    assert hub_rows(several, KINDS).labels.tolist() == LABELS.tolist()
    with pytest.raises(UserError, match="no ClassLabel column among image, text"):
        hub_rows({"image": PICTURES, "text": list("abcde")}, KINDS)
    with pytest.raises(UserError, match="no Image column"):
        hub_rows({"label": LABELS.tolist()}, KINDS)


def test_hub_damaged_row(hub_rows, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"bad")
    with pytest.raises(UserError, match=r"1 of 2 images .*\n  row 1: not an image"):
        hub_rows({"image": [PICTURES[0], str(tmp_path / "bad.png")], "label": [0, 1]}, KINDS)


def test_hub_without_datasets(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="pip install datasets"):
        load_images("hub:me/pets")


def test_hub_root_has_no_use(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(UserError, match="has no use"):
        load_images("hub:me/pets", tmp_path)
