"""The command line: one clear line for a user's mistake, a traceback for ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from t2h.cli import main
from t2h.cli._parse import parse
from t2h.cli.train import Args as TrainArgs
from t2h.version import __version__


def test_version_and_overview(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__
    assert main([]) == 0
    assert "usage: t2h VERB" in capsys.readouterr().out


def test_a_verb_by_itself_takes_its_defaults():
    assert parse(TrainArgs, "train", []) == TrainArgs()


def test_python_m_t2h():
    ran = subprocess.run([sys.executable, "-m", "t2h", "tarin"], capture_output=True, text=True)
    assert ran.returncode == 2
    assert ran.stderr.startswith("t2h: unknown verb 'tarin'; did you mean 'train'?")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["train", "--data", "nowhere/photos"], "nowhere/photos: no such file or directory"),
        (["train", "--imbalance", "0"], "in (0, 1]"),
        (["train", "--imbalance", "20"], "give 0.05"),
        (["train", "--preset", "cifar10lt-t2h"], "did you mean 'cifar10-lt-t2h'"),
        (["train", "--preset=cifar10-lt-t2h", "--root", "nowhere"], "--download"),
        (["train", "--image-size", "10", "--network", "small"], "--image-size 8"),
        (["train", "--objective", "t2h+stf"], "do not combine"),
        (["train", "--objective", "nothing:Here"], "nothing"),
        (["train", "--network", "missing.json"], "missing.json: no such file or directory"),
        (["sample", "nowhere"], "nowhere does not exist"),
        (["evaluate", "nowhere", "--reference", "x"], "nowhere does not exist"),
        (["report", "nowhere", "--out", "x.html"], "nowhere does not exist"),
        (["compare", "nowhere.json"], "no result file nowhere.json"),
        (["convert", "official", "nowhere.pt", "out"], "no file nowhere.pt"),
        (["reference", "--out", "x.foo"], "ends in .safetensors or .npz"),
        (["train", "--steps", "x"], "--steps: invalid literal for int() with base 10: 'x'"),
        (["train", "--stepz", "3"], "--stepz, 3; did you mean --steps?"),
        (["train", "--process", "foo"], "Expected one of ('ddpm', 'flow')"),
        (["train", "--dry-run", "--data", "digits", "--sampling.w-power", "100"], "w"),
        (["sample"], "Missing from t2h sample: PATH"),
        (["sample", "run", "--w"], "'--w'. Expected 1 value"),
        (["compare", "a", "--format", "foo"], "`t2h compare --help-all` shows all options."),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(argv, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("t2h: ")
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert main(["train", "--steps", "1", "--out", str(tmp_path / "file" / "run")]) == 2
    assert "there is a file where a folder is needed; choose another place.\n" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch):
    import t2h.cli.sample

    def broken(_argv: list[str]) -> int:
        raise KeyError("ours")

    monkeypatch.setattr(t2h.cli.sample, "main", broken)
    with pytest.raises(KeyError):
        main(["sample"])


def test_the_whole_way_in_miniature(tmp_path: Path, capsys):
    """train, sample, reference, evaluate, compare, report: the demo's commands, on a few images."""
    run, data = str(tmp_path / "run"), ["--data", "digits", "--imbalance", "0.1"]
    assert main(["train", *data, "--steps", "2", "--batch-size", "8", "--grid-every", "None", "--out", run]) == 0
    assert main(["sample", run, "--per-class", "2", "--steps", "2"]) == 0
    reference = str(tmp_path / "reference.safetensors")
    assert main(["reference", *data, "--features", "classifier", "--out", reference]) == 0
    judge = ["--reference", reference, "--per-class", "3", "--steps", "2", "--metrics", "fid", "accuracy"]
    assert main(["evaluate", run, *judge, "--w", "0", "1.5"]) == 0
    assert main(["evaluate", run, *judge, "--w", "1.5", "--float", "--out", str(tmp_path / "float.json")]) == 0
    assert json.loads((tmp_path / "float.json").read_text())["protocol"]["image_path"] == "float"
    assert main(["compare", run]) == 0
    assert main(["report", run, "--out", str(tmp_path / "page.html")]) == 0
    out = capsys.readouterr().out
    assert "accuracy" in out
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "3 images of each class" in page or "30 images instead of 50,000" in page


def test_help_does_not_wait_for_torch():
    """And the names that the package promises are there all the same."""
    code = """
import sys, t2h.cli
t2h.cli.main(["--help"])
for verb in set(t2h.cli.VERBS) - {"train"}:
    try:
        t2h.cli.main([verb, "--help"])
    except SystemExit as end:
        assert end.code == 0
    assert "torch" not in sys.modules, verb
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    import t2h

    assert t2h.T2HPipeline.__module__ == "t2h.pipeline"
    assert {name for name in t2h.__all__ if not hasattr(t2h, name)} == set()
    with pytest.raises(AttributeError, match="no attribute 'T2HPipelin'"):
        _ = t2h.T2HPipelin
