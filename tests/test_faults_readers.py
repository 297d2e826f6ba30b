"""What people bring as images, arrays and samples: each works, with the right value, or is refused in one line.

The table goes through the command line in this process, so what is no `UserError` fails the test. Every input lies in
an empty folder, which is the working directory; what is refused leaves it as it was.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import re
import resource
import struct
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2h.cli import main
from t2h.data.sources import cifar
from t2h.data.table import ImageTable
from t2h.errors import notice
from t2h.evaluation.reference import make_reference
from t2h.evaluation.reference_file import save_reference
from t2h.features import load_extractor

rng = np.random.default_rng(0)
IMAGES = rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
IMAGES[0, 0, 0], IMAGES[0, 0, 1] = 0, 255
LABELS = np.arange(12) % 3
NAMES = ("cat", "sea lion", "dog")
Make = Callable[[], object]


@dataclass
class Case:
    """What is made, what is run on it, and what must come: text on stdout (it works) or on stderr (it is refused).

    ``notice`` is said beside what works; "" is silence.
    """

    name: str
    make: Make
    command: str
    prints: str = ""
    refused: str = ""
    notice: str = ""


# --- how inputs are made ----------------------------------------------------------------------------------------------


def picture(name: str, size: tuple[int, int] = (8, 8), mode: str = "RGB", **options: object) -> None:
    """An image file with noise in it; the suffix decides the format."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    noise.convert(mode).save(path, **options)


def pictures(*folders: str, count: int = 2, suffix: str = "png", **options: object) -> Make:
    def make() -> None:
        for folder in folders:
            for i in range(count):
                picture(f"{folder}/{i}.{suffix}", **options)

    return make


def deep(largest: int, mode: str = "I;16") -> Make:
    """A class folder of grey images with more than 8 bits."""

    def make() -> None:
        for folder in ("d/a", "d/b"):
            Path(folder).mkdir(parents=True)
            values = np.linspace(0, largest, 64).reshape(8, 8)
            kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
            Image.fromarray(values.astype(kind)).save(f"{folder}/1.{'png' if mode == 'I;16' else 'tif'}")

    return make


def npz(**arrays: object) -> Make:
    return lambda: np.savez("x.npz", **{"images": IMAGES, "labels": LABELS, **arrays})


def only(**arrays: object) -> Make:
    return lambda: np.savez("x.npz", **arrays)


def file(name: str, content: bytes | str = b"") -> Make:
    def make() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def link(name: str, target: str) -> Make:
    def make() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, name)

    return make


def cut(name: str, keep: float) -> Make:
    def make() -> None:
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: int(keep * len(content))])

    return make


