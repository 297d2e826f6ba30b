"""The w of each class, chosen among the points of a curve, and what choosing so is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from t2h.results.point import Point

Per = Literal["class", "group"]
Table = dict[str, float]
"""w by the name of a class."""


@dataclass(frozen=True)
class Choice:
    """The w of each class, and metrics that did not see the images by which w was chosen.

    Args:
        per: what has a w of its own: each class, or head, medium and tail.
        ws: of the curve, among which was chosen.
        w_table: chosen on all images: the one to draw with.
        halves: chosen on one half of the images each.
        single_w: the best single w of each half.
        mixture: metrics of the halves' tables, each on the other half: the means.
        single: the same of the best single w.
    """

    per: Per
    ws: tuple[float, ...]
    w_table: Table
    halves: tuple[Table, Table]
    single_w: tuple[float, float]
    mixture: Point
    single: Point

    def answers(self, per: Per, ws: Iterable[float | None], keys: Iterable[str]) -> bool:
        """Whether this is the choice that is asked for, with these metrics."""
        return self.per == per and set(self.ws) == set(ws) and set(keys) <= self.mixture.metrics.keys()

    def to_dict(self) -> dict[str, Any]:
        """As in a result file: with "w_table" beside "choice", where `--w-table FILE` finds it."""
        values = {key: value for key, value in vars(self).items() if key != "w_table"}
        points = {key: values[key].to_dict() for key in ("mixture", "single")}
        return {"w_table": self.w_table, "choice": values | points}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Choice | None:
        """From the content of a result file; None where nothing was chosen."""
        if not (entry := content.get("choice")):
            return None
        first, second = entry["halves"]
        return cls(
            per=entry["per"],
            ws=tuple(entry["ws"]),
            w_table=dict(content["w_table"]),
            halves=(dict(first), dict(second)),
            single_w=(entry["single_w"][0], entry["single_w"][1]),
            mixture=Point.from_dict(entry["mixture"]),
            single=Point.from_dict(entry["single"]),
        )
