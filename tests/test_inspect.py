"""`t2h inspect data`: the class table on the screen and as a picture."""

import numpy as np
import pytest
from PIL import Image

from t2h.cli import main
from t2h.data.show import class_table, plot_class_counts


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
    figure = plot_class_counts(counts, [f"class {i}" for i in range(num_classes)], "mine")
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == sorted(counts.tolist(), reverse=True)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_plot_file(tmp_path, suffix, capsys):
    path = tmp_path / "new" / f"plot.{suffix}"
    assert main(["inspect", "data", "--plot", str(path)]) == 0
    assert f"plot: {path}" in capsys.readouterr().out
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    if suffix == "png":
        assert np.asarray(Image.open(path)).std() > 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--imbalance", "0"], "in (0, 1]"),
        (["--imbalance", "100"], "give 0.01"),
        (["--data", "cifra10"], "did you mean 'cifar10'"),
        (["--data", "folder", "--root", "/absent"], "no such file or directory"),
        (["--split", "val"], "unknown split of digits"),
        (["--counts", "1", "2"], "2 counts for 10 classes"),
        (["--plot", "x.docx"], "must end in .png"),
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
    assert "inspect data" in capsys.readouterr().out
    assert main(["inspect", "date"]) == 2
    assert "did you mean 'data'" in capsys.readouterr().err


def test_counts_option(capsys):
    assert main(["inspect", "data", "--counts", *["9"] * 9, "0"]) == 0
    assert "81 images in 10 classes, from 9 to 0 a class (1 of them empty)" in capsys.readouterr().out