def png_of_zeros(width: int, height: int, real: bool = True) -> bytes:
    """A small PNG that claims, and holds if ``real``, a large black image."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(bytes((width + 1) * height), 1) if real else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def zip_of_zeros() -> None:
    with (
        zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(
            member, {"descr": "|u1", "fortran_order": False, "shape": (270, 1000, 1000, 1)}
        )
        for _ in range(270):
            member.write(bytes(10**6))


def header_of(shape: tuple[int, ...]) -> Make:
    """An .npz whose images claim a shape and have no values."""

    def make() -> None:
        with zipfile.ZipFile("x.npz", "w") as archive, archive.open("images.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": shape})

    return make


def locked_zip() -> None:
    npz()()
    content = bytearray(Path("x.npz").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for at in [match.start() for match in re.finditer(re.escape(signature), bytes(content))]:
            content[at + flags] |= 1  # "encrypted"
    Path("x.npz").write_bytes(content)


def tar_of(*members: tarfile.TarInfo) -> Make:
    """An archive under the official name."""

    def make() -> None:
        packed = [gzip.compress(info.tobuf()) + gzip.compress(bytes(1 << 20)) * (info.size >> 20) for info in members]
        Path("cifar-10-python.tar.gz").write_bytes(b"".join(packed) + gzip.compress(bytes(1024)))

    return make


def member(name: str, size: int = 10, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, target
    return info


def idx(images: bytes, name: str = "train-images-idx3-ubyte") -> Make:
    def make() -> None:
        Path(name).write_bytes(images)
        Path("train-labels-idx1-ubyte").write_bytes(struct.pack(">BBBBi", 0, 0, 8, 1, 1) + b"\0")

    return make


def both(*makes: Make) -> Make:
    def make() -> None:
        for one in makes:
            one()

    return make


def facts(text: str) -> Make:
    return both(pictures("s/cat", "s/dog"), file("s/samples.json", text))


def batch(content: bytes) -> Make:
    """The folder of CIFAR-10, whose first batch is something else."""

    def make() -> None:
        for name in (*cifar.CIFAR10.splits["train"], cifar.CIFAR10.meta):
            file(f"cifar-10-batches-py/{name}", content)()

    return make


def film(name: str) -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(name, save_all=True, append_images=[second])


def numbers() -> None:
    Path("d/a").mkdir(parents=True)
    Image.fromarray(rng.permutation(64).reshape(8, 8).astype(np.uint8) % 10).save("d/a/1.png")


PAYLOAD = b"cos\nsystem\n(S'touch owned'\ntR."


# --- what must come ---------------------------------------------------------------------------------------------------


def data(name: str, make: Make, options: str, prints: str = "", refused: str = "", notice: str = "") -> Case:
    return Case(name, make, f"inspect data --data {options}", prints, refused, notice)


def samples(name: str, make: Make, options: str, prints: str = "", refused: str = "", notice: str = "") -> Case:
    command = f"evaluate {options} --reference REFERENCE --features own_faults:means --metrics fid"
    return Case(name, make, command, prints, refused, notice)


def few(value: int = 2) -> str:
    return f"{value} images in"


TWO = "4 images in 2 classes"
FOLDERS = [
    data("class folders", pictures("d/cat", "d/dog"), "d", TWO),
    data("train, valid, test", pictures("d/train/a", "d/train/b", "d/valid/a", "d/test/b"), "d", TWO),
    data("valid is val", pictures("d/train/a", "d/train/b", "d/valid/a"), "d --split val", "2 images in 2 classes"),
    data("validation", pictures("d/train/a", "d/validation/a"), "d --split val", "split validation"),
    data("training, testing", pictures("d/Training/a", "d/Testing/a"), "d --split test", "split Testing"),
    data("eval is test", pictures("d/train/a", "d/eval/a"), "d --split test", "split eval"),
    data("train_set", pictures("d/train_set/a", "d/test-images/a", "d/val2017/a"), "d --split val", "split val2017"),
    data("holdout", pictures("d/train/a", "d/Hold-Out/a"), "d --split test", "split Hold-Out"),
    data("no other spelling", pictures("d/trains/a", "d/attest/a"), "d", TWO),
    data("TRAIN", pictures("d/TRAIN/a", "d/TEST/a"), "d", "split TRAIN"),
    data("no train", pictures("d/val/a", "d/test/b"), "d --split test", "2 images in 2 classes, from 2 to 0"),
    data("no such split", pictures("d/train/a"), "d --split val", refused="unknown split"),
    data("one split twice", pictures("d/train/a", "d/val/a", "d/valid/a"), "d --split validation", refused="may both"),
    data("a test without classes", pictures("d/train/a", "d/test"), "d", few(), notice="2 images of test"),
    data("splits without classes", pictures("d/train", "d/test"), "d", refused="have no class folders"),
    data("a split or a class", pictures("d/train/a", "d/bus"), "d", refused="but bus holds images as well"),
    data("a class called train", pictures("d/train", "d/bus"), "d", TWO, notice="train is read as a class"),
    data("labels beside splits", both(pictures("d/train/a"), file("d/labels/1.txt")), "d", few()),
    data("strange class", pictures("d/train/a", "d/test/b"), "d --split test", refused="b not among the classes"),
    data("wrapped", pictures("d/in/cat", "d/in/dog"), "d", refused="all images lie in one folder, "),
    data("wrapped twice", pictures("d/x/y/cat", "d/x/y/dog"), "d", refused="/d/x/y; if"),
    data("wrapped splits", pictures("d/in/train/a", "d/in/test/a"), "d", refused="/d/in; if"),
    data("wrapped in a split", pictures("d/train/in/a", "d/train/in/b"), "d", refused="/d/train/in; if"),
    data("of a Mac", both(pictures("d/a", "d/b"), file("d/__MACOSX/._a")), "d", TWO, notice="1 hidden"),
    data("all that Pillow reads", pictures("d/a", suffix="tif"), "d", few()),
    data("gif", pictures("d/a", suffix="gif"), "d", few()),
    data("jfif", pictures("d/a", suffix="jfif", mode="L"), "d", few()),
    data("JPG", pictures("d/a", suffix="JPG"), "d", few()),
    data("ppm and tga", both(pictures("d/a", suffix="ppm"), pictures("d/b", suffix="tga")), "d", TWO),
    data("other files", both(pictures("d/a"), file("d/a/n.svg"), file("d/b.csv")), "d", few(), notice="1 .csv, 1 .svg"),
    data("no suffix", both(pictures("d/a"), file("d/a/README")), "d", few(), notice="1 without suffix"),
    data("beside", both(pictures("d/a"), pictures("d", count=3)), "d", few(), notice="3 images beside the folders"),
    data("dead link", both(pictures("d/a"), link("d/a/x.png", "absent")), "d", few(), notice="1 dead links"),
    data("linked file", both(pictures("d/a"), link("d/a/x.png", "0.png")), "d", few(3)),
    data("linked folder", both(pictures("d/a"), link("d/a/x", "..")), "d", few(), notice="1 linked folders"),
    data("linked class", both(pictures("e/a"), link("d/a", "../e/a")), "d", few()),
    data("hidden", both(pictures("d/a"), pictures("d/.b", "d/a/.c", count=1)), "d", few(), notice="2 hidden"),
    data("a fifo", both(pictures("d/a"), lambda: os.mkfifo("d/a/f.png")), "d", few(), notice="1 no files"),
    data("a folder called x.png", both(pictures("d/a"), pictures("d/a/x.png", count=1)), "d", few(3)),
    data("only images", pictures("d", count=3), "d", refused="no subfolders for its images"),
    data("nothing", lambda: os.mkdir("d"), "d", refused="no subfolders"),
    data("an empty class", both(pictures("d/a"), lambda: os.mkdir("d/b")), "d", refused="/d/b; put some there"),
    data("a class of text", both(pictures("d/a"), file("d/b/1.txt")), "d", refused="/d/b; put some there"),
    data("name not UTF-8", pictures("d/a", os.fsdecode(b"d/c\xff")), "d", refused=r"'c\udcff': the name of a"),
    data("newline in a name", pictures("d/a\nb"), "d", refused=r"'a\nb': the name of a class"),
    data("escape in a name", pictures("d/a\x1b[31m"), "d", refused=r"'a\x1b[31m'"),
    data("any script", pictures("d/猫", "d/собака <b>"), "d", "собака <b>"),
    data("spaces", pictures("d/a b", "d/ c"), "d", TWO),
    data("12 bits", deep(4095), "d", few(), notice="above 4,095 where 65,535 is white"),
    data("12 bits, scaled", deep(4095), "d --white 4095", few()),
    data("14 bits", deep(16383), "d", few(), notice="above 16,383"),
    data("16 bits", deep(65535), "d", few()),
    data("32 bits", deep(10**6, "I"), "d", refused="2 of 2 images cannot be read"),
    data("floats", deep(1, "F"), "d", refused="2 of 2 images cannot be read"),
    data("class numbers", numbers, "d", few(1), notice="no value is above 9 where 255 is white"),
    data("class numbers, scaled", numbers, "d --white 9", few(1)),
    data("1 x 400", pictures("d/a", size=(400, 1)), "d --image-size 16", few(), notice="2 images are enlarged"),
    data("two sizes", both(pictures("d/a"), pictures("d/b", size=(9, 8))), "d", refused="--image-size"),
    data(
        "frames", both(pictures("d/a"), lambda: film("d/a/f.gif")), "d", few(3), notice="1 images have several frames"
    ),
    data("rgba, palette, grey", both(pictures("d/a", mode="RGBA"), pictures("d/b", mode="P")), "d", TWO),
    data("truncated", both(pictures("d/a"), cut("d/a/0.png", 0.6)), "d", refused="d/a/0.png: "),
    data("no image", both(pictures("d/a"), file("d/a/x.png", "text")), "d", refused="d/a/x.png: not an image"),
    data("empty file", both(pictures("d/a"), file("d/a/x.jpg")), "d", refused="d/a/x.jpg: not an image"),
    data("a newline in its name", file("d/a/x\n.png"), "d", refused=r"/d/a/x\n.png': not an image"),
    data("PostScript", file("d/a/x.png", "%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\n"), "d", refused="not an image"),
    data("90 megapixels", file("d/a/x.png", png_of_zeros(8192, 8192)), "d --image-size 8", refused="50 million"),
    data("10^9 pixels", file("d/a/x.png", png_of_zeros(50000, 50000, False)), "d --image-size 8", refused="1 of 1"),
]


PATHS = [
    data("a trailing slash", pictures("d/a"), "./d/", few()),
    data("CIFAR10", lambda: None, "CIFAR10", refused="cifar10: no cifar-10-batches-py"),
    data("Fashion_MNIST", lambda: None, "Fashion_MNIST", refused="fashion-mnist: no train-images"),
    data("Digits", lambda: None, "Digits", "1,437 images"),
    data("cifra10", lambda: None, "cifra10", refused="did you mean 'cifar10'"),
    data("empty", lambda: None, "=", refused="no value in --data"),
    data("absent", lambda: None, "./absent", refused="no such file or directory"),
    data("no such user", lambda: None, "~nobody-has-this-name/x", refused="no such user"),
    data("too long", lambda: None, "x" * 5000, refused="name too long"),
    data("a zip", file("d.zip"), "d.zip", refused="unpack it"),
    data("text", file("d.txt"), "d.txt", refused="neither a folder nor an .npz"),
    data("a dead link", link("d", "absent"), "./d", refused="no such file"),
    data("a circle of links", link("d", "d"), "./d", refused="no such file"),
    data("root has no use", pictures("d/a"), "d --root d", refused="has no use"),
    data("both CIFARs", both(batch(b""), file("cifar-100-python/meta")), ".", refused="--data cifar10 --root"),
    data("cifar-10-batches-py", batch(b""), "cifar-10-batches-py", refused="damaged or altered"),
    data("beside cifar-10-batches-py", batch(b""), ".", refused="damaged or altered"),
    data("size", lambda: None, "digits --image-size 100000", refused="1 ... 4096"),
    data("negative size", lambda: None, "digits --image-size -8", refused="1 ... 4096"),
    data("channels", lambda: None, "digits --channels 4", refused="1 (grey) or 3"),
    data("white", lambda: None, "digits --white 0", refused="1 ... 65535"),
    data("seed", lambda: None, "digits --imbalance 0.1 --long-tail-seed -1", refused="0 ... 4294967295"),
    data("imbalance", lambda: None, "digits --imbalance nan", refused="in (0, 1]"),
    data("split", lambda: None, "digits --split testing", "360 images"),
]
ARRAYS = [
    data("npz", npz(), "x.npz", "12 images in 3 classes"),
    data("X.NPZ", lambda: (npz()(), os.rename("x.npz", "X.NPZ")), "X.NPZ", "12 images in 3 classes"),
    data("split files", lambda: (npz()(), os.rename("x.npz", "valid.npz")), "npz --root . --split val", "12 images"),
    data("no files", lambda: None, "npz --root .", refused="no .npz in it"),
    data("labels in billions", npz(labels=LABELS * 10**9), "x.npz", refused="they must number the classes"),
    data("labels with gaps", npz(labels=LABELS * 40), "x.npz", refused="12 images, but labels up to 80"),
    data("labels from 1", npz(labels=LABELS + 1), "x.npz", "12 images in 4", notice="no image has the label 0"),
    data("negative labels", npz(labels=LABELS - 1), "x.npz", refused="labels run from -1"),
    data("unsigned labels", npz(labels=np.full(12, 2**63, np.uint64)), "x.npz", refused="labels run from"),
    data("labels with fractions", npz(labels=LABELS + 0.7), "x.npz", refused="labels are float64"),
    data("labels NaN", npz(labels=LABELS * np.nan), "x.npz", refused="labels are float64"),
    data("text for labels", npz(labels=np.array(list("abc") * 4)), "x.npz", refused="labels are <U1"),
    data("one hot", npz(labels=np.eye(3, dtype=int)[LABELS]), "x.npz", refused="integers of shape (N,)"),
    data("a scalar label", npz(labels=np.array(3)), "x.npz", refused="integers of shape (N,)"),
    data("a column of labels", npz(labels=LABELS[:, None]), "x.npz", "12 images in 3 classes"),
    data("too few labels", npz(labels=LABELS[:5]), "x.npz", refused="12 images but 5 labels"),
    data("no labels", only(images=IMAGES), "x.npz", refused="none of labels, y, arr_1"),
    data("no images", only(labels=LABELS), "x.npz", refused="none of images, x, arr_0"),
    data("0 images", npz(images=IMAGES[:0], labels=LABELS[:0]), "x.npz", refused="no images in it"),
    data("images of no size", npz(images=IMAGES[:, :0]), "x.npz", refused="no images in it"),
    data("a scalar image", npz(images=np.array(3)), "x.npz", refused="images have shape ()"),
    data("int64", npz(images=IMAGES.astype(np.int64)), "x.npz", "RGB images of 8x8"),
    data("grey", npz(images=IMAGES[..., 0]), "x.npz", "grey images of 8x8"),
    data("channels first", npz(images=IMAGES.transpose(0, 3, 1, 2)), "x.npz", "RGB images of 8x8"),
    data("RGBA", npz(images=np.zeros((12, 8, 8, 4), np.uint8)), "x.npz", refused="RGBA has 4"),
    data("flat", npz(images=IMAGES.reshape(12, -1)), "x.npz", refused="images have shape (12, 192)"),
    data("text for images", npz(images=np.full((12, 1, 1, 1), "a")), "x.npz", refused="images are <U1"),
    data("complex", npz(images=IMAGES.astype(complex)), "x.npz", refused="images are complex128"),
    data("truth", npz(images=IMAGES > 9), "x.npz", refused="images are bool"),
    data("records", npz(images=np.zeros((12, 8, 8), [("a", "u1")])), "x.npz", refused="images are [('a'"),
    data("dates", npz(images=np.zeros((12, 8, 8), "M8[s]")), "x.npz", refused="images are datetime64"),
    data("16 bits", npz(images=IMAGES.astype(np.uint16) * 16), "x.npz", refused="With --white 4095"),
    data("16 bits, scaled", npz(images=IMAGES.astype(np.uint16) * 16), "x.npz --white 4080", "12 images in 3"),
    data("0 and 1", npz(images=IMAGES // 128), "x.npz", "12 images", notice="nearly black"),
    data("0 and 1, scaled", npz(images=IMAGES // 128), "x.npz --white 1", "12 images"),
    data("objects", npz(labels=LABELS.astype(object)), "x.npz", refused="not a whole .npz of plain arrays"),
    data("names of bytes", npz(class_names=np.array([b"ant", b"bee", b"cow"])), "x.npz", " ant "),
    data("few names", npz(class_names=np.array(["a"])), "x.npz", refused="labels run from 0 to 2; with 1 classes"),
    data("a name twice", npz(class_names=np.array(["a", "b", "a"])), "x.npz", refused="two classes are called 'a'"),
    data("no name", npz(class_names=np.array(["a", "b", ""])), "x.npz", refused="'': the name of a class"),
    data("a scalar name", npz(class_names=np.array("abc")), "x.npz", refused="class_names are <U3 ()"),
    data("fractions for names", npz(class_names=np.ones(3)), "x.npz", refused="class_names are float64"),
    data("npy called npz", file("x.npz", b"\x93NUMPY\x01\0"), "x.npz", refused="one array, not an .npz"),
    data("an empty file", file("x.npz"), "x.npz", refused="not a whole .npz"),
    data("half a file", both(npz(), cut("x.npz", 0.5)), "x.npz", refused="not a whole .npz"),
    data("a locked zip", locked_zip, "x.npz", refused="not a whole .npz"),
    data("a folder x.npz", pictures("x.npz/a"), "x.npz", few()),
    data("a zip of zeros", zip_of_zeros, "x.npz", refused="it would unpack to 270,"),
    data("a shape of 10^18", header_of((10**6, 1000, 1000, 10**6)), "x.npz", refused="not a whole .npz"),
    data("a shape beyond 64 bits", header_of((2**62, 4, 4, 3)), "x.npz", refused="not a whole .npz"),
]
HOSTILE = [
    data("a payload for CIFAR", batch(PAYLOAD), "cifar-10-batches-py", refused="damaged or altered"),
    data("a tar with ..", tar_of(member("../x"), member("/etc/x")), "cifar-10-python.tar.gz", refused="missing"),
    data(
        "a tar of links",
        tar_of(
            *(member(f"cifar-10-batches-py/data_batch_{i}", 0, tarfile.SYMTYPE, "/etc/passwd") for i in range(1, 6))
        ),
        "cifar-10-python.tar.gz",
        refused="missing",
    ),
    data(
        "a tar of zeros",
        tar_of(member("x", 300 << 20)),
        "cifar-10-python.tar.gz",
        refused="cifar-10-python.tar.gz is no .tar.gz, or a damaged one",
    ),
    data(
        "no tar", file("cifar-10-python.tar.gz", "text"), "cifar-10-python.tar.gz", refused="is no .tar.gz, or a damag"
    ),
    data(
        "gzip of zeros",
        idx(gzip.compress(bytes(1 << 20)) * 128, "train-images-idx3-ubyte.gz"),
        ".",
        refused="67,108,864",
    ),
    data(
        "idx of 10^27", idx(struct.pack(">BBBB3i", 0, 0, 8, 3, *[10**9] * 3)), ".", refused="0 values, but its header"
    ),
    data("negative idx", idx(struct.pack(">BBBB3i", 0, 0, 8, 3, -1, 28, 28)), ".", refused="0 values, but its header"),
]
OK = "note: the training counts are not known"
SAMPLES = [
    samples("class folders", pictures("s/0_cat", "s/2_dog"), "s", OK),
    samples("names", pictures("s/cat", "s/sea lion", "s/dog", count=1), "s", OK),
    samples("names and numbers", pictures("s/cat", "s/1"), "s", refused="all be indices or all be names"),
    samples("strange names", pictures("s/cow"), "s", refused="cow is no class by index, no class by name"),
    samples("numbers beyond", pictures("s/7"), "s", refused="7 is no class by index"),
    samples("in folders", both(pictures("s/cat"), pictures("s/cat/more")), "s", "4 images"),
    samples("a truncated one", both(pictures("s/cat"), cut("s/cat/1.png", 0.6)), "s", refused="s/cat/1.png: "),
    samples(
        "two sizes", both(pictures("s/cat"), pictures("s/dog", size=(9, 9))), "s", refused="all samples to one size"
    ),
    samples("another size", pictures("s/cat", size=(9, 9)), "s", refused="RGB of 9x9 pixels, the reference RGB of 8x8"),
    samples("grey ones", pictures("s/cat", mode="L"), "s", refused="the samples are grey"),
    samples("an empty class", both(pictures("s/cat"), lambda: os.mkdir("s/dog")), "s", OK, notice="no images in dog"),
    samples("a grid beside", both(pictures("s/cat"), pictures("s", count=1)), "s", OK, notice="1 images beside"),
    samples("dead links", both(pictures("s/cat"), link("s/cat/x.png", "y")), "s", OK, notice="1 dead links"),
    samples("the working directory", both(pictures("s/cat"), lambda: os.chdir("s")), ".", "2 images"),
    samples("nothing", lambda: os.mkdir("s"), "s", refused="no images in it"),
    samples("absent", lambda: None, "s", refused="does not exist"),
    samples("wrapped", pictures("s/in/cat", "s/in/dog"), "s", refused="in is no class"),
    samples("facts of Windows", facts('\ufeff{"w": 0.5}'), "s", "0.5"),
    samples("facts", facts('{"w": 0.5, "steps": 7}'), "s", "0.5"),
    *(
        samples(f"facts {text[:20]}", facts(text), "s", refused="samples.json says is no account of samples, or a dam")
        for text in (
            *('{"w": 1', "[]", "5", "null", '"x"', "[" * 10**5, '{"w": "x"}', '{"w": NaN}', '{"w": 1e999}', "\0"),
            *('{"class_names": 5}', '{"class_names": [1, 2, 3]}'),
            *('{"class_names": ["cat"], "class_counts": [1, 2]}', '{"class_counts": "many"}', '{"steps": []}'),
            *('{"method": {}}', '{"images_seen": "all"}', '{"scheduler": 3}'),
        )
    ),
    samples("facts of no text", facts('{"class_names": ["a", "\\ud800", "c"]}'), "s", refused="a class must be UTF-8"),
    samples(
        "other classes", facts(json.dumps({"class_names": ["a", "b"]})), "s", refused="the samples have the classes a"
    ),
    samples("npz", npz(), "x.npz", OK),
    samples("npz of floats", npz(images=(IMAGES / 255).astype(np.float16)), "x.npz", OK),
    samples("npz without labels", only(arr_0=IMAGES), "x.npz", "12 images"),
    samples("npz of -1", npz(labels=LABELS * 0 - 1), "x.npz", "12 images"),
    samples("npz of one -1", npz(labels=np.array(-1)), "x.npz", refused="integers of shape (N,)"),
    samples("npz of grey", npz(images=IMAGES[..., 0]), "x.npz", refused="the samples are grey"),
    samples("npz of RGBA", npz(images=np.zeros((12, 8, 8, 4), np.uint8)), "x.npz", refused="RGBA has 4"),
    samples("npz of 0 ... 255.0", npz(images=IMAGES * 1.0), "x.npz", refused="float64 from 0.0 to 255.0"),
    samples("npz of -1 ... 1", npz(images=IMAGES / 127.5 - 1), "x.npz", refused="float64 from -1.0 to 1.0"),
    samples("npz of NaN", npz(images=IMAGES * np.nan), "x.npz", refused="from nan to nan"),
    samples("npz labels .7", npz(labels=LABELS + 0.7), "x.npz", refused="labels are float64"),
    samples(
        "npz labels from 1", npz(labels=LABELS + 1), "x.npz", refused="labels up to 3, but the classes are 0 ... 2"
    ),
    samples("npz names", npz(class_names=np.array(list("abc"))), "x.npz", refused="the reference cat, sea lion, dog"),
    samples("npz facts", npz(protocol=np.array("{")), "x.npz", refused="x.npz says is no account of samples"),
    samples("npz facts of numbers", npz(protocol=np.array(5)), "x.npz", refused="x.npz says is no account of samples"),
    samples("npz of nothing", npz(images=IMAGES[:0]), "x.npz", refused="no images in it"),
    samples("npy called npz", file("x.npz", b"\x93NUMPY"), "x.npz", refused="one array"),
    *(
        Case(f"features {spec}", npz(), f"evaluate x.npz --reference REFERENCE --features={spec}", refused=says)
        for spec, says in (
            *((":x", "Empty module name"), (".a:x", "module:callable"), ("absent:x", "No module named 'absent'")),
            *(("own_faults:x", "no callable 'x'"), ("own_faults:", "no callable ''"), ("inceptio", "mean 'inception'")),
            *(("own_faults:means:x", "no callable"), ("hf:/absent", "features hf:")),
        )
    ),
    *(
        Case(f"features {spec}", npz(), f"reference --data x.npz --out r.npz --features {spec}", refused=says)
        for spec, says in (("own_faults:fails", "AttributeError: "), ("own_faults:flat", "a tensor (N, D) is needed"))
    ),
]
BEFORE_TRAINING = [
    Case(f"{name} before training", make, "train --data d --out run --steps 1 --device cpu", refused=says)
    for name, make, says in (
        ("a damaged image", both(pictures("d/a"), cut("d/a/0.png", 0.6)), "d/a/0.png: "),
        ("newline in a name", pictures("d/a\nb"), r"'a\nb': the name of a class"),
        ("a wrapped folder", pictures("d/in/a", "d/in/b"), "/d/in; if"),
        ("two sizes", both(pictures("d/a"), pictures("d/b", size=(9, 8))), "--image-size"),
    )
]
TABLE = [*FOLDERS, *PATHS, *ARRAYS, *HOSTILE, *SAMPLES, *BEFORE_TRAINING]


BOMBS = [
    *(case for case in TABLE if re.search(r"of zeros|megapixels|10\^|64 bits", case.name)),
    Case(
        "a safetensors header of 2^60 bytes",
        both(npz(), file("r.safetensors", (1 << 60).to_bytes(8, "little") + b"{}")),
        "evaluate x.npz --reference r.safetensors",
        refused="is no reference file",
    ),
    Case(
        "a checkpoint of zeros",
        file("c.pt.xz", lzma.compress(bytes(1 << 28), preset=0)),
        "sample c.pt.xz --out s",
        refused="c.pt.xz",
    ),
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference of three classes, seen by the user's own feature function."""
    folder = tmp_path_factory.mktemp("reference")
    code = "means, fails, flat = lambda x: x.mean((2, 3)), lambda x: x.none, lambda x: x"
    (folder / "own_faults.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        table = ImageTable(IMAGES.transpose(0, 3, 1, 2), LABELS, NAMES)
        save_reference(make_reference(table, load_extractor("own_faults:means")), folder / "r.safetensors")
        yield folder / "r.safetensors"


@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.command.split()[0]}-{case.name}")
def test_it_works_or_is_refused_in_one_line(
    case: Case, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2H_CACHE", str(reference.parent / "cache"))
    notice.cache_clear()
    case.make()
    before = sorted(tmp_path.rglob("*"))
    words = [str(reference) if word == "REFERENCE" else word.removeprefix("=") for word in case.command.split(" ")]
    status = main(words)
    said = capsys.readouterr()
    if case.refused:
        assert status == 2, said
        assert case.refused in said.err
        assert sorted(tmp_path.rglob("*")) == before
        lines = [line for line in said.err.splitlines() if not line.startswith("  ") and "left out" not in line]
        assert len(lines) == 1, said.err  # below it, each damaged image has its own
        assert lines[0].startswith("t2h: ")
    else:
        assert status == 0, said
        assert case.prints in said.out
        assert case.notice in said.err
        assert case.notice or not said.err
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("case", BOMBS, ids=lambda case: case.name)
def test_a_bomb_is_refused_at_once(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a second of processor time and a GiB: a process of its own measures what reading takes."""
    monkeypatch.chdir(tmp_path)
    case.make()
    assert main(case.command.split()) == 2  # once before, for what it imports
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            sys.stdout = sys.stderr = said = io.StringIO()
            before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
            refused = main(case.command.split()) == 2 and case.refused in said.getvalue()
            seconds, kib = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            Path("said").write_text(f"{refused} {seconds:.2f} s {kib} KiB {said.getvalue()}")
            status = 0 if refused and seconds < 1 and kib < 1 << 20 else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, Path("said").read_text()
