"""The sections of the page that are charts: class counts, curves over w, classes, transfer, training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

from t2h.report.axes import Line, axis_text, percent_text
from t2h.report.charts import MANY, Bar, BarRow, Chart, bar_chart, line_chart
from t2h.report.material import Material, Run
from t2h.results.metrics import GROUPS, Metric, main_keys, metric_of
from t2h.results.point import NOTHING, Metrics
from t2h.results.result import PAPER_W, ClassTable
from t2h.results.transfer import Transfer

if TYPE_CHECKING:
    from t2h.methods.window import TransferChances


class Plot(NamedTuple):
    """A chart under its title, with a line about it."""

    title: str
    chart: Chart
    about: str = ""


def counts_file(name: str, class_names: Sequence[str], class_counts: Sequence[int]) -> str:
    """The images of each class of a data set, head to tail, as an SVG file of its own."""
    table = ClassTable(tuple(class_names), tuple(class_counts))
    title = f"{name}: {sum(class_counts):,} images in {len(class_counts)} classes"
    return _counts_chart(table, title).file(_counts_legend(table))


def counts_view(table: ClassTable) -> dict[str, Any]:
    """The chart, what each group holds, and the numbers that describe the tail."""
    counts, held = table.counts, [n for n in table.counts if n]
    facts = [("classes", f"{len(counts):,}"), ("images", f"{sum(counts):,}")]
    if held:
        facts += [("most frequent class", f"{max(held):,}"), ("rarest class", f"{min(held):,}")]
        facts += [("rarest to most frequent", f"1 : {max(held) / min(held):.3g}")]
    if len(held) < len(counts):
        facts.append(("classes without an image", f"{len(counts) - len(held):,}"))
    chart = _counts_chart(table, "Training images of each class, from the most frequent to the rarest")
    return {"chart": chart, "legend": _counts_legend(table), "facts": facts}


def _counts_chart(table: ClassTable, title: str) -> Chart:
    rows: list[BarRow] = []
    for c in table.order:
        group, count = table.group(c), table.counts[c]
        hint = f"{table.names[c]}: {count:,} training images ({group})"
        rows.append((table.names[c], [Bar(group, float(count), f"{count:,}", hint)]))
    return bar_chart(title, rows)


def _counts_legend(table: ClassTable) -> list[tuple[str, str]]:
    """(slot, text) of each group: its share of the images."""
    members = {group: [n for c, n in enumerate(table.counts) if table.group(c) == group] for group in GROUPS}
    total = sum(table.counts) or 1
    return [(group, f"{group}: {100 * sum(n) / total:.0f} % of images") for group, n in members.items() if n]


def _by_metric(measured: Iterable[Metrics], chart_of: Callable[[Metric], Chart | None]) -> dict[str, list[Plot]] | None:
    """A plot for each metric that has a chart: the main ones, and the further ones; None if there is none."""
    plots = {}
    for key in dict.fromkeys(key for metrics in measured for key in metrics):
        metric = metric_of(key)
        if (chart := chart_of(metric)) is not None:
            plots[key] = Plot(f"{metric.label} {metric.hint}", chart, metric.about)
    main = main_keys(plots)
    further = [plot for key, plot in plots.items() if key not in main]
    return {"main": [plots[key] for key in main], "further": further} if plots else None


def _number_text(metric: Metric) -> Callable[[float], str]:
    return percent_text if metric.percent else axis_text


def curves_view(material: Material) -> dict[str, list[Plot]] | None:
    """Each metric over w, for the results that have it at two or more points."""

    def chart(metric: Metric) -> Chart | None:
        lines = []
        for result in material.results:
            values = {point.w: point.get(metric.key) for point in result.points if point.w is not None}
            y, intervals = tuple(v.value for v in values.values()), tuple(v.interval for v in values.values())
            lines.append(Line(result.name, material.slot(result.name), tuple(values), y, intervals))
        lines = [line for line in lines if len(line.points) > 1]
        w = sorted({x for line in lines for x in line.x})
        title, label, number = f"{metric.label} over the guidance weight w", "guidance weight w", _number_text(metric)
        w_ticks = w if len(w) <= 9 else None
        return line_chart(title, lines, label, "{:g}".format, number, w_ticks, marked_x=PAPER_W) if lines else None

    return _by_metric((point.metrics for result in material.results for point in result.points), chart)


def classes_view(material: Material, table: ClassTable) -> dict[str, Any] | None:
    """Each metric of single classes, in order of frequency, at the w nearest to 1.5."""
    results = [result for result in material.results if result.table == table]
    points = [(result.name, point) for result in results if (point := result.nearest()) and point.classes]
    measured = [(name, {row.label: row.metrics for row in point.classes}) for name, point in points]

    def chart(metric: Metric) -> Chart | None:
        rows: list[BarRow] = []
        for c in table.order:
            bars = []
            for name, by_class in measured:
                value = by_class.get(c, {}).get(metric.key, NOTHING)
                text = metric.text(value.value)
                hint = text if value.value is not None else f"absent: {value.reason}"
                hint += "" if value.n is None else f", {value.n:,} samples"
                hint = f"{table.names[c]} ({table.counts[c]:,} training images), {name}: {hint}"
                bars.append(Bar(material.slot(name), value.value, text, hint, value.interval))
            rows.append((table.names[c], bars))
        there = any(bar.value is not None for _, bars in rows for bar in bars)
        title = f"{metric.label} of each class, from the most frequent to the rarest"
        return bar_chart(title, rows, _number_text(metric)) if there else None

    plots = _by_metric((metrics for _, by_class in measured for metrics in by_class.values()), chart)
    legend = [(material.slot(name), f"{name} at {at(point.w)}") for name, point in points]
    return {"legend": legend, "wide": len(table.order) > MANY, **plots} if plots else None


def transfer_view(runs: Sequence[Run]) -> list[Plot]:
    """The share of targets taken from another image, by t (Figure 7 of the T2H paper)."""
    return [Plot(run.name, _transfer_chart(run.name, run.transfer)) for run in runs if run.transfer is not None]


def _transfer_chart(name: str, found: Transfer) -> Chart:
    moved = (("same class", "within", found.within), ("another class", "across", found.across))
    lines = [Line(of, slot, found.middles, found.by_t(n), markers=False) for of, slot, n in moved]
    title, x_label = f"Share of transferred targets of {name} by timestep", "timestep t (0: clean, {:g}: noise)"
    return line_chart(title, lines, x_label.format(found.t_edges[-1]), "{:g}".format, percent_text)


def chances_file(name: str, found: Mapping[int, TransferChances]) -> str:
    """The chances of a transfer by t, by the number of references, as an SVG file."""
    lines, legend = [], []
    for i, (n, chances) in enumerate(found.items()):
        for k, sign, chance in (0, "≠", chances.across), (1, "=", chances.within):
            slot = f"c{(2 * i + k) % 7}"
            lines.append(Line(f"{n:,}", slot, chances.t, chance, (), False))
            legend.append((slot, f"{n:,} {sign}"))
    title = f"{name}: chance that T2H aims at another image"
    return line_chart(title, lines, "t (0: clean); ≠ another class, = the same", "{:g}".format, percent_text).file(
        legend
    )


def log_line(run: Run, slot: str, key: str) -> Line:
    """A value of the log over the images seen, as means over 40 to 120 stretches of it."""
    log = [line for line in run.log if key in line]
    size = max(1, -(-len(log) // 120), len(log) // 40)
    chunks = [log[i : i + size] for i in range(0, len(log), size)]
    x = tuple(float(chunk[-1].get("images_seen", chunk[-1]["step"])) for chunk in chunks)
    return Line(run.name, slot, x, tuple(fmean(each[key] for each in chunk) for chunk in chunks), (), False)


def training_view(material: Material) -> dict[str, Any] | None:
    """Smoothed loss over the images seen, and a row for each run."""
    runs = [run for run in material.runs if len(run.log) > 1]
    if not runs:
        return None
    lines, rows = [], []
    for run in runs:
        slot, last = material.slot(run.name), run.log[-1]
        lines.append(log_line(run, slot, "loss"))
        speeds = [speed for each in run.log if (speed := each.get("images_per_second"))]
        numbers = [last.get("images_seen"), last["step"], median(speeds) if speeds else None]
        rows.append({"name": run.name, "slot": slot, "numbers": numbers})
    losses = [loss for line in lines for _, loss in line.points]
    low, high = min(losses), max(losses)
    y_range = (max(0.0, low - 0.15 * (high - low)), high + 0.1 * (high - low)) if high > low else None
    chart = line_chart("Training loss over the images seen", lines, "images seen", y_range=y_range)
    about = "smoothed"
    if len(runs) > 1:
        about += "; methods that aim at different targets have different losses, so read each curve by itself"
    return {"plot": Plot("Loss", chart, about), "runs": rows}


def at(w: float | None) -> str:
    """The guidance weight as "w = 1.5"; it is not known of all samples."""
    return "unknown w" if w is None else f"w = {w:g}"
