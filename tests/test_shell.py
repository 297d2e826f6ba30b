"""Comfort in a shell: helps with examples that fit a screen, JSON of every table, completion, colours, the browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from report_inputs import make_result, make_run
from t2h.cli import VERBS, main
from t2h.cli.completion import INSPECT

COMMANDS = [verb for verb in VERBS if verb != "inspect"] + [f"inspect {what}" for what in INSPECT]


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints, which must go well."""
    try:
        status = main(list(words))
    except SystemExit as end:
        status = end.code or 0
    assert status == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_and_fits_a_screen(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, *command.split(), "--help")
    assert re.search(rf"^.*\bt2h {command} \S", text.split("usage:", 1)[1].split("\n", 1)[1], re.MULTILINE)
    assert len(text.splitlines()) <= 66
    if "--help-all" in text:
        everything = printed(capsys, *command.split(), "--help-all")
        names = set(re.findall(r"^\W+(--[a-z.-]+)", everything, re.MULTILINE))
        assert set(re.findall(r"^ +(--[a-z.-]+)", text, re.MULTILINE)) < names


def test_the_exit_statuses_are_in_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Exit status: 0 done; 1 " in printed(capsys, "--help")


def test_every_table_is_json_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, reference = (
        ["--data", "digits", "--imbalance", "0.1"],
        str(tmp_path / "run"),
        str(tmp_path / "r.safetensors"),
    )
    rows = json.loads(printed(capsys, "inspect", "data", *data, "--json"))
    assert rows[9] == {"class": "9", "index": 9, "images": 14, "third": "tail", "shots": "few"}
    tables = json.loads(printed(capsys, "inspect", "transfer", *data, "--references", "16", "--json"))
    assert [row["references"] for rows in tables.values() for row in rows] == [16, 16]
    printed(capsys, "train", *data, "--steps", "2", "--batch-size", "8", "--grid-every", "None", "--out", run)
    printed(capsys, "reference", *data, "--features", "classifier", "--out", reference)
    words = ["--reference", reference, "--per-class", "3", "--steps", "1", "--w", "0", "--metrics", "fid"]
    rows = json.loads(printed(capsys, "evaluate", run, *words, "--json"))
    result = json.loads((tmp_path / "run" / "results" / "r.json").read_text())
    assert (rows[0]["name"], rows[0]["fid"]) == ("all", result["points"][0]["metrics"]["fid"]["value"])
    assert json.loads(printed(capsys, "compare", run, "--w", "0", "--json"))[0]["fid"] == rows[0]["fid"]
    assert json.loads(printed(capsys, "watch", run, "--json"))[1]["run"] == "2 of 2 (100%)"
    words = [
        "--out",
        str(tmp_path / "study"),
        "--arms",
        "long-tailed",
        "resampled",
        "--seeds",
        "0",
        "1",
        "--steps",
        "3",
    ]
    tables = json.loads(printed(capsys, "classify", *data, *words, "--quiet", "--json"))
    assert [[row["arm"] for row in rows] for rows in tables.values()] == [["long-tailed", "resampled"], ["resampled"]]


def test_the_report_opens_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, page, opened = make_run(tmp_path / "t2h"), tmp_path / "page.html", []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    printed(capsys, "report", str(run), "--out", str(page))
    assert opened == []
    printed(capsys, "report", str(run), "--out", str(page), "--open")
    assert opened == [page.as_uri()]
    assert make_result("t2h")


@pytest.mark.skipif(shutil.which("script") is None, reason="needs script, to have a terminal")
def test_colours_can_be_switched_off(tmp_path: Path) -> None:
    for off in ("", "1"):
        env = os.environ | {"NO_COLOR": off, "TERM": "xterm"}
        words = ["script", "-qc", f"{sys.executable} -m t2h report --help", str(tmp_path / "typescript")]
        ran = subprocess.run(words, capture_output=True, env=env, stdin=subprocess.DEVNULL)
        assert (b"\x1b[" in ran.stdout) == (off == ""), off


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The script of each shell."""
    import contextlib
    import io

    place, found = tmp_path_factory.mktemp("shell"), {}
    for shell in ("bash", "zsh", "fish"):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            assert main(["completion", shell]) == 0
        found[shell] = place / f"t2h.{shell}"
        found[shell].write_text(text.getvalue())
    return found


CASES: list[tuple[str, Any]] = [
    ("t2h ", set(VERBS)),
    ("t2h tr", {"train"}),
    ("t2h inspect ", set(INSPECT)),
    ("t2h train --prof", {"--profile"}),
    ("t2h train --profile ", {"exp", "step", "pareto", "none"}),
    ("t2h train --t2h.gate s", {"strict", "soft", "shrinkage"}),
    ("t2h inspect samples --format l", {"latex"}),
    ("t2h sample --sched", {"--scheduler"}),
]


@pytest.mark.parametrize(("line", "offered"), CASES)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_completion(shell: str, line: str, offered: set[str], scripts: dict[str, Path]) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    if shell == "fish":
        code = f"source {scripts['fish']}; complete -C '{line}'"
    else:
        words = line.split(" ")
        words = " ".join(f"'{word}'" for word in words)
        code = f"source {scripts['bash']}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _t2h; "
        code += 'printf "%s\\n" "${COMPREPLY[@]}"'
    ran = subprocess.run([shell, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    assert {each.split("\t")[0] for each in ran.stdout.splitlines()} == offered


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_takes_the_script(scripts: dict[str, Path]) -> None:
    code = f"autoload -U compinit && compinit -u -D && source {scripts['zsh']} && print $_comps[t2h]"
    ran = subprocess.run(["zsh", "-f", "-c", code], capture_output=True, text=True, check=True)
    assert "_t2h" in ran.stdout
    assert ran.stderr == ""
