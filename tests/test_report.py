"""The page: made of files alone, valid, self-contained, escaped, honest, and readable in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from report_inputs import COUNTS, NAMES, long_tail, make_result, make_run
from t2h import UserError
from t2h.cli import main
from t2h.report import write_report
from t2h.report.axes import Line, axis_text, ticks
from t2h.report.charts import line_chart
from t2h.report.material import read_material
from t2h.report.plots import counts_file
from t2h.report.view import page_view
from t2h.results.result import ClassTable

VOID = {"br", "img", "link", "meta"}


def view(paths: list[Path]) -> dict[str, Any]:
    return page_view(read_material(paths))


def bold(page: Page) -> list[str]:
    """What the page calls the best."""
    return re.findall(r"<td[^>]*><b>([^<]*)</b>", page.source)


class Page(HTMLParser):
    """Checks the form of a page while reading it, and keeps what tests ask for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.svg_children: list[list[str]] = []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        assert all(children[:2] == ["title", "desc"] for children in self.svg_children)
        ids = [attrs["id"] for _, attrs in self.tags if "id" in attrs]
        assert len(ids) == len(set(ids))
        links = {attrs["href"] for name, attrs in self.tags if name == "a"}
        assert links <= {f"#{name}" for name in ids}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert len(values) == len(attrs), f"an attribute twice in <{tag}>"
        assert not any(name.startswith("on") for name in values)
        for name in ("src", "href"):
            assert re.match(r"data:|#", values.get(name) or "#"), f"{name} leaves the page: {values[name]}"
        if tag == "img":
            assert values.get("alt")
        if self.open and self.open[-1] == "svg":
            self.svg_children[-1].append(tag)
        if tag == "svg":
            assert values["role"] == "img"
            assert values["aria-label"]
            self.svg_children.append([])
        self.tags.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(folder / name, name) for name in ("ddpm", "t2h")]


@pytest.fixture(scope="module")
def page(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Page:
    return Page(write_report(runs, tmp_path_factory.mktemp("page") / "new" / "report.html"))


def test_page_of_two_runs_has_every_section(page: Page) -> None:
    assert page.headings == [
        "Training images", "Metrics", "Along the guidance", "Class by class", "Samples, head to tail",
        "The rarest classes and what they were trained on", "Where targets were transferred", "Training",
        "How it was measured", "Configuration",
    ]  # fmt: skip
    assert "ddpm and t2h on digits" in page.text


def test_page_needs_nothing_from_outside(page: Page) -> None:
    assert not re.search(r"https?://|@import|url\(|<script", page.source)


def test_tiles_and_bold_say_what_the_metrics_say(page: Page, runs: list[Path]) -> None:
    first, second = view(runs)["tiles"]
    assert (first["name"], first["value"], first["what"]) == ("ddpm", "38.20", "FID ↓ at w = 1.5")
    assert first["below"] == "best 8.50 at w = 0"
    assert (second["name"], second["value"], second["below"]) == ("t2h", "16.10", "the best of its curve")
    main = page.source.split('id="metrics"')[1].split("</table>")[0]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in main.split("<tr")[2:]]
    assert [row[:5] for row in rows] == [
        [">", "ddpm", "w", "=", "1.5"], [">", "t2h", "w", "=", "1.5"],
        ["class=\"apart\">", "ddpm", "best", "FID,", "w"], [">", "t2h", "best", "FID,", "w"],
    ]  # fmt: skip
    assert {"16.10", "8.50"} <= set(re.findall(r"<b>([^<]*)</b>", main)), "the best at w = 1.5, and of the best w"
    assert not {"38.20", "134.00"} & set(bold(page)), "a rival is better"
    every = page.source.split("Every metric at every w")[1].split("</table>")[0]
    assert {"8.50", "12.10", "22.40", "16.10", "17.80"} <= set(re.findall(r"<b>([^<]*)</b>", every))


