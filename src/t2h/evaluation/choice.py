"""w per class, or per group of classes, from one drawing of the curve.

Image k of class c has the same noise at every w, so images of even and of odd k are two independent halves. On one half
w is chosen so that the FID of all classes together is lowest: beginning with the best single w, one class at a time
takes the w at which that FID falls most, until it falls no more. The other half judges what was chosen, and the best
single w beside it, which was chosen in the same way; then the halves change places, and the metrics are the means.

Of one half the FID of another mixture is cheap: with z = (1, x - μ) the sum of z zᵀ holds the number, the sum and the
second moments of the images, and those of a mixture are sums over its classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from tqdm import tqdm

from t2h.data.groups import thirds
from t2h.errors import UserError
from t2h.evaluation.judge import Judge, SampleFeatures
from t2h.evaluation.point import group_classes
from t2h.metrics.fid import FeatureStatistics, frechet_distance
from t2h.results.point import Choice, Group, Metrics, Point, Value

Picked = Int[np.ndarray, " k"]
"""For each class, the position in the curve of the w that it takes."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """What was drawn at one w of the curve, and the w that each class has there (`Sampling.weights`)."""

    w: float
    samples: SampleFeatures
    weights: Sequence[float]


def choose(
    curve: Sequence[Candidate],
    judge: Judge,
    class_names: Sequence[str],
    counts: Int[np.ndarray, " k"] | None,
    progress: bool = False,
) -> Choice:
    """The w of each class or group, and what both halves say of choosing so. Its table is chosen on all images.

    Args:
        curve: at least two, with the same labels in the same order.
        judge: whose reference FID is taken to, and whose options say what has a w of its own.
        class_names: of the K classes.
        counts: training images of each class; groups need them.

    Raises:
        UserError: if the labels differ, or a class has fewer than two images.
    """
    from t2h.samples.draw import Wanted

    per, labels = judge.options.w_per or "class", curve[0].samples.known_labels
    if any(not np.array_equal(candidate.samples.known_labels, labels) for candidate in curve):
        raise UserError("--w-per: the samples of one w have other labels than those of another; draw them alike.")
    if np.bincount(labels, minlength=len(class_names)).min() < 2:
        raise UserError("--w-per: each class needs an image in both halves; draw at least --per-class 2.")
    features = [candidate.samples.features for candidate in curve]
    units = [(c,) for c in range(len(class_names))]
    groups = {} if counts is None else group_classes(counts)
    if per == "group":
        assert counts is not None
        units = [tuple(ids.tolist()) for ids in thirds(counts).values() if len(ids)]
    even, quick = Wanted.of_labels(labels).index % 2 == 0, replace(judge, options=replace(judge.options, resamples=0))

    def judged(picked: Picked, rows: Bool[np.ndarray, " n"]) -> Point:
        taken = [rows & (picked[labels] == i) for i in range(len(curve))]
        parts = [x[rows] for x, rows in zip(features, taken, strict=True)]
        samples = SampleFeatures(np.concatenate(parts), np.concatenate([labels[rows] for rows in taken]))
        parts_of = {name: Group(ids, quick.metrics(samples, ids)) for name, ids in groups.items()}
        return Point(None, len(samples.features), metrics=quick.metrics(samples), groups=parts_of)

    def table(picked: Picked) -> dict[str, float]:
        return {name: float(curve[i].weights[c]) for c, (name, i) in enumerate(zip(class_names, picked, strict=True))}

    with tqdm(desc=f"w per {per}", unit=" FIDs", disable=not progress, leave=False) as bar:

        def pick(rows: Bool[np.ndarray, " n"]) -> tuple[Picked, Picked]:
            return lowest_fid(features, labels, rows, units, judge.reference.statistics, bar)

        (one_a, a), (one_b, b), (_, final) = (pick(rows) for rows in (even, ~even, np.ones_like(even)))
    return Choice(
        per=per,
        ws=[candidate.w for candidate in curve],
        w_table=table(final),
        halves=[table(a), table(b)],
        single_w=[curve[one_a[0]].w, curve[one_b[0]].w],
        mixture=_mean(judged(a, ~even), judged(b, even)),
        single=_mean(judged(one_a, ~even), judged(one_b, even)),
    )


def lowest_fid(
    features: Sequence[Float[np.ndarray, "n d"]],
    labels: Int[np.ndarray, " n"],
    rows: Bool[np.ndarray, " n"],
    units: Iterable[tuple[int, ...]],
    reference: FeatureStatistics,
    bar: tqdm | None = None,
) -> tuple[Picked, Picked]:
    """The best single set of features, and the best mixture that changing one unit of classes at a time finds from it.

    Args:
        features: of the same images at each w.
        labels: their classes.
        rows: which of them count.
        units: classes that change together.
        reference: to which FID is taken.
        bar: counts FIDs.
    """

    def sums(i: int, classes: tuple[int, ...]) -> Float[np.ndarray, "_ _"]:
        x = features[i][rows & np.isin(labels, classes)]
        z = np.ones((len(x), 1 + reference.dim))
        np.subtract(x, reference.mean, out=z[:, 1:])
        return z.T @ z

    def fid(total: Float[np.ndarray, "_ _"]) -> float:
        n, mean = total[0, 0], total[0, 1:] / total[0, 0]
        covariance = (total[1:, 1:] - n * np.outer(mean, mean)) / (n - 1)
        if bar is not None:
            bar.update()
        return frechet_distance(reference, FeatureStatistics(int(n), mean + reference.mean, covariance))

    units, every = list(units), tuple(np.unique(labels).tolist())
    totals = [sums(i, every) for i in range(len(features))]
    fids = [fid(total) for total in totals]
    first = int(np.argmin(fids))
    single = np.full(max(every) + 1, first)
    picked, total, best, falls = single.copy(), totals[first], fids[first], True
    while falls:
        falls = False
        for unit in units:
            now = int(picked[unit[0]])
            without = total - sums(now, unit)
            for i in set(range(len(features))) - {now}:
                changed = without + sums(i, unit)
                value = fid(changed)
                if value < best * (1 - 1e-9):  # not for rounding alone
                    picked[list(unit)], total, best, falls = i, changed, value, True
    return single, picked


def _mean(a: Point, b: Point) -> Point:
    """The mean of the metrics that both have."""

    def means(left: Metrics, right: Metrics) -> Metrics:
        found: Metrics = {}
        for key, x in left.items():
            y = right[key]
            if x.value is None or y.value is None:
                found[key] = x if x.value is None else y
            else:
                found[key] = Value((x.value + y.value) / 2, n=x.n, n_reference=x.n_reference)
        return found

    groups = {name: Group(part.classes, means(part.metrics, b.groups[name].metrics)) for name, part in a.groups.items()}
    return replace(a, metrics=means(a.metrics, b.metrics), groups=groups)
