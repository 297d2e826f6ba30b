"""Results side by side: differences, choices of points, refusal of other protocols, formats."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, NamedTuple

import pytest

from t2h.errors import UserError
from t2h.results.comparable import differing, differing_factors, unknown_factors
from t2h.results.compare import compare
from t2h.results.point import Group, Point, Value
from t2h.results.result import Result
from t2h.results.table import Table, as_csv, as_html, as_latex, as_markdown, as_text, table


def result(name: str, fids: dict[float | None, float]) -> Result:
    points = tuple(
        Point(
            w,
            1000,
            metrics={"fid": Value(fid, n=1), "recall_k5": Value(0.5, n=1), "kid": Value(None, "why")},
            groups={"head": Group((0,), {"fid": Value(fid / 2, n=1)}), "tail": Group((1,), {})},
        )
        for w, fid in fids.items()
    )
    protocol = {"reference": {"name": "d", "sha256": "a" * 64}, "sampler": {"steps": 100, "seed": 0}, "images_seen": 5}
    data = {"class_names": ["a", "b"], "class_counts": [9, 1]}
    return Result(name, points, data, protocol=protocol, notes=("shared note", f"note of {name}"))


def measured(other: Result, **factors: Any) -> Result:
    return replace(other, protocol=other.protocol | factors)


class Row(NamedTuple):
    """A row of the table as values."""

    name: str
    choice: str
    w: float | None
    comparable: bool
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]


def rows_of(shown: Table) -> list[Row]:
    rows = []
    for name, point, images, *cells in shown.rows:
        values, differences = zip(*(cell.values for cell in cells), strict=True)
        rows.append(Row(*name.values, *point.values, images.values[1], values, differences))
    return rows


def measures_of(shown: Table) -> list[str]:
    return [cell.text for cell in shown.head[3:]]


@pytest.fixture
def pair() -> list[Result]:
    return [result("ddpm", {0.0: 8.0, 1.5: 38.0}), result("t2h", {0.0: 134.0, 1.0: 12.0, 1.5: 16.0})]


def test_differences_to_the_first_row_at_w_and_at_the_best(pair: list[Result]) -> None:
    found = compare(pair)
    assert measures_of(found) == ["fid", "fid head", "recall_k5"]  # what is absent is left out
    rows = {(row.name, row.choice): row for row in rows_of(found)}
    assert set(rows) == {("ddpm", "1.5"), ("t2h", "1.5"), ("ddpm", "best"), ("t2h", "best")}
    assert rows["t2h", "1.5"].values == (16.0, 8.0, 0.5)
    assert rows["t2h", "1.5"].differences == (16.0 - 38.0, 8.0 - 19.0, 0.0)
    assert rows["t2h", "best"].w == 1.0
    assert rows["t2h", "best"].differences[0] == 12.0 - 8.0
    assert rows["ddpm", "1.5"].differences == (None, None, None)
    assert all(row.comparable for row in rows_of(found))


def test_another_baseline_and_other_points(pair: list[Result]) -> None:
    found = compare(pair, ws=("0",), baseline="t2h")
    assert [(row.name, row.differences[0]) for row in rows_of(found)] == [("ddpm", 8.0 - 134.0), ("t2h", None)]
    assert [row.name for row in rows_of(compare(pair, ws=("1",)))] == ["t2h"]
    lone = result("old", {None: 3.0})
    assert [row.w for row in rows_of(compare([lone]))] == [None]


def test_other_protocols_are_refused_with_the_factors_or_marked(pair: list[Result]) -> None:
    other = measured(pair[1], images_seen=9, sampler={"steps": 50, "seed": 7})
    other = replace(other, points=(replace(other.points[0], num_images=10), *other.points[1:]))
    assert differing_factors(pair[0], other) == {
        "num_images": ([1000], [10, 1000]),
        "sampler.steps": (100, 50),
        "images_seen": (5, 9),
    }
    with pytest.raises(
        UserError, match=r"t2h was not measured as ddpm, .*: .*images_seen 9 instead of 5.*--anyway"
    ) as error:
        compare([pair[0], other])
    assert "\n" not in str(error.value)
    found = compare([pair[0], other], anyway=True)
    assert [row.comparable for row in rows_of(found)] == [True, False, True, False]
    assert any("sampler.steps 50 instead of 100" in remark for remark in found.remarks)
    assert "t2h*" in as_text(found)


def test_a_seed_of_sampling_is_no_factor(pair: list[Result]) -> None:
    assert differing_factors(pair[0], measured(pair[1], sampler={"steps": 100, "seed": 3})) == {}


def test_what_one_result_does_not_know_is_no_difference_but_a_remark(pair: list[Result]) -> None:
    """A run against its own stored samples, and samples of other projects, were refused."""
    stored = measured(pair[1], images_seen=None, label_dropout=None)
    foreign = measured(replace(result("theirs", {None: 11.0}), data={}), images_seen=None, sampler=None, labels="none")
    run = measured(pair[0], label_dropout=0.1, labels="exact")
    for other, unknown in (
        (stored, ["images_seen", "label_dropout", "labels"]),
        (foreign, ["class names", "images_seen", "label_dropout", "labels", "sampler", "training class counts"]),
    ):
        assert differing_factors(run, other) == {}
        assert unknown_factors(run, other) == unknown
        found = compare([run, other])
        assert all(row.comparable for row in rows_of(found))
        remark = next(remark for remark in found.remarks if remark.startswith("Known of one"))
        assert remark.endswith(f"taken to be the same: {', '.join(unknown)}")
        theirs = [row for row in rows_of(found) if row.name == other.name]
        assert all(row.differences[0] is not None for row in theirs)
    assert differing_factors(run, measured(foreign, image_path="float")) == {}
    two_known = measured(foreign, label_dropout=0.2)
    assert differing_factors(run, two_known) == {"label_dropout": (0.1, 0.2)}
    # The first knows nothing, but the others differ from each other.
    assert differing([foreign, run, two_known]) == ["label_dropout"]


def test_numbers_of_images_compare_at_the_weights_that_both_have(pair: list[Result]) -> None:
    a, b = pair
    more = replace(b, points=(b.points[0], replace(b.points[1], num_images=10), b.points[2]))  # w = 1.0 is b's alone
    assert differing_factors(a, more) == {}
    apart = replace(b, points=(replace(b.points[1], num_images=10),))
    assert differing_factors(a, apart) == {"num_images": ([1000], [10])}


def test_the_main_metrics_are_the_columns_and_memorisation_is_one_of_them() -> None:
    values = {key: Value(0.5) for key in ("density_k5", "memorisation", "recall_k3", "recall_k5", "is", "fid")}
    found = compare([Result("a", (Point(1.5, 10, metrics=values),))])
    assert measures_of(found) == ["fid", "is", "recall_k5", "memorisation"]
    found = compare([Result("a", (Point(1.5, 10, metrics=values),))], metrics=("density_k5", "recall_k3"))
    assert measures_of(found) == ["density_k5", "recall_k3"]


def test_formats(pair: list[Result]) -> None:
    shown = compare([pair[0], replace(pair[1], name="t2h_50%|x")], ws=("1.5",))
    text = as_text(shown)
    assert "16.00 (-22.00)" in text
    assert "Note: shared note." in text
    assert "Note on ddpm: note of ddpm." in text
    markdown = as_markdown(shown)
    assert "| t2h_50%\\|x | 1.5 | 1,000 | 16.00 (-22.00) |" in markdown
    assert markdown.splitlines()[1].startswith("| --- | ---:")
    latex = as_latex(shown)
    assert r"t2h\_50\%|x & 1.5 & 1,000 & 16.00 ($-$22.00)" in latex
    assert r"recall\_k5" in latex
    rows = list(csv.DictReader(io.StringIO(as_csv(shown))))
    assert (rows[1]["fid"], rows[1]["fid difference"], rows[0]["fid difference"]) == ("16.0", "-22.0", "")
    assert (rows[1]["point"], rows[1]["w"], rows[1]["num_images"], rows[1]["comparable"]) == (
        "1.5",
        "1.5",
        "1000",
        "True",
    )


def test_csv_has_numbers_in_full() -> None:
    third = 1 / 3
    shown = compare([Result("a", (Point(1.5, 10, metrics={"fid": Value(third)}),))])
    (row,) = csv.DictReader(io.StringIO(as_csv(shown)))
    assert float(row["fid"]) == third


def test_names_with_hyphens_and_intervals_in_latex() -> None:
    latex = as_latex(table(["method", "fid"], [["t2h-expectation-2", "[-1.00, +2.00]"]]))
    assert r"t2h-expectation-2 & {[$-$1.00, +2.00]} \\" in latex


def test_html_escapes_every_text() -> None:
    evil = '<script>"&</script>'
    page = as_html(table([evil, evil], [[evil, evil]], title=evil, remarks=[evil]))
    assert "<script" not in page
    texts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = texts.append  # type: ignore[method-assign]
    parser.feed(page)
    assert [text.rstrip(".") for text in texts if re.search(r"\S", text)] == [evil] * 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "ddp"}, "unknown baseline 'ddp'; did you mean 'ddpm'"),
        ({"ws": ("7",)}, "no result has a point at w = 7"),
        ({"ws": ("worst",)}, "--w worst: a number or `best`"),
    ],
)
def test_bad_questions(pair: list[Result], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare(pair, **options)
    with pytest.raises(UserError, match="no result to compare"):
        compare([])