def test_a_w_for_each_class_stands_beside_one_w_as_the_other_half_judged_them(tmp_path: Path) -> None:
    paths = []
    for name, one, each in (("ddpm", 9.25, 9.5), ("t2h", 8.75, 7.25)):
        result = make_result(name)
        point = result["points"][0] | {"w": None}
        judged = {"single": one, "mixture": each}
        result["w_table"] = {}
        result["choice"] = {
            "per": "class",
            "ws": [0.0, 0.5],
            "halves": [{}, {}],
            "single_w": [0.0, 0.5],
        } | {what: point | {"metrics": {"fid": {"value": fid}}} for what, fid in judged.items()}
        paths.append(write(tmp_path / f"{name}.json", result))
    rows = view(paths)["metrics"]["main"]["rows"][4:]
    assert [(row.name, row.what, row.metrics["fid"].value) for row in rows] == [
        ("ddpm", "one w, chosen on the other half", 9.25),
        ("t2h", "one w, chosen on the other half", 8.75),
        ("ddpm", "w per class, chosen on the other half", 9.5),
        ("t2h", "w per class, chosen on the other half", 7.25),
    ]
    assert {"8.75", "7.25"} <= set(bold(Page(write_report(paths, tmp_path / "page.html"))))


def test_overlapping_intervals_settle_nothing(tmp_path: Path) -> None:
    paths = []
    for name, fid in (("ddpm", 16.0), ("t2h", 16.4)):
        result = make_result(name)
        for point in result["points"]:
            point["metrics"]["fid"].update(value=fid, interval=[15.5, 17.0])
        result["points"][0]["metrics"]["fid"].update(value=2 * fid, interval=[1.99 * fid, 2.01 * fid])
        paths.append(write(tmp_path / f"{name}.json", result))
    assert view(paths)["caveats"][0] == (
        "At w = 0.5, 1, 1.5 and 2 the FID intervals of the best two overlap: their order is open."
    )


@pytest.mark.parametrize("change", ["reference", "samples", "classes"])
def test_different_protocols_are_not_set_against_each_other(tmp_path: Path, change: str) -> None:
    other = make_result("t2h")
    if change == "reference":
        other["protocol"]["reference"] |= {"split": "train", "sha256": "ee" * 32}
    elif change == "samples":
        other["points"][3]["num_images"] = 999
    else:
        other["data"]["class_counts"][0] += 1
    paths = [write(tmp_path / "a.json", make_result("ddpm")), write(tmp_path / "b.json", other)]
    assert "not compared" in view(paths)["caveats"][0]
    page = Page(write_report(paths, tmp_path / "page.html"))
    assert not bold(page), "nothing is called the best"
    if change == "reference":
        assert "differs" in page.text


def test_different_seeds_are_the_same_protocol(tmp_path: Path) -> None:
    other = make_result("t2h")
    other["protocol"]["sampler"]["seed"] = 7
    paths = [write(tmp_path / "a.json", make_result("ddpm")), write(tmp_path / "b.json", other)]
    assert not any("not compared" in caveat for caveat in view(paths)["caveats"])
    assert bold(Page(write_report(paths, tmp_path / "page.html")))


def test_what_one_result_does_not_know_is_no_difference(tmp_path: Path) -> None:
    other = make_result("theirs")
    other["protocol"]["sampler"] = other["run"]["images_seen"] = None
    paths = [write(tmp_path / "a.json", make_result("ddpm")), write(tmp_path / "b.json", other)]
    assert not any("not compared" in caveat for caveat in view(paths)["caveats"])
    assert "differs" not in Page(write_report(paths, tmp_path / "page.html")).text


def test_everything_given_by_users_is_escaped(tmp_path: Path) -> None:
    evil = '<script>alert("1")</script>\' onload="x" &amp;'
    names = (evil, *NAMES[1:])
    run = make_run(tmp_path / "run", evil, names)
    (run / "config.yaml").write_text(evil)
    result = make_result(evil, names)
    result["notes"] = [evil]
    result["protocol"][evil] = evil
    result["created"] = result["package"]["commit"] = evil
    result["points"][3]["metrics"] = {evil: {"value": 1.0}, "fid": {"value": None, "reason": evil}}
    result["points"][3]["groups"] = {evil: {"metrics": {"fid": {"value": 1.0}}}}
    result["images"]["1.5"][0]["png"] = '"><script>'
    (run / "results" / "evaluation.json").write_text(json.dumps(result))
    page = Page(write_report([run], tmp_path / "page.html", title=evil))
    assert "<script" not in page.source
    assert not any(tag == "script" for tag, _ in page.tags)
    assert page.text.count(evil) > 5


