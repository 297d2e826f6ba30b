"""What the README and the examples show works as shown."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from t2h import NoiseSchedule, T2HPipeline, UserError
from t2h.benchmark.plan import parse_plan
from t2h.cli import VERBS, main
from t2h.cli._parse import parse
from t2h.data import DataConfig, load
from t2h.network import build_network, network_config
from t2h.official.flags import parse_flags
from t2h.official.tables import DDPM_GEN, MAIN
from t2h.results.result import read_result

ROOT = Path(__file__).parents[1]


def test_a_loop_of_your_own_learns():
    losses = runpy.run_path(str(ROOT / "examples" / "your_own_loop.py"))["main"](steps=60)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


FOLDER = ROOT / "docs"
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(p.relative_to(ROOT).as_posix() for p in FOLDER.rglob("*.md"))]
# Who runs the Python blocks of the pages, in order: "here" is this file. The others say in the page why nobody does.
RUN = {
    "README.md": ["here"],
    "docs/add-a-method.md": ["test_objective_external.py", "test_objective_external.py"],
    "docs/data.md": ["here"],
    "docs/evaluation.md": ["here"],
    "docs/first-hour.md": ["here"],
}


class Block(NamedTuple):
    """A block of code, and why it is not run, if it says so: <!-- not run: ... --> above it."""

    language: str
    code: str
    reason: str


def blocks(page: str, language: str) -> list[Block]:
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(r"(?:^<!-- not run: (.+?) -->\n\n)?^```(\w*)\n(.*?)^```\n", text, flags=re.DOTALL | re.MULTILINE)
    return [Block(kind, code, reason) for reason, kind, code in found if kind == language]


def python(page: str) -> list[str]:
    """The Python blocks that are run."""
    return [block.code for block in blocks(page, "python") if not block.reason]


def test_blocks_have_a_language_that_is_looked_at():
    for page in PAGES:
        kinds = set(
            re.findall(r"^```(\w*)\n.*?^```$", (ROOT / page).read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        )
        assert kinds <= {"python", "bash", "yaml", "text"}, page


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_is_run_or_says_why_not(page):
    assert len(python(page)) == len(RUN.get(page, []))
    for who in RUN.get(page, []):
        assert who == "here" or Path(page).name in (ROOT / "tests" / who).read_text("utf-8")
    for block in blocks(page, "python"):  # what it imports is there, in any case
        imports = [line for line in ast.parse(block.code).body if isinstance(line, ast.Import | ast.ImportFrom)]
        if block.reason:
            exec(compile(ast.Module(imports, []), page, "exec"), {})


class Parsed(BaseException):
    """A command line was read; nothing is run."""


@pytest.fixture
def check(monkeypatch, tmp_path):
    """Read a line of a shell as its program does, up to where it would run."""

    def parsed(*given, **more):
        parse(*given, **more)
        raise Parsed

    for file in (ROOT / "src" / "t2h" / "cli").glob("*.py"):
        if file.stem not in ("__init__", "_parse"):
            monkeypatch.setattr(importlib.import_module(f"t2h.cli.{file.stem}"), "parse", parsed, raising=False)
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "runs" / "cifar10-t2h" / "results" / "cifar10.json"  # read with the options
    table.parent.mkdir(parents=True)
    table.write_text('{"w_table": {}}', "utf-8")

    def line_is_read(line: str) -> None:
        words = [word for word in shlex.split(line, comments=True) if word not in ("...", "&")]
        while words and (re.fullmatch(r"[A-Z_]+=\S*", words[0]) or words[0].endswith(("torchrun", "--nproc-per-node"))):
            words = words[2:] if words[0] == "--nproc-per-node" else words[1:]
        words = words[1:] if words[:1] == ["-m"] else words
        match words:
            case ["t2h", verb, *rest]:
                assert verb in VERBS, line
                with pytest.raises(Parsed):
                    importlib.import_module(f"t2h.cli.{verb}").main(rest)
            case ["python", "main.py" | "ddpm_gen.py" as script, *rest]:
                parse_flags(rest, {"main.py": MAIN, "ddpm_gen.py": DDPM_GEN}[script])
            case ["make", target]:
                assert f"\n{target}:" in (ROOT / "Makefile").read_text("utf-8"), line
            case [".venv/bin/python", "-m", "pytest", "-q", file]:
                assert (ROOT / file).is_file(), line
            case _:
                assert not words, f"neither read nor marked: {line}"

    return line_is_read


@pytest.mark.parametrize("page", PAGES)
def test_every_shell_block_is_read_by_its_program_or_says_why_not(page, check):
    lines = [line for block in blocks(page, "bash") if not block.reason for line in block.code.splitlines()]
    lines += re.findall(r"^ {4}(t2h [a-z].*)$", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE)
    for line in dict.fromkeys(lines):
        check(line)


def test_a_mistake_in_a_shell_block_is_found(check):
    for line in ("t2h train --stepz 3", "t2h train --steps three", "t2h draw runs/mine", "make nothing", "rm -r runs"):
        with pytest.raises((AssertionError, SystemExit, UserError)):
            check(line)


def test_the_ten_lines_of_the_readme(tmp_path, monkeypatch):
    unet = build_network(network_config("digits", 2, 3, 8)).eval()
    pipeline = T2HPipeline(unet, NoiseSchedule().ddim_scheduler(), ["oak", "yew"], [9, 2])
    pipeline.save_pretrained(tmp_path / "runs" / "mine" / "pipeline")
    monkeypatch.chdir(tmp_path)
    exec(compile(python("README.md")[0], "README.md", "exec"), {})
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"yew_{i}.png" for i in range(8)]


def test_the_plan_of_the_page(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "benchmark.md").read_text("utf-8"), flags=re.S | re.M)
    method = python("docs/add-a-method.md")[0].replace("class Mirror(", "class MyMethod(")
    (tmp_path / "my_method.py").write_text(method, "utf-8")
    monkeypatch.chdir(tmp_path)
    plan = parse_plan(code, "page")
    assert len(plan.cells()) == len(plan.methods) * len(plan.imbalance) * len(plan.seeds) == 5 * 2 * 3


def test_evaluation_from_python(tmp_path):
    table = load(DataConfig("digits"))
    rows = np.arange(0, len(table), 2)
    images, labels = table.images[1::2][:300], table.labels[1::2][:300]
    samples = {0.0: (255 - images, labels), 1.5: (images, labels)}  # negatives, and what was never trained on
    names = {"table": table, "train_rows": rows, "counts": table.class_counts, "samples": samples}
    path = tmp_path / "result.json"
    exec(compile(python("docs/evaluation.md")[0], "evaluation.md", "exec"), names | {"path": path})
    fids = [point.get("fid").value for point in read_result(path).points]
    assert fids[1] < fids[0] / 5


def options_of(verb: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        main([*verb.split(), "--help-all"])
    return set(re.findall(r"--[a-z0-9.][a-z0-9.-]*", capsys.readouterr().out))


def test_every_verb_has_a_help_page(capsys):
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for verb in VERBS:
        assert verb in overview
        assert "--help" in options_of("inspect data" if verb == "inspect" else verb, capsys)


def test_the_long_tail_from_python(cifar, tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(cifar)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(python("docs/data.md")[0], "data.md", "exec"), names)
    in_two_steps = names["table"].select(names["long_tail_indices"](names["table"].labels, 0.01))
    assert len(names["tail"]) == 12_406
    assert np.array_equal(names["tail"].images, in_two_steps.images)


@pytest.mark.slow
def test_the_first_hour_in_minutes(cifar, tmp_path, monkeypatch):
    """Its folder and its commands, in order, with short trainings and few samples."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(cifar)
    exec(compile(python("docs/first-hour.md")[0], "first-hour.md", "exec"), {})
    fewer = {"train": "--steps 20", "classify": "--steps 20 --seeds 0 --sampling.steps 2"}
    for line in (line for block in blocks("docs/first-hour.md", "bash") for line in block.code.splitlines()):
        verb, *words = line.replace("--per-class 100", "--per-class 3 --steps 2").split()[1:]
        if verb != "app":  # a page, until it is closed
            assert main([verb, *words, *fewer.get(verb, "").split()]) == 0, line
    assert {path.name for path in tmp_path.iterdir()} >= {
        "samples",
        "copies.html",
        "report.html",
        "reference.safetensors",
    }
    assert (tmp_path / "runs" / "classify" / "classify.json").is_file()
