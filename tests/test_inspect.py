"""`t2h inspect data`: the class table on the screen and as a picture."""

from xml.etree import ElementTree

import numpy as np
import pytest

from t2h.cli import main
from t2h.data.groups import class_table
from t2h.report.plots import counts_file

SVG = "{http://www.w3.org/2000/svg}"


def test_table(capsys):
    assert main(["inspect", "data", "--data", "digits", "--imbalance", "0.05"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("digits, split train: grey images of 8x8 pixels")
    lines = printed.splitlines()
    assert lines[2].split() == ["rank", "class", "name", "images", "share", "third", "shots"]
    assert lines[3].split()[:4] == ["1", "0", "0", "142"]  # the profile asks for 143; there are 142
    assert lines[12].split()[:7] == ["10", "9", "9", "7", "1.45%", "tail", "few"]
    assert "from 142 to 7 a class" in printed


def test_table_by_hand():
    text = class_table([5, 200, 0, 50], ["ant", "bee", "cow", "dog"])
    rows = [line.split() for line in text.splitlines()[1:5]]
    assert [row[:7] for row in rows] == [
        ["1", "1", "bee", "200", "78.43%", "head", "many"],
        ["2", "3", "dog", "50", "19.61%", "medium", "medium"],
        ["3", "0", "ant", "5", "1.96%", "tail", "few"],
        ["4", "2", "cow", "0", "0.00%", "tail", "few"],
    ]
    assert [len(row[7]) if len(row) > 7 else 0 for row in rows] == [24, 6, 1, 0]
    assert "255 images in 4 classes, from 200 to 0 a class (1 of them empty)" in text
    assert "thirds: head 1 classes, 200 images; medium 1 classes, 50 images; tail 2 classes, 5 images" in text


def test_long_table_is_shortened_on_request():
    counts, names = np.arange(100)[::-1] + 1, [f"class {i}" for i in range(100)]
    lines = class_table(counts, names, max_rows=5).splitlines()
    assert lines[1].startswith("   1 ")
    assert lines[4].strip() == "…  95 more classes"
    assert lines[6].startswith(" 100 ")
    assert len(class_table(counts, names).splitlines()) == 1 + 100 + 4


@pytest.mark.parametrize("num_classes", [1, 3, 200])
def test_plot_bars(num_classes):
    counts = np.arange(num_classes) * 3
    tree = ElementTree.fromstring(counts_file("mine", [f"class {i}" for i in range(num_classes)], counts.tolist()))
    bars = [mark for mark in tree.iter(f"{SVG}rect") if mark.find(f"{SVG}title") is not None]
    assert [int(bar.find(f"{SVG}title").text.split()[2]) for bar in bars] == sorted(counts.tolist(), reverse=True)
    along = "height" if num_classes > 40 else "width"
    lengths = np.array([float(bar.get(along)) for bar in bars])
    wanted = np.sort(counts)[::-1] / max(1, counts.max()) * lengths.max()
    np.testing.assert_allclose(lengths, wanted, atol=1)


def test_plot_file(tmp_path, capsys):
    path = tmp_path / "new" / "plot.svg"
    assert main(["inspect", "data", "--plot", str(path)]) == 0
    assert f"plot: {path}" in capsys.readouterr().out
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert ElementTree.parse(path).getroot().find(f"{SVG}title").text == "digits: 1,437 images in 10 classes"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--imbalance", "0"], "in (0, 1]"),
        (["--imbalance", "100"], "give 0.01"),
        (["--data", "cifra10"], "did you mean 'cifar10'"),
        (["--data", "folder", "--root", "/absent"], "no such file or directory"),
        (["--split", "val"], "unknown split of digits"),
        (["--counts", "1", "2"], "2 counts for 10 classes"),
        (["--plot", "x.png"], "give a name that ends in .svg"),
        (["--plot", "x.pdf"], "give a name that ends in .svg"),
    ],
)
def test_mistakes_are_one_line(options, message, capsys):
    assert main(["inspect", "data", *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("t2h: ")
    assert captured.err.count("\n") == 1


def test_what_to_inspect(capsys):
    assert main(["inspect"]) == 0
    assert "inspect WHAT" in capsys.readouterr().out
    assert main(["inspect", "date"]) == 2
    assert "did you mean 'data'" in capsys.readouterr().err


def test_counts_option(capsys):
    assert main(["inspect", "data", "--counts", *["9"] * 9, "0"]) == 0
    assert "81 images in 10 classes, from 9 to 0 a class (1 of them empty)" in capsys.readouterr().out
