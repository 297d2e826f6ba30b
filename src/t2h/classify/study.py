"""What synthetic images are worth: a classifier of the long-tailed data, with and without them, and of balanced data.

Arms: `long-tailed`, the data as they are; `filled`, the same and synthetic images that bring every class to the count
of the most frequent one, or to a smaller one; `balanced`, the whole training set, which is an upper bound; `resampled`,
the long-tailed data with classes drawn equally often, which tells what balance alone is worth. All arms take equally
many steps, and with a seed the same initial weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from t2h.classify.classifier import fit, probabilities
from t2h.classify.config import ClassifierTraining
from t2h.data.batches import Order
from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.evaluation.point import group_classes
from t2h.files import read_object, reading, write_json
from t2h.metrics.accuracy import accuracy
from t2h.results.statistics import ENOUGH, Difference, Spread, difference_by_seed, mean_std
from t2h.results.table import Cell, Table, table


@dataclass(frozen=True, eq=False)
class Arm:
    """What one kind of classifier is trained on."""

    name: str
    images: UInt8[np.ndarray, "n c h w"]
    labels: Int[np.ndarray, " n"]
    synthetic: tuple[int, ...]
    """Synthetic images of each class among them."""
    power: float = 1.0
    """See `t2h.data.batches.Order`."""
    weight: float = 1.0
    """Of a synthetic image in the loss; that of a real one is 1."""

    @property
    def weights(self) -> Float[np.ndarray, " n"]:
        """Of the images in the loss; the synthetic ones are the last."""
        return np.where(np.arange(len(self.labels)) < len(self.labels) - sum(self.synthetic), 1.0, self.weight)


def missing(class_counts: Int[np.ndarray, " k"], fill_to: int | None = None) -> Int[np.ndarray, " k"]:
    """How many images each class lacks of ``fill_to``, by default of as many as the most frequent one has."""
    return np.maximum((class_counts.max() if fill_to is None else fill_to) - class_counts, 0)


def make_arm(name: str, table: ImageTable) -> Arm:
    """An arm of real images, all of ``table``: long-tailed, resampled, or balanced, whose table is the whole set."""
    images, labels = np.asarray(table.images[np.arange(len(table))]), table.labels.astype(np.int64)
    return Arm(name, images, labels, (0,) * table.num_classes, 0.0 if name == "resampled" else 1.0)


def first_rows(table: ImageTable, synthetic: ImageTable, wanted: Int[np.ndarray, " k"]) -> Int[np.ndarray, " m"]:
    """The rows of the first so many synthetic images of each class.

    Raises:
        UserError: if there are too few, or they have another size than ``table``.
    """
    there = synthetic.class_counts
    if (synthetic.channels, *synthetic.image_size) != (table.channels, *table.image_size):
        raise UserError(
            f"the synthetic images are {synthetic.image_size[0]} px with {synthetic.channels} channels, the data "
            f"{table.image_size[0]} px with {table.channels}; give samples of the same size and colours."
        )
    short = [f"{table.class_names[c]} {there[c]} of {wanted[c]}" for c in np.flatnonzero(there < wanted)]
    if short:
        raise UserError(f"too few synthetic images: {', '.join(short[:5])}; draw more (`t2h sample`), or give --run.")
    return np.concatenate([np.flatnonzero(synthetic.labels == c)[:n] for c, n in enumerate(wanted)])


def filled_arm(
    table: ImageTable,
    synthetic: ImageTable,
    fill_to: int | None = None,
    name: str = "filled",
    weight: float = 1.0,
) -> Arm:
    """The long-tailed training data, and the first synthetic images of each class, as many as are `missing`.

    Raises:
        UserError: as `first_rows`.
    """
    real, lacking = make_arm("long-tailed", table), missing(table.class_counts, fill_to)
    rows = first_rows(table, synthetic, lacking)
    images = np.concatenate([real.images, np.asarray(synthetic.images[rows])])
    labels = np.concatenate([real.labels, synthetic.labels[rows]])
    return Arm(name, images, labels, tuple(int(n) for n in lacking), weight=weight)


@dataclass(frozen=True, eq=False)
class Study:
    """Classifiers of several arms and seeds, judged on one test set.

    Args:
        counts: long-tailed training images of each class, for the groups.
        test: real images that no arm is trained on.
        out: the folder of the results, one file for each arm and seed.
    """

    counts: Int[np.ndarray, " k"]
    test: ImageTable
    training: ClassifierTraining
    out: Path
    device: str = "cpu"
    progress: bool = True

    def run(self, arm: Arm, seed: int) -> dict[str, Any]:
        """One classifier: trained and judged, or read back where that was done before.

        Raises:
            UserError: if the folder holds a result of other images or another training.
        """
        file = self.out / arm.name / f"seed{seed}.json"
        made_of: dict[str, Any] = {"training": asdict(self.training), "images_sha256": self._sha256(arm)}
        made_of |= {"synthetic_weight": arm.weight} if arm.weight != 1 else {}
        if file.exists():
            with reading(file, "result of a classifier", "remove it to train this one again"):
                old = read_object(file)
                if {key: old[key] for key in old if key in (*made_of, "synthetic_weight")} != made_of:
                    raise UserError(f"{file} comes from other images or another training; choose another --out.")
                return old
        order, title = Order(arm.labels, seed, arm.power), f"{arm.name}, seed {seed}" if self.progress else None
        network = fit(arm.images, order, len(self.counts), self.training, seed, self.device, title, arm.weights)
        taken_for = probabilities(network, self.test, self.device).argmax(axis=1)
        found = accuracy(taken_for, self.test.labels.astype(np.int64), len(self.counts))
        groups = {
            name: float((found.per_class[list(ids)] * found.counts[list(ids)]).sum() / found.counts[list(ids)].sum())
            for name, ids in group_classes(self.counts).items()
            if found.counts[list(ids)].min() > 0
        }
        result = {
            "arm": arm.name,
            "seed": seed,
            "images": len(arm.labels),
            "synthetic": list(arm.synthetic),
            "accuracy": {"overall": found.overall, **groups},
            "per_class": [None if np.isnan(value) else float(value) for value in found.per_class],
            **made_of,
        }
        write_json(file, result)
        return result

    def _sha256(self, arm: Arm) -> str:
        digest, test = hashlib.sha256(), self.test
        for part in (arm.images, arm.labels, test.images[np.arange(len(test))], test.labels, self.counts):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


def summarise(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each arm: accuracies of `Study.run` over its seeds, and the paired difference to the first arm."""
    first, rows = runs[0]["arm"], []
    for arm in dict.fromkeys(run["arm"] for run in runs):
        own = [run for run in runs if run["arm"] == arm]
        accuracy = {}
        for name in runs[0]["accuracy"]:
            values, base = ({r["seed"]: r["accuracy"][name] for r in runs if r["arm"] == a} for a in (arm, first))
            difference = None if arm == first else difference_by_seed(base, values)
            spread = asdict(mean_std(list(values.values())))
            accuracy[name] = spread | {"difference": difference and asdict(difference)}
        seeds, images = sorted(run["seed"] for run in own), max(run["images"] for run in own)
        rows.append({"arm": arm, "seeds": seeds, "images": images, "accuracy": accuracy})
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """Accuracies in per cent, and the differences to the first arm."""
    names = list(rows[0]["accuracy"])

    def spread(found: dict[str, Any]) -> Cell:
        return Cell(Spread(found["n"], found["mean"], found["std"]).text(1, scale=100), (found["mean"], found["std"]))

    def difference(found: dict[str, Any]) -> Cell:
        if found["difference"] is None:
            return Cell("", (None, None, None))
        known = Difference(**found["difference"])
        return Cell(known.text(1, scale=100), (known.mean, *(known.interval or (None, None))))

    few = min(len(row["seeds"]) for row in rows)
    remarks = [f"too few seeds for intervals ({few}; {ENOUGH} are needed)"] if few < ENOUGH else []
    body = [[r["arm"], r["images"], len(r["seeds"]), *(spread(r["accuracy"][n]) for n in names)] for r in rows]
    head = ["arm", "images", "seeds", *(Cell(name, (name, f"{name} std")) for name in names)]
    tables = [table(head, body, "accuracy on real test images, %: mean ± standard deviation", remarks)]
    if len(rows) > 1:
        changes = [[row["arm"], *(difference(row["accuracy"][name]) for name in names)] for row in rows[1:]]
        head = ["arm", *(Cell(name, (name, f"{name} low", f"{name} high")) for name in names)]
        tables.append(table(head, changes, f"paired difference to {rows[0]['arm']}, points [95 % interval]"))
    return tables
