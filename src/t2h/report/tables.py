"""Figures as tables, and as tiles for the top of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from t2h.report.figures import Figure, count, guidance, is_better, kind_of, main_keys
from t2h.report.markup import Html, tag
from t2h.report.sources import Material, Point
from t2h.report.summary import best_point, leading_figure


@dataclass(frozen=True)
class Row:
    """A row of figures. Only rows of the same ``rival`` are set against each other; "" stands alone."""

    name: str
    slot: str
    what: str
    figures: dict[str, Figure]
    num_images: int | None = None
    rival: str = ""


def figure_rows(material: Material) -> list[Row]:
    """For each result the point nearest to w = 1.5, and then the best of its curve where that is another one."""
    key = leading_figure(material.results)
    rows, best_rows = [], []
    for result in material.results:
        slot, point = material.slot(result.name), result.nearest()
        best = best_point(result, key) if key else None
        if point is not None:
            rows.append(Row(result.name, slot, guidance(point.w), point.figures, point.num_images, guidance(point.w)))
        if best is not None and point is not None and len(result.points) > 1:
            what = f"best {kind_of(key or '').label}, {guidance(best.w)}"
            best_rows.append(Row(result.name, slot, what, best.figures, best.num_images, "best"))
    return rows + best_rows


def curve_rows(material: Material) -> list[Row]:
    """Every point of every result."""
    return [
        Row(r.name, material.slot(r.name), guidance(p.w), p.figures, p.num_images, guidance(p.w))
        for r in material.results
        for p in r.points
    ]


def other_groups(material: Material, known: Sequence[str]) -> list[str]:
    """The groups of classes in the results, but for the known ones."""
    points = [point for result in material.results for point in result.points]
    return [name for name in dict.fromkeys(name for point in points for name in point.groups) if name not in known]


def group_rows(material: Material, groups: Sequence[str]) -> list[Row]:
    """These groups of classes at the point nearest to w = 1.5, results side by side."""
    rows = []
    for group in groups:
        for result in material.results:
            point = result.nearest()
            if point and group in point.groups:
                what = f"{group}, {guidance(point.w)}"
                rows.append(Row(result.name, material.slot(result.name), what, point.groups[group], rival=what))
    return rows


def figure_table(rows: Sequence[Row], second: str, comparable: bool, every: bool = False) -> Html:
    """Rows of figures with their intervals; the best of rivals in bold, unless they are not comparable.

    The main figures that some row has, or every figure, absent ones included.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row.figures))
    if not every:
        there = {key for row in rows for key, entry in row.figures.items() if entry.value is not None}
        keys = [key for key in main_keys(keys) if key in there] or keys
    sizes = any(row.num_images for row in rows)
    head = [tag("th", "Model", scope="col"), tag("th", second, scope="col")]
    head += [tag("th", "Samples", scope="col", class_="num")] if sizes else []
    for kind in map(kind_of, keys):
        head.append(tag("th", f"{kind.label} {kind.arrow}", scope="col", class_="num", title=kind.about or None))
    winners = {key: _winners(rows, key) if comparable else set() for key in keys}
    body, before = [], None
    for i, row in enumerate(rows):
        cells = [tag("th", tag("span", class_=f"swatch {row.slot}", aria_hidden="true"), row.name, scope="row")]
        cells.append(tag("td", row.what))
        cells += [tag("td", count(row.num_images), class_="num")] if sizes else []
        cells += [_cell(key, row.figures.get(key, Figure(None, "not measured")), i in winners[key]) for key in keys]
        body.append(tag("tr", cells, class_="apart" if before not in (None, row.rival) else None))
        before = row.rival
    return tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", body)), class_="scroll")


def tiles(material: Material) -> Html | None:
    """One tile per result: its leading figure, large."""
    key = leading_figure(material.results)
    if key is None or len(material.results) > 6:
        return None
    return tag(
        "ul",
        [_tile(material, result.name, result.nearest(), best_point(result, key), key) for result in material.results],
        class_="tiles",
    )


def _tile(material: Material, name: str, point: Point | None, best: Point | None, key: str) -> Html | None:
    point = point if point and point.figures.get(key, Figure(None)).value is not None else best
    if point is None:
        return None
    kind, figure = kind_of(key), point.figures[key]
    below = f"best {kind.text(best.figures[key].value)} at {guidance(best.w)}" if best and best is not point else None
    if best is point and figure.value is not None:
        below = "the best of its curve"
    return tag(
        "li",
        tag("span", tag("span", class_=f"swatch {material.slot(name)}", aria_hidden="true"), name, class_="who"),
        tag("strong", kind.text(figure.value)),
        tag("span", f"{kind.label} {kind.arrow} at {guidance(point.w)}", class_="what"),
        tag("span", below, class_="what") if below else None,
    )


def _cell(key: str, figure: Figure, best: bool) -> Html:
    kind = kind_of(key)
    if figure.value is None:
        return tag(
            "td",
            tag("span", "—", title=figure.reason, aria_label=f"absent: {figure.reason}", role="note"),
            class_="num",
        )
    interval = None
    if figure.interval:
        ends = " – ".join(kind.text(end) for end in figure.interval)
        interval = tag("small", ends)
    used = f"{count(figure.n)} samples" if figure.n is not None else ""
    used += f" against {count(figure.n_reference)} real images" if figure.n_reference is not None else ""
    return tag("td", tag("b" if best else "span", kind.text(figure.value)), interval, class_="num", title=used or None)


def _winners(rows: Sequence[Row], key: str) -> set[int]:
    kind, winners = kind_of(key), set()
    for rival in {row.rival for row in rows if row.rival}:
        found = [
            (i, v)
            for i, row in enumerate(rows)
            if row.rival == rival and (v := row.figures.get(key, Figure(None)).value) is not None
        ]
        if len(found) > 1 and kind.better:
            best = found[0]
            for other in found[1:]:
                best = other if is_better(kind, other[1], best[1]) else best
            if sum(v == best[1] for _, v in found) == 1:
                winners.add(best[0])
    return winners
