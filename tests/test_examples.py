"""What the README and the examples show works as shown."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

from t2h import NoiseSchedule, T2HPipeline
from t2h.cli import VERBS, main
from t2h.network import build_network, network_config

ROOT = Path(__file__).parents[1]


def test_a_loop_of_your_own_learns():
    losses = runpy.run_path(str(ROOT / "examples" / "your_own_loop.py"))["main"](steps=60)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_the_ten_lines_of_the_readme(tmp_path, monkeypatch):
    unet = build_network(network_config("digits", 2, 3, 8)).eval()
    pipeline = T2HPipeline(unet, NoiseSchedule().ddim_scheduler(), ["oak", "yew"], [9, 2])
    pipeline.save_pretrained(tmp_path / "runs" / "mine" / "pipeline")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [f"yew_{i}.png" for i in range(8)]


def options_of(verb: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        main([*verb.split(), "--help-all"])
    return set(re.findall(r"--[a-z0-9.][a-z0-9.-]*", capsys.readouterr().out))


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
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
