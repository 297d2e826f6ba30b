"""Results side by side: differences, choices of points, refusal of other protocols, four formats."""

from __future__ import annotations

import copy
import csv
import io
from typing import Any

import pytest

from t2h.errors import UserError
from t2h.results.compare import as_csv, as_latex, as_markdown, as_text, compare, differing_factors


def figure(value: float | None) -> dict[str, Any]:
    return (
        {"value": None, "reason": "why"}
        if value is None
        else {"value": value, "n": 1, "n_reference": 1, "interval": None}
    )


def result(name: str, fids: dict[float | None, float]) -> dict[str, Any]:
    points = [
        {
            "w": w,
            "num_images": 1000,
            "figures": {"fid": figure(fid), "recall_k5": figure(0.5), "kid": figure(None)},
            "groups": {
                "head": {"classes": [0], "figures": {"fid": figure(fid / 2)}},
                "tail": {"classes": [1], "figures": {}},
            },
            "classes": [],
        }
        for w, fid in fids.items()
    ]
    protocol = {"reference": {"name": "d", "sha256": "a" * 64}, "sampler": {"steps": 100, "seed": 0}, "images_seen": 5}
    return {
        "name": name,
        "data": {"class_names": ["a", "b"], "class_counts": [9, 1]},
        "protocol": protocol,
        "notes": ["shared note", f"note of {name}"],
        "points": points,
    }


@pytest.fixture
def pair() -> list[dict[str, Any]]:
    return [result("ddpm", {0.0: 8.0, 1.5: 38.0}), result("t2h", {0.0: 134.0, 1.0: 12.0, 1.5: 16.0})]


def test_differences_to_the_first_row_at_w_and_at_the_best(pair: list[dict[str, Any]]) -> None:
    table = compare(pair)
    assert [column.title for column in table.columns] == ["fid", "fid head", "recall_k5"]  # what is absent is left out
    rows = {(row.name, row.choice): row for row in table.rows}
    assert set(rows) == {("ddpm", "1.5"), ("t2h", "1.5"), ("ddpm", "best"), ("t2h", "best")}
    assert rows["t2h", "1.5"].values == (16.0, 8.0, 0.5)
    assert rows["t2h", "1.5"].differences == (16.0 - 38.0, 8.0 - 19.0, 0.0)
    assert rows["t2h", "best"].w == 1.0
    assert rows["t2h", "best"].differences[0] == 12.0 - 8.0
    assert rows["ddpm", "1.5"].differences == (None, None, None)
    assert not any(row.marked for row in table.rows)


def test_another_baseline_and_other_points(pair: list[dict[str, Any]]) -> None:
    table = compare(pair, ws=("0",), baseline="t2h")
    assert [(row.name, row.differences[0]) for row in table.rows] == [("ddpm", 8.0 - 134.0), ("t2h", None)]
    assert [row.name for row in compare(pair, ws=("1",)).rows] == ["t2h"]
    lone = result("old", {None: 3.0})
    assert [row.w for row in compare([lone]).rows] == [None]


def test_other_protocols_are_refused_with_the_factors_or_marked(pair: list[dict[str, Any]]) -> None:
    other = copy.deepcopy(pair[1])
    other["protocol"]["images_seen"] = 9
    other["protocol"]["sampler"] = {"steps": 50, "seed": 7}
    other["points"][0]["num_images"] = 10
    assert differing_factors(pair[0], other) == {
        "num_images": ([1000], [10, 1000]),
        "sampler.steps": (100, 50),
        "images_seen": (5, 9),
    }
    with pytest.raises(
        UserError, match=r"'t2h' was not measured as 'ddpm' \(.*images_seen: 5 against 9.*--anyway"
    ) as error:
        compare([pair[0], other])
    assert "\n" not in str(error.value)
    table = compare([pair[0], other], anyway=True)
    assert [row.marked for row in table.rows] == [False, True, False, True]
    assert any("sampler.steps 50 instead of 100" in remark for remark in table.remarks)
    assert "t2h*" in as_text(table)


def test_a_seed_of_sampling_is_no_factor_and_a_lacking_factor_is_one(pair: list[dict[str, Any]]) -> None:
    pair[1]["protocol"]["sampler"]["seed"] = 3
    assert differing_factors(*pair) == {}
    del pair[1]["protocol"]["images_seen"]
    assert differing_factors(*pair) == {"images_seen": (5, None)}


def test_formats(pair: list[dict[str, Any]]) -> None:
    pair[1]["name"] = "t2h_50%|x"
    table = compare(pair, ws=("1.5",))
    text = as_text(table)
    assert "16.00 (-22.00)" in text
    assert "Note: shared note." in text
    assert "Note on ddpm: note of ddpm." in text
    markdown = as_markdown(table)
    assert "| t2h_50%\\|x | 1.5 | 1,000 | 16.00 (-22.00) |" in markdown
    assert markdown.splitlines()[1].startswith("| --- | ---:")
    latex = as_latex(table)
    assert r"t2h\_50\%|x & 1.5 & 1,000 & 16.00 ($-$22.00)" in latex
    assert r"recall\_k5" in latex
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert (rows[1]["fid"], rows[1]["fid difference"], rows[0]["fid difference"]) == ("16.0", "-22.0", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "ddp"}, "unknown baseline 'ddp'; did you mean 'ddpm'"),
        ({"ws": ("7",)}, "no result has a point at w = 7"),
        ({"ws": ("worst",)}, "--w worst: a number or `best`"),
    ],
)
def test_bad_questions(pair: list[dict[str, Any]], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare(pair, **options)
    with pytest.raises(UserError, match="no result to compare"):
        compare([])
