"""Which synthetic images fill the classes: those that a classifier of the real images finds most like their class.

The idea is DiffuLT's (Shao et al., "DiffuLT: Diffusion for Long-tail Recognition Without External Knowledge", NeurIPS
2024), which generates more than it takes. *Ours*: the classifier is that of the arm `resampled`, for one trained
on long-tailed batches finds the tail unlikely; and a share of each class is taken, so the classes are equally full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from t2h.classify.classifier import fit, probabilities
from t2h.classify.config import ClassifierTraining
from t2h.classify.study import first_rows, make_arm
from t2h.data.batches import Order
from t2h.data.table import ImageTable
from t2h.errors import notice
from t2h.features.base import pixels_sha256
from t2h.features.cache import Tensors, cached


def candidates(lacking: Int[np.ndarray, " k"], keep: float) -> Int[np.ndarray, " k"]:
    """How many images of each class are drawn, so that a share ``keep`` of them is what it lacks."""
    return np.ceil(np.round(lacking / keep, 6)).astype(np.int64)


def best(
    real: ImageTable,
    synthetic: ImageTable,
    lacking: Int[np.ndarray, " k"],
    keep: float,
    training: ClassifierTraining,
    device: str = "cpu",
    title: str | None = None,
) -> tuple[ImageTable, dict[str, Any]]:
    """The share ``keep`` of the first synthetic images of each class to whose label the classifier gives most.

    Returns:
        As many images as the classes lack, in their order; and what was left out, as it is written down.

    Raises:
        UserError: if there are too few synthetic images, or they have another size.
    """
    rows = first_rows(real, synthetic, candidates(lacking, keep))
    drawn = synthetic.select(rows)
    given = class_probabilities(real, drawn, training, device, title)
    own, taken_for = given[np.arange(len(rows)), drawn.labels], given.argmax(axis=1)
    kept: list[int] = []
    for c, n in enumerate(lacking):
        of_class = np.flatnonzero(drawn.labels == c)
        kept += sorted(of_class[np.argsort(-own[of_class], kind="stable")[:n]].tolist())
    chosen = drawn.select(kept)
    out = (drawn.class_counts - chosen.class_counts).tolist()
    wrong = taken_for != drawn.labels
    facts = {"keep": keep, "left_out": out, "out_of_class": {"drawn": int(wrong.sum()), "kept": int(wrong[kept].sum())}}
    _say(synthetic.name, real.class_names, len(drawn), facts)
    return replace(chosen, name=synthetic.name), facts


def class_probabilities(
    real: ImageTable, images: ImageTable, training: ClassifierTraining, device: str, title: str | None
) -> Float[np.ndarray, "n k"]:
    """p(class) of images by a classifier of ``real`` with classes drawn equally often, kept by what they are."""
    arm = make_arm("resampled", real)

    def make() -> Tensors:
        order = Order(arm.labels, 0, arm.power)
        network = fit(arm.images, order, real.num_classes, training, 0, device, title)
        return {"probabilities": probabilities(network, images, device)}

    labels = hashlib.sha256(arm.labels.tobytes()).hexdigest()
    key = "|".join(
        [pixels_sha256(arm.images), labels, pixels_sha256(images.images), str(training), str(real.num_classes)]
    )
    return cached("classified", key, make)["probabilities"]


def _say(name: str, class_names: Sequence[str], drawn: int, facts: dict[str, Any]) -> None:
    left_out, wrong = facts["left_out"], facts["out_of_class"]
    named = [f"{class_names[c]} {n}" for c, n in enumerate(left_out) if n]
    shown = ", ".join(named[:10] + ["..."] * (len(named) > 10))
    notice(
        f"{name}: {sum(left_out)} of {drawn} synthetic images are left out ({shown}); a classifier of the real images "
        f"takes {wrong['drawn']} for another class, and {wrong['kept']} of those kept"
    )
