"""The result: points over guidance weights with the whole protocol, and its file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from t2h.data.groups import head_to_tail, thirds
from t2h.errors import UserError
from t2h.files import read_object, reading, write_json
from t2h.results.metrics import metric_of
from t2h.results.point import Choice, Point, in_order_of_w
from t2h.sampling import Sampling

PAPER_W = Sampling().w
"""The guidance weight at which the T2H paper reports."""
FORMAT, VERSION = "t2h-result", 2


@dataclass(frozen=True)
class ClassTable:
    """The classes of the training images, in the order of their labels."""

    names: tuple[str, ...]
    counts: tuple[int, ...]

    @cached_property
    def order(self) -> list[int]:
        """Class indices from the most frequent to the rarest; equal counts keep the order of the labels."""
        return head_to_tail(self.counts).tolist()

    def group(self, label: int) -> str:
        """ "head", "medium" or "tail"."""
        return next(name for name, classes in thirds(self.counts).items() if label in classes)

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> ClassTable | None:
        """From ``{"class_names": [...], "class_counts": [...]}``; None where one is missing or they do not fit."""
        names, counts = entry.get("class_names") or (), entry.get("class_counts") or ()
        if not names or len(names) != len(counts):
            return None
        if wrong := [count for count in counts if type(count) is not int or count < 0]:
            raise ValueError(f"class_counts has {wrong[0]!r:.40}")
        return cls(tuple(map(str, names)), tuple(map(int, counts)))


@dataclass(frozen=True, eq=False)
class Result:
    """One model or set of samples, evaluated at one or more guidance weights.

    Args:
        name: what it is called in tables.
        points: in the order of w; one of unknown w last.
        data: {"name", "class_names", "class_counts"} of the training data.
        run: {"method", "images_seen", "weights_sha256", "config", "seed"} of the network, "guide_sha256" of its guide.
        protocol: every factor that comparable results share.
        notes: deviations from the default protocol.
        images: by w, samples of the rarest classes beside their nearest training images.
        created: when.
        package: by which version of this package.
        path: the file that it was read from.
        choice: the w of each class, where it was chosen.
    """

    name: str
    points: tuple[Point, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    images: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    created: str = ""
    package: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    choice: Choice | None = None

    @cached_property
    def table(self) -> ClassTable | None:
        """The classes and their training images, where both are known."""
        return ClassTable.from_dict(self.data)

    @property
    def method(self) -> str:
        """The training objective, or ""."""
        return str(self.run.get("method") or "")

    def at(self, w: float) -> Point | None:
        """The point of exactly this w."""
        return next((point for point in self.points if point.w is not None and abs(point.w - w) < 1e-9), None)

    def nearest(self, w: float = PAPER_W) -> Point | None:
        """The point whose w is nearest; one of unknown w comes last."""
        return min(self.points, key=lambda point: math.inf if point.w is None else abs(point.w - w), default=None)

    def best(self, key: str = "fid") -> Point | None:
        """The point with the best value of this metric, the first of equals; None for a metric that ranks nothing."""
        metric, best = metric_of(key), None
        for point in self.points:
            value = point.get(key).value
            if metric.direction and value is not None:
                held = None if best is None else best.get(key).value
                best = point if held is None or metric.is_better(value, held) else best
        return best

    def to_dict(self) -> dict[str, Any]:
        """The content of a result file."""
        fields = {key: getattr(self, key) for key in ("name", "created", "package", "run", "data", "protocol")}
        points = [point.to_dict() for point in self.points]
        written = {"format": FORMAT, "version": VERSION, **fields, "notes": list(self.notes)}
        chosen = {} if self.choice is None else self.choice.to_dict()
        return written | chosen | {"points": points, "images": self.images}

    @classmethod
    def from_dict(cls, content: Any, path: Path | None = None) -> Result:
        """From the content of a result file of version 1 or 2."""
        protocol = dict(content.get("protocol") or {})
        if sampler := protocol.get("sampler"):  # what older versions did not write down
            protocol["sampler"] = {"mixed_precision": "no", "eta": 0.0, "guidance": "w"} | sampler
        return cls(
            name=str(content.get("name") or (path.stem if path else "")),
            points=in_order_of_w(map(Point.from_dict, content.get("points") or ())),
            protocol=protocol,
            notes=tuple(map(str, content.get("notes") or ())),
            choice=Choice.from_dict(content),
            created=str(content.get("created") or ""),
            path=path,
            **{key: dict(content.get(key) or {}) for key in ("data", "run", "images", "package")},
        )


def write_result(result: Result, path: Path) -> None:
    """Write a result file, whole or not at all."""
    write_json(path, result.to_dict())


def read_result(path: Path) -> Result:
    """A result file of version 1 or 2.

    Raises:
        UserError: if it is missing, damaged, or no result of ours.
    """
    if not path.is_file():
        raise UserError(f"there is no result file {path}; make one with `t2h evaluate`.")
    with reading(path, "result file of `t2h evaluate`", "evaluate again"):
        content = read_object(path)
        if content.get("format") != FORMAT:
            raise UserError(f"{path} is no result file of `t2h evaluate`.")
        if content.get("version") not in (1, VERSION):
            raise UserError(
                f"{path} has version {content.get('version')!r}; this t2h reads 1 and {VERSION}. Update t2h."
            )
        result = Result.from_dict(content, path)
        _ = result.table  # checks itself
        return result
