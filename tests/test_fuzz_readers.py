"""Small valid files, damaged at random: every reader returns something or raises `UserError`, and stays small.

The damage follows from a seed, so a failure comes back; a longer run of other seeds is `slow`.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import resource
import struct
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from t2h.data import load_images
from t2h.data.encoded import encoded, settled
from t2h.data.sources import cifar
from t2h.data.sources.fashion_mnist import read_idx
from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.features import cache
from t2h.samples.read import read_samples

rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 1])


def picture(kind: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS[0]).convert(mode).save(stream, kind)
    return stream.getvalue()


def archive(write: Callable[..., None]) -> bytes:
    stream = io.BytesIO()
    write(stream, images=PIXELS, labels=LABELS, class_names=np.array(["a", "b"]), protocol=np.array('{"w": 0.5}'))
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        info = tarfile.TarInfo("a/b")
        info.size = 5
        file.addfile(info, io.BytesIO(b"12345"))
    return stream.getvalue()


def read_picture(path: Path) -> None:
    images = encoded([path], "one", 8, 3)
    settled(ImageTable(images, np.zeros(1, np.int64), ("a",)))


def read_archive(path: Path) -> None:
    load_images(str(path))
    read_samples(path).checked()


def read_facts(path: Path) -> None:
    folder = path.parent / "samples"
    (folder / "a").mkdir(parents=True, exist_ok=True)
    (folder / "a" / "1.png").write_bytes(PNG)
    (folder / "samples.json").write_bytes(path.read_bytes())
    read_samples(folder, ("a", "b"))


def read_cache(path: Path) -> None:
    folder = path.parent / "cache"
    cache.cached("x", "key", lambda: {"x": PIXELS}, folder)
    (file,) = (folder / "x").iterdir()
    content = path.read_bytes()
    file.write_bytes(content)
    found = cache.cached("x", "key", lambda: {"x": PIXELS}, folder)["x"]
    np.testing.assert_array_equal(found, PIXELS)  # made anew, or whole in spite of the damage


PNG = picture("png")
KEPT = save({"x": PIXELS}, {"sha256": cache.state_sha256({"x": PIXELS})})
IDX = struct.pack(">BBBB3i", 0, 0, 8, 3, 2, 3, 4) + bytes(range(24))
BATCH = pickle.dumps({b"data": PIXELS.reshape(3, -1), b"labels": [0, 1, 1], b"filenames": [b"x.png"]}, protocol=4)
READERS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    **{f"x.{kind}": (picture(kind), read_picture) for kind in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm")},
    "palette.png": (picture("png", "P"), read_picture),
    "alpha.png": (picture("png", "LA"), read_picture),
    "plain.npz": (archive(np.savez), read_archive),
    "packed.npz": (archive(np.savez_compressed), read_archive),
    "x.safetensors": (KEPT, read_cache),
    "batch": (BATCH, lambda path: cifar.load_pickle(path.read_bytes(), "batch")),
    "x-idx": (IDX, lambda path: read_idx(path, 3)),
    "x-idx.gz": (gzip.compress(IDX), lambda path: read_idx(path, 3)),
    "x.tar.gz": (tar(), lambda path: cifar.members(path, {"a/b": "b"})),
    "samples.json": (json.dumps({"w": 0.5, "class_names": ["a", "b"], "class_counts": [2, 1]}).encode(), read_facts),
}


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: a byte, a cut, a part that is left out, doubled, or made of one byte, a huge number."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 9))
        kind = rng.integers(6)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length]
        elif kind == 3:
            data[at : at + length] = bytes([int(rng.choice([0, 255, 48, 128]))]) * length
        elif kind == 4:
            data[at : at + 8] = (1 << int(rng.integers(64))).to_bytes(8, str(rng.choice(["little", "big"])))
        else:
            data[at : at + 1] = bytes([int(rng.integers(256))])
    return bytes(data)


@pytest.mark.parametrize("rounds", [40, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", READERS)
def test_damage_is_refused_or_harmless(name: str, rounds: int, tmp_path: Path) -> None:
    content, read = READERS[name]
    path = tmp_path / name
    path.write_bytes(content)
    read(path)  # whole, it is read
    before, refused = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0
    for seed in range(rounds):
        path.write_bytes(damaged(content, np.random.default_rng([rounds, seed])))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about what it passes over
            try:
                read(path)
            except UserError:
                refused += 1
    assert refused > rounds // 10 or name == "x.safetensors"  # which is made anew
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB
