"""The sections of the page that are charts: class counts, curves over w, classes, transfer, training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any, NamedTuple

from t2h.report.axes import Line, axis_text, percent_text
from t2h.report.charts import MANY, Bar, BarRow, bar_chart, line_chart
from t2h.report.drawing import Chart
from t2h.report.material import Material, Run
from t2h.results.metrics import Metric, main_keys, metric_of
from t2h.results.point import NOTHING, Point
from t2h.results.result import PAPER_W, ClassTable, Result

GROUPS = ("head", "medium", "tail")


class Plot(NamedTuple):
    """A chart under its title, with a line about it."""

    title: str
    chart: Chart
    about: str = ""


def counts_chart(table: ClassTable, title: str) -> Chart:
    """Training images of each class, head to tail."""
    rows = []
    for c in table.order:
        hint = f"{table.names[c]}: {table.counts[c]:,} training images ({table.group(c)})"
        bar = Bar(table.group(c), float(table.counts[c]), f"{table.counts[c]:,}", hint)
        rows.append(BarRow(table.names[c], (bar,)))
    return bar_chart(title, rows)


def counts_legend(table: ClassTable) -> list[tuple[str, str]]:
    """(slot, text) of each group: its share of the images."""
    members = {group: [n for c, n in enumerate(table.counts) if table.group(c) == group] for group in GROUPS}
    total = sum(table.counts) or 1
    return [(group, f"{group}: {100 * sum(n) / total:.0f} % of images") for group, n in members.items() if n]


def counts_file(name: str, class_names: Sequence[str], class_counts: Sequence[int]) -> str:
    """The chart of a data set as an SVG file of its own."""
    table = ClassTable(tuple(class_names), tuple(class_counts))
    title = f"{name}: {sum(class_counts):,} images in {len(class_counts)} classes"
    return counts_chart(table, title).file(counts_legend(table))


def counts_view(table: ClassTable) -> dict[str, Any]:
    """The chart, what each group holds, and the numbers that describe the tail."""
    counts, held = table.counts, [n for n in table.counts if n]
    facts = [("classes", f"{len(counts):,}"), ("images", f"{sum(counts):,}")]
    if held:
        facts += [("most frequent class", f"{max(held):,}"), ("rarest class", f"{min(held):,}")]
        facts += [("rarest to most frequent", f"1 : {max(held) / min(held):.3g}")]
    if len(held) < len(counts):
        facts.append(("classes without an image", f"{len(counts) - len(held):,}"))
    chart = counts_chart(table, "Training images of each class, from the most frequent to the rarest")
    return {"chart": chart, "legend": counts_legend(table), "facts": facts}


def main_and_further(plots: dict[str, Plot]) -> dict[str, list[Plot]]:
    """The plots of the main metrics, and those of the others."""
    main = main_keys(plots)
    return {
        "main": [plots[key] for key in main],
        "further": [plot for key, plot in plots.items() if key not in main],
    }


def curves_view(material: Material) -> dict[str, list[Plot]] | None:
    """Each metric over w, for the results that have it at two or more points."""
    keys = dict.fromkeys(key for result in material.results for point in result.points for key in point.metrics)
    plots = {}
    for key in keys:
        metric = metric_of(key)
        lines = [_curve(material, result, key) for result in material.results]
        lines = [line for line in lines if len(line.points) > 1]
        if not lines:
            continue
        w = sorted({x for line in lines for x in line.x})
        chart = line_chart(
            f"{metric.label} over the guidance weight w",
            lines,
            "guidance weight w",
            "{:g}".format,
            _axis(metric),
            w if len(w) <= 9 else None,
            marked_x=PAPER_W,
        )
        plots[key] = Plot(f"{metric.label} {metric.hint}", chart, metric.about)
    return main_and_further(plots) if plots else None


def _curve(material: Material, result: Result, key: str) -> Line:
    values = {point.w: point.get(key) for point in result.points if point.w is not None}
    y, intervals = tuple(v.value for v in values.values()), tuple(v.interval for v in values.values())
    return Line(result.name, material.slot(result.name), tuple(values), y, intervals)


def _axis(metric: Metric) -> Callable[[float], str]:
    return percent_text if metric.percent else axis_text


def classes_view(material: Material, table: ClassTable) -> dict[str, Any] | None:
    """Each metric of single classes, in order of frequency, at the w nearest to 1.5."""
    results = [result for result in material.results if result.table == table]
    points = [(result.name, point) for result in results if (point := result.nearest()) and point.classes]
    keys = dict.fromkeys(key for _, point in points for row in point.classes for key in row.metrics)
    plots = {}
    for key in keys:
        metric = metric_of(key)
        rows = [BarRow(table.names[c], _class_bars(material, table, c, points, metric)) for c in table.order]
        if any(bar.value is not None for row in rows for bar in row.bars):
            title = f"{metric.label} of each class, from the most frequent to the rarest"
            plots[key] = Plot(f"{metric.label} {metric.hint}", bar_chart(title, rows, _axis(metric)), metric.about)
    legend = [(material.slot(name), f"{name} at {at(point.w)}") for name, point in points]
    return {"legend": legend, "wide": len(table.order) > MANY, **main_and_further(plots)} if plots else None


def _class_bars(
    material: Material, table: ClassTable, label: int, points: Sequence[tuple[str, Point]], metric: Metric
) -> tuple[Bar, ...]:
    bars = []
    for name, point in points:
        measured = next((row.metrics for row in point.classes if row.label == label), {})
        value = measured.get(metric.key, NOTHING)
        text = metric.text(value.value)
        hint = text if value.value is not None else f"absent: {value.reason}"
        hint += "" if value.n is None else f", {value.n:,} samples"
        hint = f"{table.names[label]} ({table.counts[label]:,} training images), {name}: {hint}"
        bars.append(Bar(material.slot(name), value.value, text, hint, value.interval))
    return tuple(bars)


def transfer_view(runs: Sequence[Run]) -> list[Plot]:
    """The share of targets taken from another image, by t (Figure 7 of the T2H paper)."""
    return [Plot(run.name, chart) for run in runs if (chart := _transfer(run)) is not None]


def _transfer(run: Run) -> Chart | None:
    parts = [(run.transfer or {}).get(key) or [] for key in ("t_edges", "total", "within_class", "across_class")]
    edges, total, within, across = ([float(n) for n in part] for part in parts)
    if len(edges) < 2 or not len(edges) - 1 == len(total) == len(within) == len(across):
        return None
    middles = tuple((a + b) / 2 for a, b in pairwise(edges))
    lines = [
        Line(
            name,
            slot,
            middles,
            tuple(n / all_ if all_ else None for n, all_ in zip(found, total, strict=True)),
            (),
            False,
        )
        for name, slot, found in (("same class", "within", within), ("another class", "across", across))
    ]
    title = f"Share of transferred targets of {run.name} by timestep"
    return line_chart(title, lines, f"timestep t (0: clean, {edges[-1]:g}: noise)", "{:g}".format, percent_text)


def training_view(material: Material) -> dict[str, Any] | None:
    """Smoothed loss over the images seen, and a row for each run."""
    runs = [run for run in material.runs if len(run.log) > 1]
    if not runs:
        return None
    lines = [_loss(material, run) for run in runs]
    losses = [loss for line in lines for _, loss in line.points]
    low, high = min(losses), max(losses)
    y_range = (max(0.0, low - 0.15 * (high - low)), high + 0.1 * (high - low)) if high > low else None
    chart = line_chart("Training loss over the images seen", lines, "images seen", y_range=y_range)
    about = "smoothed; methods that aim at different targets have different losses, so read each curve by itself"
    rows = []
    for run in runs:
        last, speeds = run.log[-1], [v for line in run.log if (v := line.get("images_per_second"))]
        rows.append(
            {
                "name": run.name,
                "slot": material.slot(run.name),
                "numbers": [last.get("images_seen"), last["step"], median(speeds) if speeds else None],
            }
        )
    return {"plot": Plot("Loss", chart, about if len(runs) > 1 else "smoothed"), "runs": rows}


def _loss(material: Material, run: Run) -> Line:
    """Means over 40 to 120 stretches of the log."""
    size = max(1, -(-len(run.log) // 120), len(run.log) // 40)
    chunks = [run.log[i : i + size] for i in range(0, len(run.log), size)]
    x = tuple(float(chunk[-1].get("images_seen", chunk[-1]["step"])) for chunk in chunks)
    y = tuple(fmean(line["loss"] for line in chunk) for chunk in chunks)
    return Line(run.name, material.slot(run.name), x, y, markers=False)


def at(w: float | None) -> str:
    """The guidance weight as "w = 1.5"; it is not known of all samples."""
    return "unknown w" if w is None else f"w = {w:g}"
