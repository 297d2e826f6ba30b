"""The first paragraph: what the figures say, in words, and nothing that they do not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from t2h.report.figures import PAPER_W, Figure, guidance, is_better, kind_of, listing
from t2h.report.protocol import differences
from t2h.report.sources import Material, Point, Result

_LEADING = ("fid", "kid", "accuracy")


@dataclass(frozen=True)
class Summary:
    """Sentences on the figures, and what keeps them from saying more."""

    sentences: tuple[str, ...]
    caveats: tuple[str, ...]


def leading_figure(results: Sequence[Result]) -> str | None:
    """The figure that a page speaks about first: FID where there is one."""
    keys = [key for r in results for p in r.points for key, figure in p.figures.items() if figure.value is not None]
    return next((key for key in _LEADING if key in keys), next((key for key in keys if kind_of(key).better), None))


def best_point(result: Result, key: str) -> Point | None:
    """The point of the curve with the best value of this figure."""
    best: Point | None = None
    for point in result.points:
        value = value_of(point, key)
        if value is not None and (best is None or is_better(kind_of(key), value, value_of(best, key) or 0.0)):
            best = point
    return best


def value_of(point: Point | None, key: str) -> float | None:
    """The value of a figure at a point, None where there is none."""
    return point.figures.get(key, Figure(None)).value if point else None


def common_w(results: Sequence[Result]) -> float | None:
    """The w at which all results have a point and which is nearest to the paper's 1.5."""
    shared = set.intersection(*({p.w for p in r.points if p.w is not None} for r in results)) if results else set()
    return min(shared, key=lambda w: abs(w - PAPER_W), default=None)


def summarize(material: Material) -> Summary:
    """The summary of a page."""
    results = [result for result in material.results if result.points]
    key = leading_figure(results)
    if key is None:
        what = (
            "Nothing has been judged yet: the page shows the training alone."
            if not results
            else "The results hold no figure."
        )
        return Summary((what,), ())
    results = [result for result in results if any(value_of(point, key) is not None for point in result.points)]
    unlike = differences(results)
    if len(results) == 1 or unlike or len({r.name for r in results}) < 2:
        sentences = [_alone(result, key) for result in results]
    else:
        sentences = _comparison(results, key)
    return Summary(tuple(filter(None, sentences)), tuple(_caveats(results, unlike)))


def _alone(result: Result, key: str) -> str:
    kind, best = kind_of(key), best_point(result, key)
    point = result.nearest() if value_of(result.nearest(), key) is not None else best
    if point is None:
        return ""
    at = f"At {guidance(point.w)} " if point.w is not None else ""
    text = f"{at}{result.name} has {kind.label} {kind.text(value_of(point, key))}"
    if best is not None and best is not point:
        text += f"; the best of its curve is {kind.text(value_of(best, key))} at {guidance(best.w)}"
    return f"{text}{_direction(key)}."


def _comparison(results: Sequence[Result], key: str) -> list[str]:
    w = common_w(results)
    sentences = []
    if w is not None and all(value_of(r.at(w), key) is not None for r in results):
        sentences.append(f"{_ranking(results, key, w)} {_elsewhere(results, key, w)}".strip())
    sentences.append(_best(results, key))
    if w is not None:
        sentences.append(_tail(results, key, w))
    return sentences if any(sentences) else [_alone(result, key) for result in results]


def _ranking(results: Sequence[Result], key: str, w: float) -> str:
    kind, ranked = kind_of(key), _ranked(results, key, w)
    if len(ranked) == 2:
        (a, va), (b, vb) = ranked
        text = f"At {guidance(w)} {a.name} has {kind.label} {kind.text(va)} against {b.name}’s {kind.text(vb)}"
        text += _direction(key)
    else:
        values = listing([f"{r.name} {kind.text(v)}" for r, v in ranked])
        text = f"At {guidance(w)}, {kind.label}{_direction(key)}: {values}"
    first, second = (r.at(w).figures[key].interval for r, _ in ranked[:2])  # type: ignore[union-attr]
    if first and second and first[0] <= second[1] and second[0] <= first[1]:
        text += "; the intervals of the first two overlap, so their order is not settled"
    return text + "."


def _elsewhere(results: Sequence[Result], key: str, w: float) -> str:
    """Where along the curve another comes first."""
    kind, winner = kind_of(key), _ranked(results, key, w)[0][0]
    measured = [{p.w for p in r.points if p.w is not None and value_of(p, key) is not None} for r in results]
    shared = sorted(set.intersection(*measured) - {w})
    other = [(v, _ranked(results, key, v)) for v in shared]
    turned = [(v, ranked) for v, ranked in other if ranked[0][0] is not winner and ranked[0][1] != ranked[1][1]]
    if not turned:
        return (
            f"The first stays the same at every w measured ({shared[0]:g} to {max(*shared, w):g})."
            if len(shared) > 1
            else ""
        )
    sentences = []
    for name in dict.fromkeys(ranked[0][0].name for _, ranked in turned):
        own = [(v, ranked) for v, ranked in turned if ranked[0][0].name == name]
        at = f"At w = {listing([f'{v:g}' for v, _ in own])} {name} is"
        if len(results) == 2:
            values = [" against ".join(kind.text(value) for _, value in ranked) for _, ranked in own]
            sentences.append(f"{at} better: {', '.join(values)}.")
        else:
            sentences.append(f"{at} best, with {listing([kind.text(ranked[0][1]) for _, ranked in own])}.")
    return " ".join(sentences)


def _best(results: Sequence[Result], key: str) -> str:
    kind = kind_of(key)
    best = [(r, p, value_of(p, key)) for r in results if len(r.points) > 1 and (p := best_point(r, key))]
    if len(best) < 2:
        return ""
    best.sort(key=lambda item: (item[2] or 0.0) * (1 if kind.better == "lower" else -1))
    return f"Each at its own best w: {listing([f'{r.name} {kind.text(v)} ({guidance(p.w)})' for r, p, v in best])}."


def _tail(results: Sequence[Result], key: str, w: float) -> str:
    points = [(r, r.at(w)) for r in results]
    for group in ("tail", "few"):
        values = [(r, p.groups.get(group, {}).get(key, Figure(None)).value) for r, p in points if p]
        if values and all(v is not None for _, v in values):
            kind = kind_of(key)
            ranked = sorted(values, key=lambda item: (item[1] or 0.0) * (1 if kind.better == "lower" else -1))
            return (
                f"On the {group} classes at {guidance(w)}: {listing([f'{r.name} {kind.text(v)}' for r, v in ranked])}."
            )
    return ""


def _caveats(results: Sequence[Result], unlike: list[str]) -> list[str]:
    caveats = []
    if unlike:
        caveats.append(f"The results differ in {listing(unlike)}, so their figures are not compared here.")
    methods = [result.method for result in results if result.method]
    if methods and len(set(methods)) == len(methods):
        each = "each method" if len(methods) > 1 else "the method"
        caveats.append(f"One training run of {each}: how much a figure varies from seed to seed is not measured.")
    return caveats + list(dict.fromkeys(note for result in results for note in result.notes))


def _ranked(results: Sequence[Result], key: str, w: float) -> list[tuple[Result, float]]:
    sign = 1 if kind_of(key).better == "lower" else -1
    values = [(result, value_of(result.at(w), key)) for result in results]
    return sorted(((r, v) for r, v in values if v is not None), key=lambda item: sign * item[1])


def _direction(key: str) -> str:
    better = kind_of(key).better
    return f" ({better} is better)" if better else ""
