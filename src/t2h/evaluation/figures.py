"""Every figure of one sample set, for the whole set, a group of classes or one class.

A figure is `{"value", "n", "n_reference", "interval"}`; one that is absent
is `{"value": null, "reason"}`, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from t2h.errors import UserError
from t2h.evaluation.options import FigureOptions
from t2h.evaluation.reference import Reference
from t2h.features.base import FeatureExtractor
from t2h.features.classifier import ClassifierFeatures
from t2h.metrics.bootstrap import Interval, bootstrap
from t2h.metrics.diversity import mean_pairwise_distance
from t2h.metrics.fid import feature_statistics, fid_bootstrap, fid_from_features, frechet_distance
from t2h.metrics.inception_score import inception_score
from t2h.metrics.kid import kernel_inception_distance
from t2h.metrics.memorisation import memorisation_threshold
from t2h.metrics.neighbours import nearest, neighbour_distances
from t2h.metrics.prd import precision_recall_distributions
from t2h.metrics.precision_recall import manifold_metrics

Figure = dict[str, Any]
Classes = tuple[int, ...] | None
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Samples:
    """Generated images as a feature network sees them: features (N, D), and labels (N,) unless they have none."""

    features: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"] | None
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def of(self, classes: Classes) -> Float[np.ndarray, "m d"]:
        """Features of some classes; None for all."""
        return self.features if classes is None or self.labels is None else self.features[np.isin(self.labels, classes)]


@dataclass(frozen=True)
class Value:
    """A number, how many images it was taken from, and its interval or spread over subsets where there is one."""

    value: float
    n: int
    n_reference: int | None = None
    interval: Interval | None = None
    std: float | None = None


@dataclass(frozen=True, eq=False)
class Judge:
    """Computes figures against one reference, and keeps what does not depend on the samples for the next sample set."""

    reference: Reference
    extractor: FeatureExtractor
    options: FigureOptions = field(default_factory=FigureOptions)
    kept: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def figures(self, samples: Samples, classes: Classes = None) -> dict[str, Figure]:
        """All figures of these classes (None: of everything), by name."""
        out: dict[str, Figure] = {}
        for kind in self.options.figures:
            names, compute = _FIGURES[kind]
            try:
                found = compute(self, samples, classes)
                out |= {name: _as_figure(value) for name, value in found.items()}
            except UserError as reason:
                out |= {name: {"value": None, "reason": str(reason)} for name in self._spelled(names)}
        return out

    def names(self) -> list[str]:
        """The names of all figures that the options ask for."""
        return [name for kind in self.options.figures for name in self._spelled(_FIGURES[kind][0])]

    def _spelled(self, names: tuple[str, ...]) -> list[str]:
        return list(dict.fromkeys(name.format(k=k) for k in self.options.ks for name in names))

    def real(self, classes: Classes) -> Float[np.ndarray, "m d"]:
        """The reference's features of these classes.

        Raises:
            UserError: if it has none: the text is the reason for an absent figure.
        """
        reference = self.reference
        if reference.features is None:
            raise UserError("the reference file holds statistics only, no features; make one with `t2h reference`.")
        return Samples(reference.features, reference.labels).of(classes)


def _as_figure(value: Value) -> Figure:
    interval = None if value.interval is None else [value.interval.low, value.interval.high]
    figure: Figure = {"value": value.value, "n": value.n, "n_reference": value.n_reference, "interval": interval}
    return figure if value.std is None else figure | {"std": value.std}


def _once(kept: dict[Hashable, Any], key: Hashable, make: Callable[[], T]) -> T:
    """What `make` returned the first time; a `UserError` is remembered as well."""
    if key not in kept:
        try:
            kept[key] = make()
        except UserError as error:
            kept[key] = error
    if isinstance(kept[key], UserError):
        raise kept[key]
    return kept[key]


def _fid(judge: Judge, samples: Samples, classes: Classes) -> dict[str, Value]:
    fake, options, statistics = samples.of(classes), judge.options, judge.reference.statistics
    if classes is None:
        value, n_reference = frechet_distance(statistics, feature_statistics(fake)), statistics.n
    else:
        value, n_reference = fid_from_features(judge.real(classes), fake), len(judge.real(classes))
    interval = None
    cheap = fake.shape[1] <= 256 and options.resamples and judge.reference.features is not None
    if cheap and (classes is None or len(classes) > 1):
        interval = fid_bootstrap(judge.real(classes), fake, options.resamples, seed=options.figure_seed)
    return {"fid": Value(value, len(fake), n_reference, interval)}


def _kid(judge: Judge, samples: Samples, classes: Classes) -> dict[str, Value]:
    real, fake, o = judge.real(classes), samples.of(classes), judge.options
    kid = kernel_inception_distance(real, fake, o.kid_subsets, o.kid_subset_size, o.figure_seed)
    return {"kid": Value(kid.mean, len(fake), len(real), std=kid.std)}


def _inception_score(judge: Judge, samples: Samples, classes: Classes) -> dict[str, Value]:
    if classes is not None:
        return {}  # how varied the images are says nothing inside a class
    if isinstance(judge.extractor, ClassifierFeatures):
        raise UserError("the Inception Score is defined with the Inception's own classes; use --features inception.")
    logits = judge.extractor.logits(samples.features)
    if logits is None:
        raise UserError(
            f"these weights of {judge.extractor.name} have no classifier layer; "
            "pytorch-fid's file pt_inception-2015-12-05-6726825d.pth has it."
        )
    score = inception_score(logits, judge.options.is_splits, judge.options.figure_seed)
    return {"is": Value(score.mean, len(logits), std=score.std)}


def _manifold(judge: Judge, samples: Samples, classes: Classes) -> dict[str, Value]:
    real, fake, ks = judge.real(classes), samples.of(classes), judge.options.ks
    own = _once(judge.kept, ("neighbours", classes), lambda: neighbour_distances(real, max(ks)))
    values = manifold_metrics(real, fake, ks, real_distances=own)
    return {name: Value(value, len(fake), len(real)) for name, value in values.items()}


def _prd(judge: Judge, samples: Samples, classes: Classes) -> dict[str, Value]:
    real, fake, o = judge.real(classes), samples.of(classes), judge.options
    num_classes = max(1, judge.reference.num_classes) if classes is None else len(classes)
    prd = precision_recall_distributions(real, fake, num_classes, o.prd_runs, seed=o.figure_seed)
    return {"prd_f8": Value(prd.f8, prd.n, prd.n), "prd_f1_8": Value(prd.f1_8, prd.n, prd.n)}


def _diversity(judge: Judge, samples: Samples, classes: Classes) -> dict[str, Value]:
    """Mean distance of two images of one class; for several classes the mean over those that have two images."""

    def within(c: int) -> tuple[float, float, int, int]:
        real, fake = judge.real((c,)), samples.of((c,))
        real_value = _once(judge.kept, ("diversity", c), lambda: mean_pairwise_distance(real))
        return mean_pairwise_distance(fake), real_value, len(fake), len(real)

    rows = _over_classes(judge, samples, classes, lambda c: _once(samples.kept, ("diversity", c), lambda: within(c)))
    fakes, reals, n, n_real = (np.array(column) for column in zip(*rows, strict=True))
    count, count_real = int(n.sum()), int(n_real.sum())
    return {
        "diversity": Value(float(fakes.mean()), count, count_real),
        "diversity_real": Value(float(reals.mean()), count_real, count_real),
    }


def _memorisation(judge: Judge, samples: Samples, classes: Classes) -> dict[str, Value]:
    """Share of samples that are as near to a training image of their class as few unseen real images are."""
    training, unseen = judge.reference.training(), judge.reference.unseen()
    if training is None or unseen is None:
        raise UserError(
            "the reference does not say which images the model was trained on (t2h reference --imbalance ...)."
        )

    def copies(c: int) -> tuple[Bool[np.ndarray, " m"], int]:
        seen, rest = (features[labels == c] for features, labels in (training, unseen))
        quantile = judge.options.quantile
        threshold = _once(judge.kept, ("threshold", c), lambda: memorisation_threshold(seen, rest, quantile))
        return nearest(samples.of((c,)), seen).distance <= threshold, len(seen)

    rows = _over_classes(judge, samples, classes, lambda c: _once(samples.kept, ("copies", c), lambda: copies(c)))
    flags = np.concatenate([flag for flag, _ in rows]).astype(np.float64)
    seen = sum(count for _, count in rows)
    return {"memorisation": Value(float(flags.mean()), len(flags), seen, _mean_interval(judge, flags))}


def _accuracy(judge: Judge, samples: Samples, classes: Classes) -> dict[str, Value]:
    extractor = judge.extractor
    if not isinstance(extractor, ClassifierFeatures):
        raise UserError(f"{extractor.name} knows nothing of these classes; use --features classifier.")
    labels = _labels(samples)
    predicted = _once(samples.kept, "predicted", lambda: _predicted(extractor, samples.features))
    keep = np.ones(len(labels), dtype=bool) if classes is None else np.isin(labels, classes)
    hits = (predicted == labels)[keep].astype(np.float64)
    if not len(hits):
        raise UserError("no generated images.")
    return {"accuracy": Value(float(hits.mean()), len(hits), None, _mean_interval(judge, hits))}


def _predicted(classifier: ClassifierFeatures, features: np.ndarray) -> Int[np.ndarray, " n"]:
    return np.argmax(classifier.logits(features), axis=1)


def _labels(samples: Samples) -> np.ndarray:
    if samples.labels is None:
        raise UserError("the samples have no labels.")
    return samples.labels


def _over_classes(judge: Judge, samples: Samples, classes: Classes, compute: Callable[[int], T]) -> list[T]:
    """The figure of each class that has one; the reason of the last one without, if none has."""
    _labels(samples)
    if judge.reference.labels is None:
        raise UserError("the reference has no labels.")
    found, reason = [], UserError("there is no class.")
    for c in range(judge.reference.num_classes) if classes is None else classes:
        try:
            found.append(compute(c))
        except UserError as error:
            reason = error
    if not found:
        raise reason
    return found


def _mean_interval(judge: Judge, per_image: np.ndarray) -> Interval | None:
    if not judge.options.resamples:
        return None
    return bootstrap(per_image, lambda x: float(x.mean()), 10 * judge.options.resamples, seed=judge.options.figure_seed)


_FIGURES: dict[str, tuple[tuple[str, ...], Callable[[Judge, Samples, Classes], dict[str, Value]]]] = {
    "fid": (("fid",), _fid),
    "kid": (("kid",), _kid),
    "is": (("is",), _inception_score),
    "manifold": (("precision_k{k}", "recall_k{k}", "density_k{k}", "coverage_k{k}"), _manifold),
    "prd": (("prd_f8", "prd_f1_8"), _prd),
    "diversity": (("diversity", "diversity_real"), _diversity),
    "memorisation": (("memorisation",), _memorisation),
    "accuracy": (("accuracy",), _accuracy),
}
