"""Methods from outside the package, as docs/add-a-method.md shows: the page is followed to the letter."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch

from objective_tools import CONTEXT, digits_batch, small_denoiser, train
from t2h import UserError
from t2h.methods import MethodOptions, build_objective, describe
from t2h.methods.base import Method
from t2h.methods.external import make_methods

PAGE = Path(__file__).parent.parent / "docs" / "add-a-method.md"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page says to save; Python can import from it."""
    method, test = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    (tmp_path / "mirror.py").write_text(method, "utf-8")
    (tmp_path / "test_mirror.py").write_text(test, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("mirror", "test_mirror", "t2h_method_mirror"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


@pytest.mark.parametrize("how", ["file", "module"])
def test_the_page_s_method_trains(mirror, how):
    name = {"file": f"{mirror}/mirror.py:Mirror", "module": "mirror:Mirror"}[how]
    denoiser = small_denoiser()
    options = MethodOptions(method_option=("strength=0.5", "only_labelled=true"))
    method = build_objective(f"t2h+{name}", options, CONTEXT, denoiser)
    assert method.passes == describe(f"t2h+{name}", options).passes == 2

    def loss() -> torch.Tensor:
        return torch.stack(list(method(denoiser, digits_batch()).values())).sum()

    before, after, _ = train(loss, list(denoiser.parameters()))
    assert after < before
    assert method(denoiser, digits_batch())["mirror"].item() > 0
    assert method(denoiser, digits_batch(dropout=1.0))["mirror"].item() == 0


def test_the_page_s_tests_pass(mirror):
    import test_mirror  # from the folder of the fixture

    assert Path(test_mirror.__file__).parent == mirror
    test_mirror.test_the_term_is_the_loop()
    test_mirror.test_mistakes()


def test_the_method_is_about_50_lines(mirror):
    assert len((mirror / "mirror.py").read_text().splitlines()) <= 55


@dataclass(frozen=True)
class Typed(Method):
    """Options of every type that can be given as text."""

    number: int = 1
    share: float | None = 0.5
    rule: Literal["one", "two"] = "one"
    on: bool = False
    path: str = ""


def test_options_are_read_as_their_types():
    here = f"{__name__}:Typed"
    texts = ("number=7", "share=none", "rule=two", "on=True", "path=a=b")
    assert make_methods([here], texts)[here] == Typed(7, None, "two", True, "a=b")
    assert make_methods([here], ["share=1e-3"])[here] == Typed(share=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("no_such_module:Class", (), "no_such_module"),
        ("no_such_file.py:Class", (), "no_such_file.py"),
        ("test_objective_external:Nothing", (), "Nothing"),
        ("test_objective_external:train", (), "dataclass that extends t2h.methods.base.Method"),
        ("test_objective_external:Typed", ("numbr=1",), "did you mean 'number'"),
        ("test_objective_external:Typed", ("number",), "name=value"),
        ("test_objective_external:Typed", ("number=x",), "must be int"),
        ("test_objective_external:Typed", ("rule=three",), "must be one or two"),
        ("test_objective_external:Typed", ("on=yes",), "must be bool"),
        ("test_objective_external:Typed", ("share=x",), "must be float or none"),
        ("t2h", ("strength=1",), "names none"),
        ("mirrror", (), "module:Class"),
    ],
)
def test_mistakes_get_one_line(name, options, says):
    with pytest.raises(UserError, match=says) as error:
        build_objective(name, MethodOptions(method_option=options), CONTEXT)
    assert "\n" not in str(error.value)


def test_what_an_objective_costs_is_known_before_data_are_read():
    assert describe("t2h+cm+reweighting").passes == 2
    with pytest.raises(UserError, match="do not combine"):
        describe("t2h+stf")