def test_classes_run_from_head_to_tail(tmp_path: Path) -> None:
    counts = tuple(COUNTS[(3 * i) % 10] for i in range(10))
    names = tuple(f"kind{n}" for n in counts)
    page = Page(write_report([make_run(tmp_path / "run", "t2h", names, counts)], tmp_path / "page.html"))
    wanted = [f"kind{n}" for n in sorted(counts, reverse=True)]
    strips = [attrs["alt"] or "" for tag, attrs in page.tags if tag == "img" and "samples" in (attrs["alt"] or "")]
    assert [re.findall(r"kind\d+", alt)[0] for alt in strips] == wanted
    chart = page.source.split('id="classes"')[1].split("</svg>")[0]
    assert re.findall(r"kind\d+", chart.split("<desc>")[1].split("</desc>")[0]) == wanted


def test_thirds_have_the_boundaries_of_the_protocol() -> None:
    table = ClassTable(tuple("abcdefgh"), (1, 9, 9, 3, 8, 2, 7, 5))
    assert table.order == [1, 2, 4, 6, 7, 3, 5, 0]
    assert [table.group(c) for c in table.order] == ["head"] * 2 + ["medium"] * 3 + ["tail"] * 3


@pytest.mark.parametrize(
    "missing", ["results", "samples", "metrics.jsonl", "classes.json", "config.yaml", "images", "points", "protocol"]
)
def test_missing_parts_are_left_out(tmp_path: Path, missing: str) -> None:
    run = make_run(tmp_path / "run")
    if (run / missing).is_dir():
        shutil.rmtree(run / missing)
    elif (run / missing).exists():
        (run / missing).unlink()
    else:
        result = make_result("t2h")
        del result[missing]
        (run / "results" / "evaluation.json").write_text(json.dumps(result))
    assert Page(write_report([run], tmp_path / "page.html")).headings


@pytest.mark.parametrize(
    ("missing", "heading"),
    [("results", "Metrics"), ("samples", "Samples, head to tail"), ("metrics.jsonl", "Training")],
)
def test_no_section_without_content(tmp_path: Path, missing: str, heading: str) -> None:
    run = make_run(tmp_path / "run")
    (shutil.rmtree if (run / missing).is_dir() else Path.unlink)(run / missing)
    assert heading not in Page(write_report([run], tmp_path / "page.html")).headings


def test_training_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for part in ("results", "samples"):
        shutil.rmtree(run / part)
    page = Page(write_report([run], tmp_path / "page.html"))
    assert "Nothing has been evaluated yet" in page.text
    assert page.headings[0] == "Training images"


def test_grids_of_training_stand_in_for_samples(tmp_path: Path) -> None:
    from PIL import Image

    run = make_run(tmp_path / "run")
    shutil.rmtree(run / "samples")
    (run / "grids").mkdir()
    for step, size in ((900, 40), (1000, 50)):
        Image.new("RGB", (size, 30)).save(run / "grids" / f"step_{step}.png")
    page = Page(write_report([run], tmp_path / "page.html"))
    assert "t2h, step 1000" in page.text
    assert "step 900" not in page.text


def test_samples_of_an_archive(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shutil.rmtree(run / "samples")
    (run / "samples").mkdir()
    for w, each in ((0.0, 2), (1.5, 3)):
        labels = np.repeat(np.arange(10), each)
        images = np.zeros((10 * each, 8, 8, 1), np.uint8)
        np.savez(run / "samples" / f"w_{w}.npz", images=images, labels=labels, protocol=json.dumps({"w": w}))
    page = Page(write_report([run], tmp_path / "page.html"))
    assert "3 samples of class 9 by t2h" in page.source
    assert "Drawn at w = 1.5." in page.text


def test_samples_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shutil.rmtree(run / "samples")
    (run / "samples").mkdir()
    (run / "samples" / "mine.npz").write_bytes(b"no archive")
    page = Page(write_report([run], tmp_path / "page.html"))
    assert "The samples of t2h are not shown" in page.text
    assert "mine.npz" in page.text


def test_damaged_facts_of_samples_are_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "samples" / "samples.json").write_text("{")
    assert "samples.json" in Page(write_report([run], tmp_path / "page.html")).text


def test_without_labels_there_are_no_strips(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    shutil.rmtree(run / "samples")
    (run / "samples").mkdir()
    np.savez(run / "samples" / "mine.npz", images=np.zeros((4, 8, 8, 3), np.uint8))
    assert "Samples, head to tail" not in Page(write_report([run], tmp_path / "page.html")).headings


def test_samples_nearest_to_the_papers_guidance_are_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "samples").rename(run / "at_2")
    (run / "samples").mkdir()
    for w in (0, 2.0, None):
        shutil.copytree(run / "at_2", run / "samples" / f"w_{w}")
        (run / "samples" / f"w_{w}" / "samples.json").write_text(json.dumps({"w": w}))
    assert "Drawn at w = 2." in Page(write_report([run], tmp_path / "page.html")).text


