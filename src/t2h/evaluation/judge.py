"""Every metric of one sample set, for the whole set, a group of classes or one class.

A metric that cannot be had is absent with its reason, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from t2h.errors import UserError
from t2h.evaluation.reference import Reference
from t2h.features.base import FeatureExtractor
from t2h.features.classifier import ClassifierFeatures
from t2h.metrics.diversity import mean_pairwise_distance
from t2h.metrics.fid import feature_statistics, fid_bootstrap, fid_from_features, frechet_distance
from t2h.metrics.inception_score import inception_score
from t2h.metrics.kid import kernel_inception_distance
from t2h.metrics.memorisation import memorisation_threshold
from t2h.metrics.neighbours import nearest, neighbour_distances
from t2h.metrics.prd import precision_recall_distributions
from t2h.metrics.precision_recall import manifold_metrics
from t2h.results.options import MetricOptions
from t2h.results.point import Metrics, Value
from t2h.results.statistics import proportion_interval

Classes = tuple[int, ...] | None
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class SampleFeatures:
    """Generated images as a feature network sees them: features (N, D), and labels (N,) unless they have none."""

    features: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"] | None
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def of(self, classes: Classes) -> Float[np.ndarray, "m d"]:
        """Features of some classes; None for all."""
        return self.features if classes is None or self.labels is None else self.features[np.isin(self.labels, classes)]

    @property
    def known_labels(self) -> Int[np.ndarray, " n"]:
        """The labels, or the reason for the absence of a metric that needs them."""
        if self.labels is None:
            raise UserError("the samples have no labels.")
        return self.labels


@dataclass(frozen=True, eq=False)
class Judge:
    """Computes metrics against one reference; `memo` keeps what the next sample set needs again."""

    reference: Reference
    extractor: FeatureExtractor
    options: MetricOptions = field(default_factory=MetricOptions)
    memo: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def metrics(self, samples: SampleFeatures, classes: Classes = None) -> Metrics:
        """All metrics of these classes (None: of everything), by key; computed once for the same classes."""

        def compute() -> Metrics:
            found: Metrics = {}
            for name in self.options.metrics:
                try:
                    found |= _COMPUTE[name](self, samples, classes)
                except UserError as reason:
                    found |= {key: Value(None, str(reason)) for key in self.options.keys(name)}
            return found

        return _once(samples.memo, ("metrics", classes and frozenset(classes)), compute)

    def keys(self) -> set[str]:
        """The keys of all metrics that the options ask for."""
        return {key for name in self.options.metrics for key in self.options.keys(name)}

    def real(self, classes: Classes) -> Float[np.ndarray, "m d"]:
        """The reference's features of these classes.

        Raises:
            UserError: if it has none: the text is the reason for an absent metric.
        """
        reference = self.reference
        if reference.features is None:
            raise UserError("the reference file holds statistics only, no features; make one with `t2h reference`.")
        return SampleFeatures(reference.features, reference.labels).of(classes)


def _once(memo: dict[Hashable, Any], key: Hashable, make: Callable[[], T]) -> T:
    """What `make` returned the first time; a `UserError` is remembered as well."""
    if key not in memo:
        try:
            memo[key] = make()
        except UserError as error:
            memo[key] = error
    if isinstance(memo[key], UserError):
        raise memo[key]
    return memo[key]


def _fid(judge: Judge, samples: SampleFeatures, classes: Classes) -> Metrics:
    fake, options, statistics = samples.of(classes), judge.options, judge.reference.statistics
    if classes is None:
        value, n_reference = frechet_distance(statistics, feature_statistics(fake)), statistics.n
    else:
        value, n_reference = fid_from_features(judge.real(classes), fake), len(judge.real(classes))
    interval = None
    cheap = fake.shape[1] <= 256 and options.resamples and judge.reference.features is not None
    if cheap and (classes is None or len(classes) > 1):
        interval = fid_bootstrap(judge.real(classes), fake, options.resamples, seed=options.metric_seed)
    return {"fid": Value(value, n=len(fake), n_reference=n_reference, interval=interval)}


def _kid(judge: Judge, samples: SampleFeatures, classes: Classes) -> Metrics:
    real, fake, o = judge.real(classes), samples.of(classes), judge.options
    kid = kernel_inception_distance(real, fake, o.kid_subsets, o.kid_subset_size, o.metric_seed)
    return {"kid": Value(kid.mean, n=len(fake), n_reference=len(real), std=kid.std)}


def _inception_score(judge: Judge, samples: SampleFeatures, classes: Classes) -> Metrics:
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
    score = inception_score(logits, judge.options.is_splits, judge.options.metric_seed)
    return {"is": Value(score.mean, n=len(logits), std=score.std)}


def _manifold(judge: Judge, samples: SampleFeatures, classes: Classes) -> Metrics:
    real, fake, ks = judge.real(classes), samples.of(classes), judge.options.ks
    own = _once(judge.memo, ("neighbours", classes), lambda: neighbour_distances(real, max(ks)))
    values = manifold_metrics(real, fake, ks, real_distances=own)
    return {name: Value(value, n=len(fake), n_reference=len(real)) for name, value in values.items()}


def _prd(judge: Judge, samples: SampleFeatures, classes: Classes) -> Metrics:
    real, fake, o = judge.real(classes), samples.of(classes), judge.options
    num_classes = max(1, judge.reference.num_classes) if classes is None else len(classes)
    prd = precision_recall_distributions(real, fake, num_classes, o.prd_runs, seed=o.metric_seed)
    return {
        key: Value(value, n=prd.n, n_reference=prd.n) for key, value in {"prd_f8": prd.f8, "prd_f1_8": prd.f1_8}.items()
    }


def _diversity(judge: Judge, samples: SampleFeatures, classes: Classes) -> Metrics:
    """Mean distance of two images of one class; for several classes the mean over those that have two images."""

    def within(c: int) -> tuple[float, float, int, int]:
        real, fake = judge.real((c,)), samples.of((c,))
        real_value = _once(judge.memo, ("diversity", c), lambda: mean_pairwise_distance(real))
        return mean_pairwise_distance(fake), real_value, len(fake), len(real)

    found = np.array(_over_classes("diversity", judge, samples, classes, within))
    (value, real_value), (n, n_real) = found[:, :2].mean(0).tolist(), map(int, found[:, 2:].sum(0))
    return {
        "diversity": Value(value, n=n, n_reference=n_real),
        "diversity_real": Value(real_value, n=n_real, n_reference=n_real),
    }


def _memorisation(judge: Judge, samples: SampleFeatures, classes: Classes) -> Metrics:
    """Share of samples that are as near to a training image of their class as few unseen real images are."""
    known = _once(judge.memo, "seen and unseen", judge.reference.seen_and_unseen)
    if known is None:
        raise UserError(
            "the reference does not say which images the model was trained on (t2h reference --imbalance ...)."
        )

    def copies(c: int) -> tuple[Bool[np.ndarray, " m"], int]:
        seen, rest = (features[labels == c] for features, labels in known)
        quantile = judge.options.quantile
        threshold = _once(judge.memo, ("threshold", c), lambda: memorisation_threshold(seen, rest, quantile))
        return nearest(samples.of((c,)), seen).distance <= threshold, len(seen)

    flags, counts = zip(*_over_classes("memorisation", judge, samples, classes, copies), strict=True)
    return {"memorisation": _share(np.concatenate(flags), n_reference=sum(counts))}


def _accuracy(judge: Judge, samples: SampleFeatures, classes: Classes) -> Metrics:
    extractor = judge.extractor
    if not isinstance(extractor, ClassifierFeatures):
        raise UserError(f"{extractor.name} knows nothing of these classes; use --features classifier.")
    labels = samples.known_labels
    predicted = _once(samples.memo, "predicted", lambda: np.argmax(extractor.logits(samples.features), axis=1))
    hits = predicted == labels
    hits = hits if classes is None else hits[np.isin(labels, classes)]
    if not len(hits):
        raise UserError("no generated images.")
    return {"accuracy": _share(hits)}


def _share(hits: Bool[np.ndarray, " n"], n_reference: int | None = None) -> Value:
    interval = proportion_interval(int(hits.sum()), len(hits))
    return Value(float(hits.mean()), n=len(hits), n_reference=n_reference, interval=interval)


def _over_classes(
    name: str, judge: Judge, samples: SampleFeatures, classes: Classes, compute: Callable[[int], T]
) -> list[T]:
    """The metric of each class that has it, computed once; the reason of the last one without, if none has."""
    if judge.reference.labels is None:
        raise UserError("the reference has no labels.")
    found, reason, _ = [], UserError("there is no class."), samples.known_labels
    for c in range(judge.reference.num_classes) if classes is None else classes:
        try:
            found.append(_once(samples.memo, (name, c), partial(compute, c)))
        except UserError as error:
            reason = error
    if not found:
        raise reason
    return found


_COMPUTE: dict[str, Callable[[Judge, SampleFeatures, Classes], Metrics]] = {
    "fid": _fid,
    "kid": _kid,
    "is": _inception_score,
    "manifold": _manifold,
    "prd": _prd,
    "diversity": _diversity,
    "memorisation": _memorisation,
    "accuracy": _accuracy,
}
