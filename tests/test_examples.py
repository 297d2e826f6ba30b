"""What the README and the examples show works as shown."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest

from t2h import NoiseSchedule, T2HPipeline
from t2h.benchmark.plan import parse_plan
from t2h.cli import VERBS, main
from t2h.data import DataConfig, load
from t2h.network import build_network, network_config
from t2h.results.result import read_result

ROOT = Path(__file__).parents[1]


def test_a_loop_of_your_own_learns():
    losses = runpy.run_path(str(ROOT / "examples" / "your_own_loop.py"))["main"](steps=60)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
# The Python blocks of the pages, in order: "here" are those that this file runs; else who runs it, or why nobody does.
BLOCKS = {
    "README.md": ["here"],
    "docs/add-a-method.md": ["test_objective_external.py", "test_objective_external.py"],
    "docs/data.md": ["not run: needs CIFAR-10"],
    "docs/evaluation.md": ["not run: needs the statistics of pytorch-fid's CIFAR-10", "here"],
    "docs/from-oc-lt.md": ["not run: needs an official checkpoint; test_convert.py makes one, and reads it"],
}


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_is_run_or_says_why_not(page):
    assert len(blocks(page)) == len(BLOCKS.get(page, []))
    for code, who in zip(blocks(page), BLOCKS.get(page, []), strict=True):
        tree = ast.parse(code)
        if who.startswith("not run"):  # what it imports is there, at least
            imports = [line for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(imports, []), page, "exec"), {})
        elif who != "here":
            assert Path(page).name in (ROOT / "tests" / who).read_text("utf-8")


def test_the_ten_lines_of_the_readme(tmp_path, monkeypatch):
    unet = build_network(network_config("digits", 2, 3, 8)).eval()
    pipeline = T2HPipeline(unet, NoiseSchedule().ddim_scheduler(), ["oak", "yew"], [9, 2])
    pipeline.save_pretrained(tmp_path / "runs" / "mine" / "pipeline")
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("README.md")[0], "README.md", "exec"), {})
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"yew_{i}.png" for i in range(8)]


def test_the_plan_of_the_page(tmp_path, monkeypatch):
    (code,) = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "benchmark.md").read_text("utf-8"), flags=re.S | re.M)
    method = blocks("docs/add-a-method.md")[0].replace("class Mirror(", "class MyMethod(")
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
    exec(compile(blocks("docs/evaluation.md")[1], "evaluation.md", "exec"), names | {"path": path})
    fids = [point.get("fid").value for point in read_result(path).points]
    assert fids[1] < fids[0] / 5


def options_of(verb: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        main([*verb.split(), "--help-all"])
    return set(re.findall(r"--[a-z0-9.][a-z0-9.-]*", capsys.readouterr().out))


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_pages_have_the_options_that_they_show(page, capsys):
    known: dict[str, set[str]] = {}
    for line in re.findall(r"^(?: {4}|\$ )?(t2h [a-z].*)$", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE):
        words = shlex.split(line, comments=True)
        verb = " ".join(words[1 : 3 if words[1] == "inspect" else 2])
        assert words[1] in VERBS, line
        known[verb] = known.get(verb) or options_of(verb, capsys)
        for word in words[2:]:
            if word.startswith("--"):
                assert word.split("=")[0] in known[verb], line


def test_every_verb_has_a_help_page(capsys):
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    for verb in VERBS:
        assert verb in overview
        assert "--help" in options_of("inspect data" if verb == "inspect" else verb, capsys)
