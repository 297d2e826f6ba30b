"""The registry of metrics, statistics over seeds and images, and result files of both versions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from t2h.errors import UserError
from t2h.results.compare import summary
from t2h.results.metrics import COMPUTED, METRICS, in_order, main_keys, metric_of
from t2h.results.point import ClassPoint, Group, Point, Value
from t2h.results.result import ClassTable, Result, read_result, write_result
from t2h.results.statistics import mean_std, paired_difference, proportion_interval
from t2h.results.table import as_text

OLD = json.loads((Path(__file__).parents[1] / "docs" / "benchmark" / "samplers.json").read_text("utf-8"))


class TestStatistics:
    def test_mean_and_sample_deviation(self) -> None:
        assert mean_std([1, 2, 6]).mean == 3
        assert mean_std([1, 2, 6]).std == pytest.approx(np.sqrt(7))
        assert mean_std([4.0]).std is None
        assert mean_std([1, 2, 6]).text(1) == "3.0 ± 2.6"
        assert mean_std([0.5]).text(1, scale=100) == "50.0"

    def test_paired_difference_is_students_t_of_the_differences(self) -> None:
        found = paired_difference([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
        half = stats.t.ppf(0.975, 2) / math.sqrt(3)
        assert (found.n, found.mean, found.std) == (3, 2, 1)
        assert found.interval == pytest.approx((2 - half, 2 + half))
        assert found.text(1) == "+2.0 [-0.5, +4.5]"
        noise = 100 * np.random.default_rng(0).normal(size=40)  # seeds that move both alike do not widen the interval
        b = noise + 1 + 0.1 * np.random.default_rng(1).normal(size=40)
        found = paired_difference(noise, b)
        assert found.interval == pytest.approx(stats.t.interval(0.95, 39, found.mean, stats.sem(b - noise)))
        assert found.interval is not None
        assert found.interval[1] - found.interval[0] < 0.1

    def test_no_interval_has_zero_width(self) -> None:
        same = paired_difference([0.1, 0.7, 0.3], [0.1 + 0.2, 0.7 + 0.2, 0.3 + 0.2])  # equal but for rounding
        assert same.interval is None
        assert same.text(1) == "+0.2 (the same with each seed)"
        few = paired_difference([1, 2], [2, 4])
        assert few.interval is None
        assert few.text(1) == "+1.5 (too few seeds)"

    def test_of_three_seeds_t_covers_95_percent_and_the_percentile_bootstrap_75(self) -> None:
        """1,000 benchmarks of three seeds whose true difference is 0.5: how often the interval holds it."""
        rng = np.random.default_rng(0)
        a = rng.normal(size=(1000, 3))
        b = a + 0.5 + rng.normal(size=(1000, 3))
        ends = [paired_difference(x, y).interval for x, y in zip(a, b, strict=True)]
        assert 0.93 < np.mean([end is not None and end[0] <= 0.5 <= end[1] for end in ends]) < 0.97
        resampled = (b - a)[:, rng.integers(3, size=(2000, 3))].mean(axis=2)
        low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
        assert 0.70 < np.mean((low <= 0.5) & (high >= 0.5)) < 0.80

    def test_shares_have_wilsons_interval(self) -> None:
        z, n, p = stats.norm.ppf(0.975), 50, 0.1
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        assert proportion_interval(5, 50) == pytest.approx((middle - half, middle + half))
        low, high = proportion_interval(0, 20)
        assert low == 0
        assert high == pytest.approx(z**2 / (20 + z**2))  # not [0, 0]: no copy among 20 is no proof of none

    def test_errors(self) -> None:
        with pytest.raises(UserError, match="3 and 2 values"):
            paired_difference([1, 2, 3], [1, 2])
        with pytest.raises(UserError, match="1 of 2 values are NaN"):
            mean_std([1, np.nan])
        with pytest.raises(UserError, match="at least one number"):
            mean_std([])


class TestRegistry:
    def test_every_metric_is_computed_by_an_option_and_explained(self) -> None:
        assert all(metric.computed_by in COMPUTED and metric.about and metric.label for metric in METRICS.values())
        assert set(COMPUTED) == {"fid", "kid", "is", "manifold", "prd", "diversity", "memorisation", "accuracy"}

    def test_memorisation_has_a_target_and_ranks_nothing(self) -> None:
        """It was called "lower is better", so that noise, far from all data, came first."""
        metric = metric_of("memorisation")
        assert (metric.direction, metric.target, metric.hint) == (None, 0.05, "→ 5.0 %")
        assert not metric.is_better(0.0, 0.9)
        assert not metric.is_better(0.05, 0.9)
        points = tuple(
            Point(w, metrics={"memorisation": Value(v), "fid": Value(v)}) for w, v in ((0.0, 0.0), (1.0, 0.05))
        )
        assert Result("a", points).best("memorisation") is None
        assert Result("a", points).best("fid") == points[0]

    def test_neighbours_have_their_k_behind_them(self) -> None:
        metric = metric_of("precision_k5")
        assert (metric.label, metric.direction, metric.hint) == ("Precision (k=5)", "higher", "↑")
        assert in_order(["memorisation", "density_k3", "density_k11", "theirs", "fid"]) == [
            "fid",
            "density_k11",
            "memorisation",
            "theirs",
        ]
        assert main_keys(["density_k5", "recall_k3", "recall_k5", "fid"]) == ["fid", "recall_k5"]
        assert main_keys(["theirs"]) == ["theirs"]
        unknown = metric_of("their_metric")
        assert (unknown.label, unknown.direction, unknown.hint) == ("their metric", None, "")

    def test_numbers(self) -> None:
        assert metric_of("fid").number(16.098) == "16.10"
        assert metric_of("fid").number(-1.2, signed=True) == "-1.20"
        assert metric_of("accuracy").text(0.4567) == "45.7 %"
        assert (metric_of("fid").text(None), metric_of("fid").number(None)) == ("—", "")


def filled() -> Result:
    metrics = {"fid": Value(3.25, n=10, n_reference=20, interval=(3.0, 3.5)), "is": Value(None, "no classifier layer")}
    rows = (ClassPoint(0, "a", 9, {"fid": Value(1.0)}), ClassPoint(1, "b", None, {}))
    points = (
        Point(0.5, 10, 1.5, metrics, {"head": Group((0,), metrics)}, rows, "ab" * 32),
        Point(1.5, 10, metrics={"kid": Value(0.1, std=0.01), "fid": Value(2.0)}),
        Point(None, 10, metrics={"fid": Value(4.0)}),
    )
    data = {"name": "d", "class_names": ["a", "b"], "class_counts": [9, 1]}
    run = {"method": "t2h", "images_seen": 5}
    return Result("mine", points, data, run, {"ks": [3, 5]}, ("a note",), {"1.5": []}, "now", {"version": "0"})


class TestFiles:
    def test_round_trip(self, tmp_path: Path) -> None:
        write_result(filled(), tmp_path / "a.json")
        again = read_result(tmp_path / "a.json")
        assert again.to_dict() == filled().to_dict()
        assert again.points == filled().points
        assert json.loads((tmp_path / "a.json").read_text())["version"] == 2
        assert again.path == tmp_path / "a.json"

    def test_version_1_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "old.json").write_text(json.dumps(OLD[0]))
        old = read_result(tmp_path / "old.json")
        (point,) = old.points
        assert (old.name, old.method, point.w, point.num_images) == ("ddpm-small", "ddpm", 1.5, 1000)
        assert point.get("fid").value == OLD[0]["points"][0]["figures"]["fid"]["value"]
        assert point.get("fid", "tail").n == 400
        assert point.classes[9].name == "truck"
        assert point.classes[9].metrics["accuracy"].value == 0.26
        assert old.table == ClassTable(tuple(OLD[0]["data"]["class_names"]), tuple(OLD[0]["data"]["class_counts"]))
        write_result(old, tmp_path / "new.json")
        assert read_result(tmp_path / "new.json").to_dict() == old.to_dict()

    @pytest.mark.parametrize(
        "damage",
        [
            {"points": [3]},
            {"points": {"w": 1}},
            {"points": [{"w": "x"}]},
            {"points": [{"w": 1, "metrics": {"fid": 3}}]},
            {"points": [{"w": 1, "classes": [{}]}]},
            {"data": 3},
            {"protocol": [1]},
        ],
    )
    def test_a_damaged_file_is_named_in_one_line(self, tmp_path: Path, damage: dict[str, Any]) -> None:
        (tmp_path / "a.json").write_text(json.dumps(filled().to_dict() | damage))
        with pytest.raises(UserError, match=r"a\.json is no result .*damaged.*; evaluate again") as error:
            read_result(tmp_path / "a.json")
        assert "\n" not in str(error.value)

    def test_other_versions_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(json.dumps(filled().to_dict() | {"version": 3}))
        with pytest.raises(UserError, match="has version 3; this t2h reads 1 and 2"):
            read_result(tmp_path / "a.json")

    def test_what_is_not_finite_is_absent(self) -> None:
        for value in (float("nan"), float("inf"), "3", True, None):
            assert Value.from_dict({"value": value}) == Value(None, "not measured")
        assert Value.from_dict({"value": 1, "interval": [None, 3]}) == Value(1.0)


class TestResult:
    def test_points(self) -> None:
        result = filled()
        assert result.at(1.5) is result.points[1]
        assert result.at(2.0) is None
        assert result.nearest(0.6) is result.points[0]
        assert result.nearest() is result.points[1]
        assert result.best("fid") is result.points[1]
        assert result.best("recall_k5") is None
        assert result.points[0].get("fid", "head").value == 3.25
        assert result.points[0].get("fid", "tail").reason == "not measured"

    def test_class_table(self) -> None:
        table = ClassTable(tuple("abcdefgh"), (1, 9, 9, 3, 8, 2, 7, 5))
        assert table.order == [1, 2, 4, 6, 7, 3, 5, 0]
        assert [table.group(c) for c in table.order] == ["head"] * 2 + ["medium"] * 3 + ["tail"] * 3
        assert ClassTable.from_dict({"class_names": ["a"], "class_counts": [1, 2]}) is None
        assert ClassTable.from_dict({}) is None

    def test_summary(self) -> None:
        text = as_text(summary(filled()))
        lines = text.splitlines()
        assert lines[0].split() == ["w", "train", "images", "fid", "kid"]
        assert lines[2].split() == ["all", "0.5", "10", "3.25"]
        assert "note: a note." in text
        assert "no points yet." in as_text(summary(Result("empty")))
