"""The sections of the page that are charts: class counts, curves over w, classes, transfer, training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from t2h.report.axes import Line
from t2h.report.charts import MANY, Bar, BarRow, area_chart, bar_chart, legend, line_chart
from t2h.report.figures import PAPER_W, Figure, Kind, count, guidance, kind_of, main_keys, number
from t2h.report.markup import Html, tag
from t2h.report.sources import ClassTable, Material, Result, Run


def figure(title: str, chart: Html, about: str = "") -> Html:
    """A chart under its title."""
    return tag("figure", tag("figcaption", tag("b", title), tag("small", about) if about else None), chart)


def counts_section(table: ClassTable) -> list[Html]:
    """Training images of each class, head to tail."""
    rows = []
    for c in table.order:
        hint = f"{table.names[c]}: {table.counts[c]:,} training images ({table.group(c)})"
        rows.append(
            BarRow(table.names[c], (Bar(table.group(c), float(table.counts[c]), count(table.counts[c]), hint),))
        )
    chart = bar_chart("Training images of each class, from the most frequent to the rarest", rows, count)
    groups = [g for g in ("head", "medium", "tail") if any(table.group(c) == g for c in table.order)]
    sizes = {g: sum(table.counts[c] for c in table.order if table.group(c) == g) for g in groups}
    total = sum(table.counts) or 1
    names = [(g, f"{g}: {100 * sizes[g] / total:.0f} % of the images") for g in groups]
    layout = "columns" if len(table.order) <= MANY else "stack"
    return [tag("div", chart, tag("div", legend(names), _tail_facts(table)), class_=layout)]


def _tail_facts(table: ClassTable) -> Html:
    held = [n for n in table.counts if n]
    facts = [("classes", count(len(table.counts))), ("images", count(sum(table.counts)))]
    if held:
        facts += [("most frequent class", count(max(held))), ("rarest class", count(min(held)))]
        facts += [("rarest to most frequent", f"1 : {max(held) / min(held):.3g}")]
    if len(held) < len(table.counts):
        facts.append(("classes without an image", count(len(table.counts) - len(held))))
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts], class_="facts")


def curve_section(material: Material) -> list[Html]:
    """Each figure over w, for the results that have it at two or more points."""
    keys = dict.fromkeys(key for result in material.results for point in result.points for key in point.figures)
    charts: dict[str, Html] = {}
    for key in keys:
        lines = [line for result in material.results if (line := _curve(material, result, key)) is not None]
        if lines:
            kind = kind_of(key)
            w = sorted({x for line in lines for x in line.x})
            shown = w if len(w) <= 9 else None
            chart = line_chart(
                f"{kind.label} over the guidance weight w",
                lines,
                "guidance weight w",
                "{:g}".format,
                _axis(kind),
                shown,
                mark=PAPER_W,
            )
            charts[key] = figure(f"{kind.label} {kind.arrow}", chart, kind.about)
    return _main_and_further(charts, "columns")


def _main_and_further(charts: dict[str, Html], layout: str) -> list[Html]:
    """The charts of the main figures, and the others behind a click."""
    main = main_keys(charts)
    further = [chart for key, chart in charts.items() if key not in main]
    parts = [tag("div", [charts[key] for key in main], class_=layout)] if main else []
    if further:
        parts.append(tag("details", tag("summary", "Further figures"), tag("div", further, class_=layout)))
    return parts


def _curve(material: Material, result: Result, key: str) -> Line | None:
    points = [(point.w, point) for point in result.points if point.w is not None]
    figures = [point.figures.get(key, Figure(None)) for _, point in points]
    if sum(entry.value is not None for entry in figures) < 2:
        return None
    x, y = tuple(w for w, _ in points), tuple(entry.value for entry in figures)
    return Line(result.name, material.slot(result.name), x, y, tuple(entry.interval for entry in figures))


def _axis(kind: Kind) -> Callable[[float], str]:
    """Percents without decimals on axes and in descriptions."""
    return (lambda y: f"{100 * y:.0f} %") if kind.percent else _plain


def _plain(y: float) -> str:
    return f"{y:g}" if y == round(y, 2) and abs(y) < 1e5 else number(y)


def class_section(material: Material, table: ClassTable) -> list[Html]:
    """Each figure of single classes, in order of frequency, at the w nearest to 1.5."""
    results = [result for result in material.results if result.table == table and result.nearest()]
    points = [(result, point) for result in results if (point := result.nearest()) is not None and point.classes]
    keys = dict.fromkeys(key for _, point in points for figures in point.classes.values() for key in figures)
    charts: dict[str, Html] = {}
    for key in keys:
        kind = kind_of(key)
        rows = [_class_bars(material, table, c, points, key, kind) for c in table.order]
        if any(bar.value is not None for row in rows for bar in row.bars):
            chart = bar_chart(f"{kind.label} of each class, from the most frequent to the rarest", rows, _axis(kind))
            charts[key] = figure(f"{kind.label} {kind.arrow}", chart, kind.about)
    names = [(material.slot(result.name), f"{result.name} at {guidance(point.w)}") for result, point in points]
    return (
        [legend(names), *_main_and_further(charts, "columns" if len(table.order) <= MANY else "stack")]
        if charts
        else []
    )


def _class_bars(material: Material, table: ClassTable, label: int, points: Sequence, key: str, kind: Kind) -> BarRow:
    bars = []
    for result, point in points:
        entry = point.classes.get(label, {}).get(key, Figure(None, "not measured"))
        used = f", {count(entry.n)} samples" if entry.n is not None else ""
        told = kind.text(entry.value) if entry.value is not None else f"absent: {entry.reason}"
        hint = f"{table.names[label]} ({table.counts[label]:,} training images), {result.name}: {told}{used}"
        bars.append(Bar(material.slot(result.name), entry.value, kind.text(entry.value), hint, entry.interval))
    return BarRow(table.names[label], tuple(bars))


def transfer_section(runs: Sequence[Run]) -> list[Html]:
    """The share of targets taken from another image, by t (Figure 7 of the T2H paper)."""
    charts = [(run.name, chart) for run in runs if (chart := _transfer(run)) is not None]
    if not charts:
        return []
    names = [("within", "from the same class"), ("across", "from another class")]
    return [legend(names), tag("div", [figure(name, chart) for name, chart in charts], class_="columns")]


def _transfer(run: Run) -> Html | None:
    parts = [(run.transfer or {}).get(key) or [] for key in ("t_edges", "total", "within_class", "across_class")]
    edges, total, within, across = ([float(n) for n in part] for part in parts)
    if len(edges) < 2 or not len(edges) - 1 == len(total) == len(within) == len(across):
        return None
    middles = tuple((a + b) / 2 for a, b in pairwise(edges))
    layers = [
        Line(name, slot, middles, tuple(n / all_ if all_ else 0.0 for n, all_ in zip(found, total, strict=True)))
        for name, slot, found in (("same class", "within", within), ("another class", "across", across))
    ]
    return area_chart(
        f"Share of transferred targets of {run.name} by timestep", edges, layers, "timestep t (0: clean, 1000: noise)"
    )


def training_section(material: Material, runs: Sequence[Run]) -> list[Html]:
    """Smoothed loss over the images seen, and a table of the runs."""
    trained = [run for run in runs if len(run.log) > 1]
    if not trained:
        return []
    lines = [_loss(material, run) for run in trained]
    losses = [loss for line in lines for _, loss in line.points]
    low, high = min(losses), max(losses)
    wide = (max(0.0, low - 0.15 * (high - low)), high + 0.1 * (high - low)) if high > low else None
    chart = line_chart("Training loss over the images seen", lines, "images seen", _brief, _plain, y_range=wide)
    about = "smoothed; methods that aim at different targets have different losses, so read each curve by itself"
    return [
        tag(
            "div",
            figure("Loss", chart, about if len(lines) > 1 else "smoothed"),
            _run_table(material, trained),
            class_="columns",
        )
    ]


def _loss(material: Material, run: Run) -> Line:
    """Means over at most 120 stretches of the log."""
    log = [line for line in run.log if isinstance(line["loss"], int | float)]
    size = max(1, -(-len(log) // 120), len(log) // 40)
    chunks = [log[i : i + size] for i in range(0, len(log), size)]
    x = tuple(float(chunk[-1].get("images_seen", chunk[-1]["step"])) for chunk in chunks)
    y = tuple(sum(line["loss"] for line in chunk) / len(chunk) for chunk in chunks)
    return Line(run.name, material.slot(run.name), x, y, markers=False)


def _run_table(material: Material, runs: Sequence[Run]) -> Html:
    head = [
        tag("th", text, scope="col", class_="num" if i else None)
        for i, text in enumerate(["Run", "Images seen", "Steps", "Images/s"])
    ]
    body = []
    for run in runs:
        last, speeds = (
            run.log[-1],
            sorted(s for line in run.log if isinstance(s := line.get("images_per_second"), int | float)),
        )
        values = [
            count(last.get("images_seen")),
            count(last["step"]),
            number(speeds[len(speeds) // 2]) if speeds else "—",
        ]
        swatch = tag("span", class_=f"swatch {material.slot(run.name)}", aria_hidden="true")
        body.append(
            tag("tr", tag("th", swatch, run.name, scope="row"), [tag("td", value, class_="num") for value in values])
        )
    return tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", body)), class_="scroll")


def _brief(n: float) -> str:
    """1,500 as 1.5k, 2,000,000 as 2M."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if n >= unit:
            return f"{n / unit:.3g}{name}"
    return f"{n:g}"
