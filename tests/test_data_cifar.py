"""CIFAR archives: read where they lie, checked, and never trusted with code."""

import functools
import hashlib
import io
import os
import pickle
import tarfile
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from t2h.data import load_images
from t2h.data.download import RemoteFile
from t2h.data.sources import cifar
from t2h.data.sources.base import Request
from t2h.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3072), dtype=np.uint8)
LABELS = [2, 0, 1, 1, 0, 2]


def small_files() -> dict[str, bytes]:
    """A data set of three classes in CIFAR-100's form."""
    batch = {b"data": PIXELS, b"fine_labels": LABELS}
    files = {"train": batch, "test": batch, "meta": {b"fine_label_names": [b"ant", b"bee", b"cow"]}}
    return {name: pickle.dumps(content, protocol=4) for name, content in files.items()}


def small_archive(files: dict[str, bytes], tar: bytes = b"", address: str = "http://127.0.0.1:9") -> cifar.Archive:
    return replace(
        cifar.CIFAR100,
        remote=RemoteFile(f"{address}/small.tar.gz", len(tar), hashlib.md5(tar).hexdigest()),
        folder="small",
        md5={name: hashlib.md5(content).hexdigest() for name, content in files.items()},
    )


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def in_folder(files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"small/{name}": content for name, content in files.items()}


def unpack(files: dict[str, bytes], folder) -> None:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def check(table) -> None:
    np.testing.assert_array_equal(table.images, PIXELS.reshape(-1, 3, 32, 32))
    assert table.labels.tolist() == LABELS
    assert table.class_names == ("ant", "bee", "cow")


@pytest.mark.parametrize("where", ["parent", "itself", "tar", "tar's parent"])
def test_every_place(tmp_path, where):
    files = small_files()
    archive = small_archive(files)
    if "tar" in where:
        (tmp_path / "small.tar.gz").write_bytes(packed(in_folder(files)))
    else:
        unpack(files, tmp_path / "small")
    root = {"itself": tmp_path / "small", "tar": tmp_path / "small.tar.gz"}.get(where, tmp_path)
    check(cifar.read(Request("cifar100", root), archive))


def test_nothing_there_says_where_to_get_it(tmp_path):
    with pytest.raises(UserError, match=r"no cifar-10-batches-py .*--download\), which fetches 170 MB from https://"):
        load_images("cifar10", tmp_path)
    with pytest.raises(UserError, match="cifar-100-python"):
        load_images("cifar100", tmp_path / "absent")


def test_default_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="in data;"):
        load_images("cifar10")
    monkeypatch.setenv("T2H_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="elsewhere;"):
        load_images("cifar10")


def test_downloaded_on_request(tmp_path):
    files = small_files()
    tar = packed(in_folder(files))
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "small.tar.gz").write_bytes(tar)
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        archive = small_archive(files, tar, f"http://127.0.0.1:{server.server_port}")
        check(cifar.read(Request("cifar100", tmp_path / "data", download=True), archive))
        server.shutdown()
        thread.join()
    check(cifar.read(Request("cifar100", tmp_path / "data"), archive))  # from now on without the server


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_wrong_md5(tmp_path, form):
    files = small_files()
    archive = small_archive(files)
    files["train"] = files["train"][:-100] + b"\0" * 100
    if form == "folder":
        unpack(files, tmp_path / "small")
    else:
        (tmp_path / "small.tar.gz").write_bytes(packed(in_folder(files)))
    with pytest.raises(UserError, match=r"train has md5 \w+, officially"):
        cifar.read(Request("cifar100", tmp_path), archive)
    check(cifar.read(Request("cifar100", tmp_path, split="test"), archive))


def test_missing_file(tmp_path):
    files = small_files()
    archive = small_archive(files)
    del files["train"]
    unpack(files, tmp_path / "small")
    with pytest.raises(UserError, match="small: train missing"):
        cifar.read(Request("cifar100", tmp_path), archive)


@pytest.mark.parametrize("keep", [0, 100, 10_000])
def test_truncated_tar(tmp_path, keep):
    files = small_files()
    (tmp_path / "small.tar.gz").write_bytes(packed(in_folder(files))[:keep])
    with pytest.raises(UserError, match="download it again"):
        cifar.read(Request("cifar100", tmp_path), small_archive(files))


def test_tar_with_path_tricks_writes_and_follows_nothing(tmp_path):
    """Members that climb out, absolute ones, and a link in the data's place: nothing is unpacked, no link followed."""
    files = small_files()
    archive = small_archive(files)
    (tmp_path / "secret").write_bytes(files["train"])  # even with the right content behind it
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tricks = {"../escaped": b"x", str(tmp_path / "absolute"): b"x", "small/../../small/train": files["train"]}
        for name, content in {**tricks, "small/meta": files["meta"]}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("small/train")
            link.type, link.linkname = kind, str(tmp_path / "secret")
            tar.addfile(link)
    root = tmp_path / "root"
    root.mkdir()
    (root / "small.tar.gz").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="train missing"):
        cifar.read(Request("cifar100", root), archive)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["root", "secret", "small.tar.gz"]


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickle_that_would_run_code(tmp_path, protocol):
    content = pickle.dumps({"data": Malicious(tmp_path / "owned")}, protocol=protocol)
    with pytest.raises(UserError, match=r"train is no CIFAR batch, or a damaged one \(it names (posix|os)\.mkdir\)"):
        cifar.load_pickle(content, "train")
    assert not (tmp_path / "owned").exists()
    pickle.loads(content)  # the test's own check: an open unpickler does run it
    assert (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello", pickle.dumps([1]), pickle.dumps({b"data": np.zeros(2)}), b"\x80\x02}"]
)
def test_pickle_that_is_not_the_data(content):
    with pytest.raises(UserError, match="x is no CIFAR batch"):
        cifar.load_pickle(content, "x")


def test_unknown_split(tmp_path):
    with pytest.raises(UserError, match="unknown split of cifar10 'tets'; did you mean 'test'"):
        load_images("cifar10", tmp_path, split="tets")


def test_the_real_archives(cifar):  # the folder
    ten = load_images("cifar10", cifar, "test")
    assert ten.images.shape == (10_000, 3, 32, 32)
    assert ten.class_counts.tolist() == [1000] * 10
    assert ten.class_names[0] == "airplane"
    assert ten.labels[:4].tolist() == [3, 8, 8, 0]  # cat, ship, ship, airplane
    hundred = load_images("cifar100", cifar / "cifar-100-python", "test")
    assert hundred.class_counts.tolist() == [100] * 100
    assert hundred.class_names[-1] == "worm"
