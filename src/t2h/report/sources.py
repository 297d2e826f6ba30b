"""Reads what the page is made of: result files and run folders, as they lie on the disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from t2h.data.groups import head_to_tail, thirds
from t2h.errors import UserError
from t2h.files import json_lines, last_value
from t2h.report.figures import PAPER_W, Figure

Named = TypeVar("Named", "Result", "Run")

_RUN_FILES = ("metrics.jsonl", "classes.json", "config.yaml", "results", "samples", "grids", "samples.json")


_METHODS = ("ddpm", "t2h", "h2t", "cbdm", "coral", "ccua", "cm", "stf")  # names that are written in capitals


def display_name(name: object) -> str:
    """The name as the page writes it: "t2h" becomes "T2H"; other names stay."""
    return str(name).upper() if name in _METHODS else str(name)


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
        """ "head", "medium" or "tail": thirds of the classes in order of frequency, with boundaries i*K//3."""
        return next(name for name, classes in thirds(self.counts).items() if label in classes)

    @staticmethod
    def read(entry: Any) -> ClassTable | None:
        """From ``{"class_names": [...], "class_counts": [...]}``; None where that is missing or does not fit."""
        entry = entry if isinstance(entry, dict) else {}
        names, counts = entry.get("class_names") or (), entry.get("class_counts") or ()
        if not names or len(names) != len(counts):
            return None
        return ClassTable(tuple(map(str, names)), tuple(map(int, counts)))


@dataclass(frozen=True)
class Point:
    """The figures at one guidance weight w: of the whole set, of groups of classes, and of classes."""

    w: float | None
    num_images: int | None
    figures: dict[str, Figure]
    groups: dict[str, dict[str, Figure]] = field(default_factory=dict)
    classes: dict[int, dict[str, Figure]] = field(default_factory=dict)

    @staticmethod
    def read(entry: Any) -> Point:
        """A point of a result file."""
        return Point(
            w=None if entry.get("w") is None else float(entry["w"]),
            num_images=entry.get("num_images"),
            figures=_figures(entry),
            groups={str(name): _figures(group) for name, group in (entry.get("groups") or {}).items()},
            classes={int(row["class"]): _figures(row) for row in entry.get("classes") or []},
        )


@dataclass(frozen=True, eq=False)
class Result:
    """One result file: a model or a set of samples, judged at one or more w."""

    name: str
    path: Path
    content: dict[str, Any]
    points: tuple[Point, ...]
    table: ClassTable | None

    def part(self, key: str) -> dict[str, Any]:
        """The object under ``key``, empty where it is missing."""
        value = self.content.get(key)
        return value if isinstance(value, dict) else {}

    @property
    def notes(self) -> list[str]:
        """Deviations from the protocol, as the evaluation wrote them."""
        return [str(note) for note in self.content.get("notes") or []]

    @property
    def method(self) -> str:
        """The objective's name, or ""."""
        return str(self.part("run").get("method") or "")

    def at(self, w: float) -> Point | None:
        """The point of exactly this w."""
        return next((point for point in self.points if point.w is not None and abs(point.w - w) < 1e-9), None)

    def nearest(self, w: float = PAPER_W) -> Point | None:
        """The point whose w is nearest; one of unknown w comes last."""
        return min(self.points, key=lambda point: math.inf if point.w is None else abs(point.w - w), default=None)


@dataclass(frozen=True, eq=False)
class Run:
    """What a run folder (or a folder of samples) holds apart from its results."""

    name: str
    folder: Path
    table: ClassTable | None
    log: tuple[dict[str, Any], ...]
    transfer: dict[str, Any] | None
    config: str | None


