"""The real side of an evaluation: what a reference file holds, how it is made, and other projects' statistics.

A reference is made once from real images and then serves every result that is to be comparable: statistics for FID,
features and labels for everything per class, which rows a model was trained on (for memorisation), and which network
looked at them. `.npz` statistics of pytorch-ddpm, CBDM, EDM and pytorch-fid (`mu`, `sigma`) are read as well; they know
nothing of classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from t2h.data import DataConfig, ImageTable, load_whole, long_tail_rows
from t2h.errors import UserError
from t2h.features.base import FeatureExtractor, extract_cached, shape_text
from t2h.features.cache import state_sha256
from t2h.features.classifier import ClassifierFeatures, classifier_for
from t2h.features.inception import RESIZES
from t2h.features.load import load_extractor
from t2h.metrics.fid import FeatureStatistics, feature_statistics

Labelled = tuple[np.ndarray, np.ndarray]
"""Features (N, D) and labels (N,) of images."""


@dataclass(frozen=True)
class Features:
    """Which network looked at the images: the identity of a `t2h.features.FeatureExtractor`."""

    name: str
    sha256: str
    resize: str
    dim: int

    def __str__(self) -> str:
        return f"{self.name} (weights {self.sha256[:8]}, resize {self.resize}, {self.dim} dimensions)"


@dataclass(frozen=True, eq=False)
class Reference:
    """Real images as a feature network sees them.

    Args:
        name: the data set.
        split: which part of it.
        statistics: mean and covariance of all features; `n` is 0 where a foreign file does not say it.
        sha256: of everything numeric.
        seen_by: the feature network; None where a foreign file does not say it.
        image_shape: (C, H, W) of the images, or None where unknown.
        class_names: the K names; empty where unknown.
        features: float32 (N, D), or None where there are only statistics.
        labels: int64 (N,), or None.
        train_rows: positions of the images that the judged models were trained on, or None.
        held_out: features of real images that no judged model has seen; None takes the rows outside `train_rows`.
        held_out_labels: their labels.
        classifier: the tensors of `ClassifierFeatures`, where that is the network.
    """

    name: str
    split: str
    statistics: FeatureStatistics
    sha256: str
    seen_by: Features | None = None
    image_shape: tuple[int, int, int] | None = None
    class_names: tuple[str, ...] = ()
    features: Float[np.ndarray, "n d"] | None = None
    labels: Int[np.ndarray, " n"] | None = None
    train_rows: Int[np.ndarray, " m"] | None = None
    held_out: Float[np.ndarray, "h d"] | None = None
    held_out_labels: Int[np.ndarray, " h"] | None = None
    classifier: dict[str, np.ndarray] | None = None

    @property
    def num_classes(self) -> int:
        """K, or 0 where the file knows no classes."""
        return len(self.class_names)

    @property
    def class_counts(self) -> list[int] | None:
        """Reference images of each class, or None."""
        return None if self.labels is None else np.bincount(self.labels, minlength=self.num_classes).tolist()

    @property
    def train_counts(self) -> list[int] | None:
        """Training images of each class, as far as `train_rows` tells, or None."""
        if self.labels is None or self.train_rows is None:
            return None
        return np.bincount(self.labels[self.train_rows], minlength=self.num_classes).tolist()

    def seen_and_unseen(self) -> tuple[Labelled, Labelled] | None:
        """Images that the judged models were trained on, and real images that they were not; None where unknown."""
        if self.features is None or self.labels is None or self.train_rows is None:
            return None
        seen = np.isin(np.arange(len(self.labels)), self.train_rows)
        rest = (self.features[~seen], self.labels[~seen])
        if self.held_out is not None and self.held_out_labels is not None:
            rest = (self.held_out, self.held_out_labels)
        return (self.features[seen], self.labels[seen]), rest

    def extractor(self, device: str = "cpu") -> ClassifierFeatures | None:
        """The classifier that came with the reference, if that is its network."""
        return None if self.classifier is None else ClassifierFeatures.from_tensors(self.classifier, device)

    def check(self, extractor: FeatureExtractor, image_shape: tuple[int, ...]) -> None:
        """Raise a `UserError` unless samples of this shape, seen by this network, can be held against the reference."""
        dim = extractor.dim or self.statistics.dim  # 0 where a network has not seen images yet
        network = Features(extractor.name, extractor.sha256, extractor.resize, dim)
        if self.seen_by not in (None, network):
            raise UserError(
                f"the reference was seen by {self.seen_by}, the samples by {network}; use the same features, or make "
                "the reference again."
            )
        if dim != self.statistics.dim:
            raise UserError(
                f"{extractor.name} gives {dim} features, the reference has {self.statistics.dim}; use the same network."
            )
        if self.image_shape not in (None, tuple(image_shape)):
            assert self.image_shape is not None
            raise UserError(
                f"the samples are {shape_text(tuple(image_shape))}, the reference {shape_text(self.image_shape)}; "
                "give samples of the reference's size and colours."
            )


def make_reference(
    table: ImageTable,
    extractor: FeatureExtractor,
    train_rows: Int[np.ndarray, " m"] | None = None,
    held_out: ImageTable | None = None,
    progress: bool = False,
    batch_size: int = 64,
) -> Reference:
    """The reference of these real images; features come from the cache where they are known.

    Args:
        table: the (balanced) real images.
        extractor: the feature network; a `ClassifierFeatures` is stored with the reference.
        train_rows: positions in `table` of the images that the models to be judged are trained on.
        held_out: real images that they are not trained on; None takes the other rows of `table`.

    Raises:
        UserError: if there are fewer than two images, a row is outside the table, or the held-out images are others.
    """
    if train_rows is not None and len(train_rows) and not 0 <= train_rows.min() <= train_rows.max() < len(table):
        raise UserError(f"training rows run up to {train_rows.max()}, but the reference has {len(table)} images.")
    if held_out is not None and held_out.class_names != table.class_names:
        raise UserError(f"the held-out images ({held_out.name}) have other classes than the reference ({table.name}).")
    features = extract_cached(table.images, extractor, batch_size, progress)
    unseen = None if held_out is None else extract_cached(held_out.images, extractor, batch_size, progress)
    reference = Reference(
        name=table.name,
        split=table.split,
        statistics=feature_statistics(features),
        seen_by=Features(extractor.name, extractor.sha256, extractor.resize, features.shape[1]),
        image_shape=(table.channels, *table.image_size),
        class_names=tuple(table.class_names),
        features=features,
        labels=table.labels.astype(np.int64),
        train_rows=None if train_rows is None else np.sort(train_rows).astype(np.int64),
        held_out=unseen,
        held_out_labels=None if held_out is None else held_out.labels.astype(np.int64),
        classifier=extractor.tensors() if isinstance(extractor, ClassifierFeatures) else None,
        sha256="",
    )
    return replace(reference, sha256=state_sha256(tensors_of(reference)))


def reference_of(
    config: DataConfig,
    features: str,
    device: str = "cpu",
    inception_weights: Path | None = None,
    held_out_split: str | None = None,
    progress: bool = False,
    resize: str = RESIZES[0],
    batch_size: int = 64,
) -> Reference:
    """The reference of a whole data set, which remembers the rows that a long tail of it keeps.

    Args:
        config: the data and their long tail.
        features: `classifier` (trained on the images), or what `load_extractor` takes.
        held_out_split: see `make_reference`.

    Raises:
        UserError: for data or features that are not there, and as `make_reference`.
    """
    table = load_whole(config)
    rows = long_tail_rows(table, config)
    extractor: FeatureExtractor
    if features == "classifier":
        extractor = classifier_for(table.images, table.labels, table.num_classes, device=device, progress=progress)
    else:
        extractor = load_extractor(features, device, inception_weights, resize, config.download)
    if held_out_split == config.split:
        raise UserError(f"the held-out split is {held_out_split}, which the reference is made of; give another.")
    held_out = None if held_out_split is None else load_whole(config, held_out_split)
    return make_reference(table, extractor, rows, held_out, progress, batch_size)


ARRAYS = ("features", "labels", "train_rows", "held_out", "held_out_labels")
"""The parts of a reference that are arrays or None."""


def tensors_of(reference: Reference) -> dict[str, np.ndarray]:
    """Everything numeric in a reference, by name: what its file holds and its sha256 covers."""
    tensors = {"mean": reference.statistics.mean, "covariance": reference.statistics.covariance}
    tensors |= {name: getattr(reference, name) for name in ARRAYS if getattr(reference, name) is not None}
    return tensors | {f"classifier.{name}": array for name, array in (reference.classifier or {}).items()}