def test_transfer_chart_has_the_shares_of_the_log(page: Page) -> None:
    described = page.source.split('id="transfer"')[1].split("<desc>")[1].split("</desc>")[0]
    same, other = described.split("another class:")
    shares = {int(t): float(share) for share, t in re.findall(r"(\S+) % at (\d+)", same)}
    assert list(shares) == list(range(25, 1000, 50))
    assert (shares[25], shares[975]) == (0.0, 30.0)
    assert "45 % at 975" in other


def test_names_at_the_ends_of_curves_do_not_overlap() -> None:
    lines = [Line(f"model {i}", f"c{i}", (0.0, 1.0), (1.0, 2.0 + i / 1000)) for i in range(6)]
    chart = line_chart("Six curves", lines, "x").__html__()
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)" class="name', chart))
    assert len(heights) == 6
    assert min(np.diff(heights)) >= 12.9


def test_far_apart_values_get_a_logarithmic_axis() -> None:
    def chart(high: float) -> str:
        return line_chart("A curve", [Line("model", "c0", (0.0, 1.0), (1.0, high))], "x").__html__()

    assert "Logarithmic axis" in chart(21.0)
    assert "Logarithmic axis" not in chart(19.0)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.0, 134.0, [0, 50, 100]),
        (0.0, 1.0, [0, 0.25, 0.5, 0.75, 1]),
        (0.0, 0.03, [0, 0.01, 0.02, 0.03]),
        (2.0, 2.0, [2]),
    ],
)
def test_ticks_are_round(low: float, high: float, wanted: list[float]) -> None:
    assert ticks(low, high, 4) == wanted


def test_absent_metrics_show_their_reason(page: Page) -> None:
    assert 'title="the feature network has no classifier layer"' in page.source


def test_infinite_and_missing_numbers_are_absent(tmp_path: Path) -> None:
    result = make_result("t2h")
    result["points"][3]["metrics"]["fid"] = {"value": float("nan")}
    result["points"][2]["metrics"]["fid"] = {"value": float("inf"), "interval": [None, 3]}
    del result["points"][1]["metrics"]["fid"]
    page = Page(write_report([write(tmp_path / "r.json", result)], tmp_path / "page.html"))
    assert not re.search(r"\b(nan|inf)\b", page.source)


def test_samples_of_unknown_guidance(tmp_path: Path) -> None:
    result = make_result("theirs")
    result["points"] = result["points"][3:4]
    result["points"][0] |= {"w": None, "guidance_scale": None}
    result["images"] = {"None": result["images"]["1.5"]}
    paths = [write(tmp_path / "r.json", result), write(tmp_path / "s.json", result | {"name": "others"})]
    page = Page(write_report(paths, tmp_path / "page.html"))
    assert [(tile["name"], tile["value"], tile["what"]) for tile in view(paths)["tiles"]] == [
        ("theirs", "27.00", "FID ↓ at unknown w"),
        ("others", "27.00", "FID ↓ at unknown w"),
    ]
    assert "unknown w" in page.text
    assert "w = 0" not in page.text


def test_models_that_have_seen_unequally_many_images_are_not_compared(tmp_path: Path) -> None:
    other = make_result("t2h")
    other["run"]["images_seen"] = 640_000
    paths = [write(tmp_path / "a.json", make_result("ddpm")), write(tmp_path / "b.json", other)]
    assert view(paths)["caveats"][0].startswith("The results differ in images seen")
    assert not bold(Page(write_report(paths, tmp_path / "page.html")))


def test_one_name_twice_gets_a_label(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"seed{seed}") for seed in (0, 1)]
    material = read_material(runs)
    assert [result.name for result in material.results] == ["t2h (seed0)", "t2h (seed1)"]
    assert [run.name for run in material.runs] == ["t2h (seed0)", "t2h (seed1)"]
    assert not any("seed to seed" in caveat for caveat in page_view(material)["caveats"])


def test_a_result_given_twice_counts_once(runs: list[Path]) -> None:
    assert len(read_material([*runs, runs[0] / "results" / "evaluation.json"]).results) == 2