@dataclass(frozen=True, eq=False)
class Material:
    """Everything that one page shows."""

    results: tuple[Result, ...]
    runs: tuple[Run, ...]

    @cached_property
    def names(self) -> list[str]:
        """What is compared, each once, in the order given; its position fixes its colour."""
        return list(dict.fromkeys([result.name for result in self.results] + [run.name for run in self.runs]))

    def slot(self, name: str) -> str:
        """The CSS class that carries the colour of this name."""
        return f"c{self.names.index(name) % 7}"

    @cached_property
    def tables(self) -> list[ClassTable | None]:
        """The distinct class tables, usually one; None stands for what has none."""
        items = [result.table for result in self.results] + [run.table for run in self.runs]
        return sorted(dict.fromkeys(items), key=lambda table: table is None)


def read_material(inputs: Sequence[Path]) -> Material:
    """Reads run folders (with the results inside them) and result files, in the order given.

    Raises:
        UserError: for a path that does not exist, a folder that is no run, or a file that is no result.
    """
    results: dict[Path, Result] = {}
    runs: dict[Path, Run] = {}
    for path in inputs:
        if not path.exists():
            raise UserError(
                f"{path} does not exist; give run folders (of `t2h train`) or result files (of `t2h evaluate`)."
            )
        if path.is_dir():
            found = [_read_result(file) for file in sorted(path.glob("results/*.json"))]
            runs[path.resolve()] = _read_run(path, found[0].name if found else None)
        else:
            found = [_read_result(path)]
        results.update({result.path.resolve(): result for result in found})
    if not inputs:
        raise UserError("nothing to report on; give run folders or result files.")
    return Material(
        _distinct(list(results.values()), _origin, lambda r: r.path.stem, lambda r: f"{_origin(r)}/{r.path.stem}"),
        _distinct(list(runs.values()), lambda r: r.folder.resolve().name, lambda r: str(r.folder)),
    )


def _distinct(items: list[Named], *labels: Callable[[Named], str]) -> tuple[Named, ...]:
    """Items of the same name get a label added: the first that tells them all apart, or else the last."""

    def rename(item: Named) -> Named:
        same = [other for other in items if other.name == item.name]
        if len(same) == 1:
            return item
        label = next((label for label in labels if len(set(map(label, same))) == len(same)), labels[-1])
        return replace(item, name=f"{item.name} ({label(item)})")

    return tuple(map(rename, items))


def _origin(result: Result) -> str:
    """The run that holds this result, or else its file."""
    folder = result.path.resolve().parent
    return folder.parent.name if folder.name == "results" else result.path.stem


def _read_result(path: Path) -> Result:
    content = _json(path)
    if not isinstance(content, dict) or content.get("format") != "t2h-result":
        raise UserError(f'{path} is not a result of `t2h evaluate` (its "format" is not "t2h-result").')
    if content.get("version") not in (1, 2):
        raise UserError(
            f"{path} has version {content.get('version')!r} of the result format; this t2h reads versions 1 and 2."
        )
    try:
        points = tuple(sorted(map(Point.read, content.get("points") or []), key=_w_first))
        table = ClassTable.read(content.get("data"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}: {error}); evaluate again.") from error
    return Result(display_name(content.get("name") or path.stem), path, content, points, table)


def _w_first(point: Point) -> float:
    return math.inf if point.w is None else point.w


def _read_run(folder: Path, name: str | None) -> Run:
    if not any((folder / file).exists() for file in _RUN_FILES):
        raise UserError(f"{folder} is no run: it has none of {', '.join(_RUN_FILES)}.")
    lines = json_lines(folder / "metrics.jsonl")
    steps = {line["step"]: line for line in lines if "loss" in line and isinstance(line.get("step"), int)}
    classes, config = folder / "classes.json", folder / "config.yaml"
    return Run(
        name=name or display_name(folder.resolve().name),
        folder=folder,
        table=ClassTable.read(_json(classes)) if classes.exists() else None,
        log=tuple(steps[step] for step in sorted(steps)),  # a resumed run writes some steps twice: the last one counts
        transfer=last_value(lines, "transfer"),
        config=config.read_text(encoding="utf-8") if config.exists() else None,
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not readable as JSON ({error}).") from error


def _figures(entry: Any) -> dict[str, Figure]:
    return {str(key): Figure.read(value) for key, value in (entry.get("metrics") or entry.get("figures") or {}).items()}
