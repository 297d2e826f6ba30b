"""The values at one guidance weight: overall, of groups of classes, and of each class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from t2h.files import finite


@dataclass(frozen=True)
class Value:
    """A measured number, or the reason why there is none.

    Args:
        value: finite, or None.
        reason: why it is None.
        n: samples that it was taken from.
        n_reference: real images.
        interval: 95 %, over the samples.
        std: over subsets or splits.
    """

    value: float | None
    reason: str = ""
    n: int | None = None
    n_reference: int | None = None
    interval: tuple[float, float] | None = None
    std: float | None = None

    @classmethod
    def from_dict(cls, entry: Any) -> Value:
        """From a result file; what is not a finite number counts as absent."""
        value = finite(entry.get("value"))
        if value is None:
            return cls(None, str(entry.get("reason") or "not measured"))
        ends = [end for end in map(finite, entry.get("interval") or ()) if end is not None]
        interval = (ends[0], ends[1]) if len(ends) == 2 else None
        return cls(value, "", _whole(entry, "n"), _whole(entry, "n_reference"), interval, finite(entry.get("std")))


Metrics = dict[str, Value]
"""Values by the key of their metric, such as "fid" or "precision_k5"."""
NOTHING = Value(None, "not measured")


@dataclass(frozen=True)
class Group:
    """The metrics of some classes together."""

    classes: tuple[int, ...]
    metrics: Metrics


@dataclass(frozen=True)
class ClassPoint:
    """The metrics of one class, with its training images; None where their number is not known."""

    label: int
    name: str
    train_count: int | None
    metrics: Metrics

    @classmethod
    def from_dict(cls, row: Any) -> ClassPoint:
        """From a result file."""
        label = int(row["class"])
        return cls(label, str(row.get("name", label)), _whole(row, "train_count"), _read(row))


@dataclass(frozen=True)
class Point:
    """The metrics at one guidance weight.

    Args:
        w: guidance weight, or None where unknown.
        num_images: samples.
        seconds: that drawing them took, or None.
        metrics: of the whole set.
        groups: of groups of classes, by their names: head, medium, tail, ...
        classes: of each class.
        samples_sha256: of stored samples, by which an evaluation that goes on knows them.
    """

    w: float | None
    num_images: int | None = None
    seconds: float | None = None
    metrics: Metrics = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    classes: tuple[ClassPoint, ...] = ()
    samples_sha256: str | None = None

    def get(self, key: str, group: str | None = None) -> Value:
        """The value of a metric, overall or of a group; absent, with a reason, where it was not measured."""
        if group is None:
            return self.metrics.get(key, NOTHING)
        return self.groups[group].metrics.get(key, NOTHING) if group in self.groups else NOTHING

    def to_dict(self) -> dict[str, Any]:
        """As in a result file."""
        return asdict(self, dict_factory=_written)

    @classmethod
    def from_dict(cls, entry: Any) -> Point:
        """From a result file of version 1 or 2."""
        groups, w = entry.get("groups") or {}, finite(entry.get("w"))
        if w is None and entry.get("w") is not None:
            raise ValueError(f"w is {entry['w']!r:.40}")
        return cls(
            w=w,
            num_images=_whole(entry, "num_images"),
            seconds=finite(entry.get("seconds")),
            metrics=_read(entry),
            groups={str(name): Group(tuple(part.get("classes") or ()), _read(part)) for name, part in groups.items()},
            classes=tuple(map(ClassPoint.from_dict, entry.get("classes") or ())),
            samples_sha256=entry.get("samples_sha256"),
        )


@dataclass(frozen=True)
class Choice:
    """The w of each class, chosen among the points, and metrics of images that did not see the choosing.

    Args:
        per: what has a w of its own: "class", or "group" (head, medium and tail).
        ws: among which was chosen.
        w_table: w by class name, chosen on all images: the one to draw with.
        halves: chosen on one half of the images each.
        single_w: the best single w of each half.
        mixture: metrics of each half's table on the other half: the means.
        single: the same of the best single w.
    """

    per: str
    ws: list[float]
    w_table: dict[str, float]
    halves: list[dict[str, float]]
    single_w: list[float]
    mixture: Point
    single: Point

    def to_dict(self) -> dict[str, Any]:
        """As in a result file: with "w_table" beside "choice", where `--w-table FILE` finds it."""
        entry = vars(self) | {"mixture": self.mixture.to_dict(), "single": self.single.to_dict()}
        return {"w_table": entry.pop("w_table"), "choice": entry}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Choice | None:
        """From the content of a result file; None where nothing was chosen."""
        if not (entry := content.get("choice")):
            return None
        points = {key: Point.from_dict(entry[key]) for key in ("mixture", "single")}
        return cls(**entry | points, w_table=content["w_table"])


def in_order_of_w(points: Iterable[Point]) -> tuple[Point, ...]:
    """Points from the smallest w to the largest; one of unknown w last."""
    return tuple(sorted(points, key=lambda point: math.inf if point.w is None else point.w))


def _written(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dataclass as in a result file, where an absent value has its reason alone, and a class is called so."""
    entry = dict(pairs)
    if "value" in entry:
        absent = entry["value"] is None
        return {key: value for key, value in pairs if (key in ("value", "reason") if absent else key != "reason")}
    return {"class": entry.pop("label"), **entry} if "label" in entry else entry


def _whole(entry: Any, key: str) -> int | None:
    """A number of images, or None where the entry has none."""
    value = entry.get(key)
    if value is not None and not (type(value) is int and 0 <= value < 1 << 53):
        raise ValueError(f"{key} is {value!r:.40}")
    return value


def _read(entry: Any) -> Metrics:
    """The metrics of a point, a group or a class; version 1 calls them figures."""
    values = entry.get("metrics", entry.get("figures")) or {}
    return {str(key): Value.from_dict(value) for key, value in values.items()}