@pytest.mark.slow
def test_many_methods_and_many_classes(tmp_path: Path) -> None:
    names, counts = tuple(f"class {i}" for i in range(60)), long_tail(60)
    methods = ("ddpm", "t2h", "h2t", "cbdm", "coral", "ccua", "cm", "stf")
    paths = [write(tmp_path / f"{name}.json", make_result(name, names, counts)) for name in methods]
    page = Page(write_report(paths, tmp_path / "page.html"))
    assert "rank of the class by frequency" in page.text


def test_a_single_class_and_a_single_w(tmp_path: Path) -> None:
    result = make_result("t2h", ("only",), (4,))
    result["points"] = result["points"][3:4]
    assert Page(write_report([write(tmp_path / "r.json", result)], tmp_path / "page.html")).headings


def test_an_unfinished_log_and_repeated_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as log:
        log.write(json.dumps({"step": 2500, "images_seen": 1, "loss": 9.0}) + '\n{"step": 2510, "lo')
    log_lines = read_material([run]).runs[0].log
    assert len(log_lines) == 250
    assert log_lines[-1]["loss"] == 9.0


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "damaged"), ("[]", "no result file"), ('{"format": "t2h-result", "version": 3}', "version 3"),
     ('{"format": "t2h-result", "version": 1, "points": 3}', "damaged")],
)  # fmt: skip
def test_bad_results_get_one_line(tmp_path: Path, content: str, message: str, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    (tmp_path / "page.html").write_text("old")
    assert main(["report", str(path), "--out", str(tmp_path / "page.html")]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert (tmp_path / "page.html").read_text() == "old"


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_material([tmp_path / "nothing"])
    with pytest.raises(UserError, match="is no run"):
        read_material([tmp_path])
    with pytest.raises(UserError, match="nothing to report"):
        read_material([])


def test_command_prints_the_path(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", *map(str, runs), "--out", str(tmp_path / "r.html"), "--title", "Mine & yours"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "r.html")
    assert "<h1>Mine &amp; yours</h1>" in (tmp_path / "r.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_numbers_on_axes_are_short() -> None:
    assert [axis_text(n) for n in (0.0, 0.25, 12.0, 1500.0, 320_000.0, 2e6, -0.5)] == [
        "0", "0.25", "12", "1.5k", "320k", "2M", "-0.5",
    ]  # fmt: skip


def test_chart_as_a_file_of_its_own() -> None:
    names, counts = [f'<b>&"{i}' for i in range(5)], [9, 40, 3, 0, 80]
    text = counts_file("mine", names, counts)
    tree = ElementTree.fromstring(text)
    svg = "{http://www.w3.org/2000/svg}"
    assert tree.tag == f"{svg}svg"
    assert tree.find(f"{svg}title").text == "mine: 132 images in 5 classes"  # type: ignore[union-attr]
    described = tree.find(f"{svg}desc").text  # type: ignore[union-attr]
    assert described == "; ".join(f"{names[c]}: {counts[c]}" for c in (4, 1, 0, 2, 3))
    assert "var(" not in text, "it brings its colours"
    groups = [text.split() for mark in tree.iter(f"{svg}text") for text in [mark.text or ""] if "% of images" in text]
    assert [(group[0], group[1]) for group in groups] == [("head:", "61"), ("medium:", "37"), ("tail:", "2")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize("width", [390, 1200])
def test_browser_shows_it_without_errors(runs: list[Path], tmp_path: Path, width: int) -> None:
    write_report(runs, tmp_path / "report.html")
    probe = (
        tmp_path / "probe.html"
    )  # a frame, since a browser's window has a least width; it says how wide the page got
    probe.write_text(
        f'<body style="margin:0"><iframe id="f" src="report.html" width="{width}" height="3000"></iframe><script>'
        "onload = () => { const d = document.getElementById('f').contentDocument;"
        "document.title = 'wide ' + d.documentElement.scrollWidth + ' of ' + d.documentElement.clientWidth; }</script>"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
               "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--allow-file-access-from-files",
               f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr"]  # fmt: skip
    shot = tmp_path / "page.png"
    done = [
        subprocess.run(["chromium", *options, *what, probe.as_uri()], capture_output=True, text=True, timeout=120)
        for what in ([f"--screenshot={shot}", "--window-size=1300,3000"], ["--dump-dom"])
    ]
    assert not any("CONSOLE" in run.stderr for run in done), done[0].stderr
    wide, room = map(int, re.findall(r"wide (\d+) of (\d+)", done[1].stdout)[0])
    assert wide <= room, "the page scrolls sideways"
    from PIL import Image

    colours = Image.open(shot).convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 100
