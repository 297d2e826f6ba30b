"""Every figure of one sample set, for the whole set, a group of classes or one class.

A figure is `{"value", "n", "n_reference", "interval"}`; one that cannot be had is `{"value": null, "reason"}`, never zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from t2h.errors import UserError, unknown_name
from t2h.evaluation.reference import Reference
from t2h.features.base import FeatureExtractor
from t2h.features.classifier import ClassifierFeatures
from t2h.features.inception import InceptionFeatures
from t2h.metrics.bootstrap import Interval, bootstrap
from t2h.metrics.fid import FeatureStatistics, feature_statistics, fid_bootstrap, fid_from_features, frechet_distance
from t2h.metrics.kid import kernel_inception_distance

Figure = dict[str, Any]
KINDS = ("fid", "kid", "is", "manifold", "prd", "diversity", "memorisation", "accuracy")
"""What can be asked for; "manifold" is precision, recall, density and coverage."""


@dataclass(frozen=True)
class FigureOptions:
    """Which figures, and the settings that a result records."""

    kinds: tuple[str, ...] = KINDS
    """Figures to compute."""
    ks: tuple[int, ...] = (3, 5)
    """Neighbours for precision, recall, density and coverage."""
    kid_subsets: int = 100
    """Random subsets of KID."""
    kid_subset_size: int = 1000
    """Images in each, or all of the smaller set."""
    is_splits: int = 10
    """Parts of the Inception Score, after a seeded shuffle."""
    resamples: int = 100
    """Bootstrap resamples for intervals; 0 for none. FID gets one where features have at most 256 dimensions."""
    seed: int = 0
    """Of every random choice."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in KINDS:
                raise unknown_name("figure", kind, KINDS)


@dataclass(frozen=True, eq=False)
class Samples:
    """Generated images as a feature network sees them: features (N, D), and labels (N,) unless they have none."""

    features: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"] | None

    def of(self, classes: tuple[int, ...] | None) -> Samples:
        """Those of some classes; None for all."""
        if classes is None or self.labels is None:
            return self
        keep = np.isin(self.labels, classes)
        return Samples(self.features[keep], self.labels[keep])


@dataclass(frozen=True)
class Value:
    """A number and, where one was cheap to have, its interval."""

    value: float
    interval: Interval | None = None


@dataclass
class Judge:
    """Computes figures against one reference, and keeps what does not depend on the samples for the next sample set."""

    reference: Reference
    extractor: FeatureExtractor
    options: FigureOptions = field(default_factory=FigureOptions)
    _kept: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    def figures(self, samples: Samples, classes: tuple[int, ...] | None = None) -> dict[str, Figure]:
        """All figures of these classes (None: of everything), by name."""
        real, fake = self._real(classes), samples.of(classes)
        out: dict[str, Figure] = {}
        for kind in self.options.kinds:
            out |= getattr(self, f"_{kind}")(real, fake, classes)
        return out

    def _real(self, classes: tuple[int, ...] | None) -> Samples | None:
        reference = self.reference
        if reference.features is None:
            return None
        return Samples(reference.features, reference.labels).of(classes)

    def _keep(self, *key: Any, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _fid(self, real: Samples | None, fake: Samples, classes: tuple[int, ...] | None) -> dict[str, Figure]:
        def compute() -> dict[str, Value]:
            if classes is None:
                statistics = feature_statistics(fake.features)
                return {"fid": Value(frechet_distance(self.reference.statistics, statistics), self._fid_interval(real, fake))}
            features = _need(real).features
            interval = self._fid_interval(real, fake) if len(classes) > 1 else None
            return {"fid": Value(fid_from_features(features, fake.features), interval)}

        return measured(("fid",), compute, fake, self._count(real))

    def _fid_interval(self, real: Samples | None, fake: Samples) -> Interval | None:
        if real is None or not self.options.resamples or fake.features.shape[1] > 256:
            return None
        return fid_bootstrap(real.features, fake.features, self.options.resamples, seed=self.options.seed)

    def _kid(self, real: Samples | None, fake: Samples, classes: tuple[int, ...] | None) -> dict[str, Figure]:
        def compute() -> dict[str, Value]:
            o = self.options
            kid = kernel_inception_distance(_need(real).features, fake.features, o.kid_subsets, o.kid_subset_size, o.seed)
            return {"kid": Value(kid.mean)}

        return measured(("kid",), compute, fake, self._count(real))

    def _accuracy(self, real: Samples | None, fake: Samples, classes: tuple[int, ...] | None) -> dict[str, Figure]:
        def compute() -> dict[str, Value]:
            if not isinstance(self.extractor, ClassifierFeatures):
                raise UserError(f"{self.extractor.name} does not know the classes of the reference; use the classifier.")
            if fake.labels is None:
                raise UserError("the samples have no labels.")
            if not len(fake.labels):
                raise UserError("no generated images.")
            scores = self.extractor.logits(fake.features)
            hits = (np.argmax(scores, axis=1) == fake.labels).astype(np.float64)
            return {"accuracy": Value(float(hits.mean()), self._interval(hits))}

        return measured(("accuracy",), compute, fake, 0)

    def _interval(self, per_image: np.ndarray) -> Interval | None:
        if not self.options.resamples:
            return None
        return bootstrap(per_image, lambda x: float(x.mean()), 10 * self.options.resamples, seed=self.options.seed)

    def _count(self, real: Samples | None) -> int:
        return self.reference.statistics.n if real is None else len(real.features)


def _need(real: Samples | None) -> Samples:
    if real is None:
        raise UserError("the reference file holds statistics only, no features; make one with `t2h reference`.")
    return real


def measured(
    names: tuple[str, ...], compute: Callable[[], dict[str, Value]], fake: Samples, n_reference: int
) -> dict[str, Figure]:
    """The figures that `compute` returns, or all of `names` absent, with the reason that it raised."""
    try:
        values = compute()
    except UserError as reason:
        return {name: {"value": None, "reason": str(reason)} for name in names}
    return {
        name: {
            "value": value.value,
            "n": len(fake.features),
            "n_reference": n_reference,
            "interval": [value.interval.low, value.interval.high] if value.interval else None,
        }
        for name, value in values.items()
    }
