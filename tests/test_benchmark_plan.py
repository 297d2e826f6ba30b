"""A plan says what is wrong with it before anything runs; and what it makes is paired."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from t2h import RectifiedFlow, UserError
from t2h.benchmark.plan import parse_plan, read_plan
from t2h.training.same import differences

PLAN = {
    "data": {"digits": {"data": "digits"}},
    "imbalance": [0.1, 0.05],
    "seeds": [3, 4],
    "base": {"learning": {"steps": 2, "batch_size": 8}},
    "methods": {
        "ddpm": {"objective": "ddpm"},
        "t2h+rs": {"objective": "t2h", "methods": {"t2h": {"beta": -1.0}}, "learning": {"resampling": 0.5}},
    },
    "evaluation": {"features": "classifier", "w": [0, 1.5]},
}


def plan(**changes: object):
    return parse_plan(yaml.safe_dump(PLAN | changes), "mine")


def test_cells_are_all_combinations_and_differ_in_nothing_but_the_method():
    cells = plan().cells()
    assert [cell.name for cell in cells[:4]] == [
        "digits-0.1/ddpm/seed3",
        "digits-0.1/t2h+rs/seed3",
        "digits-0.05/ddpm/seed3",
        "digits-0.05/t2h+rs/seed3",
    ]
    assert len(cells) == 8
    assert {cell.seed for cell in cells[4:]} == {4}  # a seed is finished before the next begins
    assert differences(cells[0].config, cells[1].config) == [
        "objective: ddpm -> t2h",
        "methods.t2h.beta: None -> -1.0",
        "learning.resampling: 1.0 -> 0.5",
    ]
    assert cells[2].config.data.imbalance == 0.05
    assert cells[0].config.learning.steps == 2


def test_cells_of_a_flow():
    config = plan(base={"process": {"kind": "flow"}, "network": {"network": "dit-tiny"}}).cells()[0].config
    assert config.process.make() == RectifiedFlow()
    assert config.own_sampling.scheduler == "flow"


def test_where_and_with_what_it_runs_is_no_part_of_the_plan(tmp_path):
    here, there = plan().cells()[0], plan().cells(tmp_path, "cpu")[0]
    assert there.config.data.root == tmp_path
    assert there.config.machine.device == "cpu"
    assert not differences(here.config, there.config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": {}}, "plan mine: unknown entry 'method'; did you mean 'methods'"),
        ({"methods": {}}, "plan mine: it has no methods"),
        ({"baseline": "dppm"}, "unknown baseline 'dppm'; did you mean 'ddpm'"),
        ({"seeds": [1, 1]}, "seeds is 1 1; give at least one, each once"),
        ({"seeds": []}, "seeds is empty"),
        ({"imbalance": [3.0]}, "imbalance"),
        ({"data": {"digits": {}}}, "data digits: `data` is missing"),
        ({"data": {"../up": {"data": "digits"}}}, "'../up' names a folder"),
        ({"data": 3}, "plan mine: data holds no named entries"),
        ({"base": {"learning": {"stepps": 2}}}, "unknown entry of learning 'stepps'; did you mean 'steps'"),
        ({"base": {"learning": {"steps": 0}}}, "steps is 0"),
        ({"methods": {"ddpm": {"objective": "dpm"}}}, "unknown objective 'dpm'; did you mean 'ddpm'"),
        ({"methods": {"ddpm": {"objective": "t2h+stf"}}}, "do not combine"),
        ({"methods": {"ddpm": {"learning": {"steps": 9}}}}, "method ddpm changes learning.steps, which all"),
        ({"methods": {"ddpm": {"data": {}}}}, "unknown entry of method ddpm 'data'"),
        ({"evaluation": {"ws": [1]}}, "unknown evaluation entry 'ws'"),
        ({"evaluation": {"w": []}}, "evaluation.w is empty"),
        ({"evaluation": {"metrics": ["kid"]}}, "lacks fid"),
        ({"evaluation": {"figures": ["fid", "kidd"]}}, "unknown metric 'kidd'"),
        ({"published": [{"source": "X", "data": "digits", "values": {}}]}, "unknown data of published numbers"),
        ({"published": [{"from": "X"}]}, "unknown entry of published 'from'"),
        ({"base": {"process": {"kind": "flow"}}, "evaluation": {"scheduler": "ddpm"}}, "ddpm cannot draw from a flow"),
        ({"base": {"process": {"kind": "flow"}}, "methods": {"ddpm": {"objective": "diffrop"}}}, "are not random"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_runs(changes, said):
    with pytest.raises(UserError) as error:
        plan(**changes)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_text_that_is_no_plan_and_names_that_are_none(tmp_path):
    for text in ("a: [", "just words", ""):
        with pytest.raises(UserError, match="plan mine"):
            parse_plan(text, "mine")
    with pytest.raises(UserError, match="unknown plan 'digit'; did you mean 'digits'"):
        read_plan("digit")
    with pytest.raises(UserError, match=r"there is no plan .*none.yaml; give a YAML file, or one of"):
        read_plan(str(tmp_path / "none.yaml"))
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(PLAN))
    assert read_plan(str(tmp_path / "own.yaml")) == dataclasses.replace(plan(), name="own")


BUILT_IN = {
    "digits": 42,
    "cifar10-lt-cpu": 18,
    "digits-long": 36,
    "w-digits": 12,
    "w-fashion": 12,
    "cifar10-lt": 27,
    "paper-t2h": 18,
    "paper-cbdm": 12,
    "paper-coral": 24,
    "paper-cm": 30,
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_plans_are_whole(name):
    built_in = read_plan(name)
    assert len(built_in.cells()) == BUILT_IN[name]
    assert len(built_in.seeds) >= 3
    assert 1.5 in built_in.evaluation.w
    assert built_in.about


def test_the_digits_plan_has_every_method():
    from t2h.methods import METHODS

    assert set(METHODS) <= set(read_plan("digits").methods)


def test_the_words_of_version_1_are_read():
    published = {"source": "A", "data": "digits-0.1", "values": {"ddpm": 1.0}}
    old = plan(evaluation={"figures": ["fid"]}, published=[published | {"figure": "is"}])
    new = plan(evaluation={"metrics": ["fid"]}, published=[published | {"metric": "is"}])
    assert old == new
    assert (old.evaluation.metrics, old.published[0].metric) == (("fid",), "is")
