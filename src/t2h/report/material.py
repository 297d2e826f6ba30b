"""Reads what the page is made of: result files and run folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from t2h.errors import UserError
from t2h.files import check_kind, finite, json_lines, last_value, read_object, reading
from t2h.results.result import ClassTable, Result, read_result
from t2h.results.transfer import Transfer

Named = TypeVar("Named", Result, "Run")

_RUN_FILES = ("metrics.jsonl", "classes.json", "config.yaml", "results", "samples", "grids", "samples.json")


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder (or a folder of samples) without its results.

    ``log`` holds the numbers of the lines of the training with a loss, in the order of their steps; ``config`` is YAML.
    """

    name: str
    folder: Path
    table: ClassTable | None
    log: tuple[dict[str, float], ...]
    transfer: Transfer | None
    config: str | None


@dataclass(frozen=True, eq=False)
class Material:
    """Everything that one page shows."""

    results: tuple[Result, ...]
    runs: tuple[Run, ...]

    @cached_property
    def names(self) -> list[str]:
        """What is compared, each once, in the order given."""
        return list(dict.fromkeys([result.name for result in self.results] + [run.name for run in self.runs]))

    def slot(self, name: str) -> str:
        """The CSS class that carries the colour of this name, by its position."""
        return f"c{self.names.index(name) % 7}"

    @cached_property
    def tables(self) -> list[ClassTable]:
        """The distinct class tables, usually one."""
        found = [result.table for result in self.results] + [run.table for run in self.runs]
        return [table for table in dict.fromkeys(found) if table]


def read_material(inputs: Sequence[Path]) -> Material:
    """Reads run folders (with the results inside them) and result files, in the order given.

    Raises:
        UserError: for a path that does not exist, a folder that is no run, or a file that is no result.
    """
    results: dict[Path, Result] = {}
    runs: dict[Path, Run] = {}
    for path in inputs:
        if not path.exists():
            raise UserError(f"{path} does not exist; give run folders of `t2h train` or results of `t2h evaluate`.")
        files = sorted(path.glob("results/*.json")) if path.is_dir() else [path]
        found = {file.resolve(): read_result(file) for file in files}
        if path.is_dir():
            name = next((result.name for result in found.values()), path.resolve().name)
            runs[path.resolve()] = read_run(path, name)
        results.update(found)
    if not inputs:
        raise UserError("nothing to report on; give run folders or result files.")
    return Material(
        distinct([*results.values()], _origin, lambda result: str(result.path)),
        distinct([*runs.values()], lambda run: run.folder.resolve().name, lambda run: str(run.folder)),
    )


def distinct(items: list[Named], *labels: Callable[[Named], str]) -> tuple[Named, ...]:
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
    path = (result.path or Path(result.name)).resolve()
    return path.parent.parent.name if path.parent.name == "results" else path.stem


def read_run(folder: Path, name: str, damaged: bool = False) -> Run:
    """A run folder; with ``damaged``, as far as it can be read.

    Raises:
        UserError: if it is none, or (unless ``damaged``) its class table is damaged.
    """
    if not any((folder / file).exists() for file in _RUN_FILES):
        raise UserError(f"{folder} is no run: it has none of {', '.join(_RUN_FILES)}.")
    lines = json_lines(folder / "metrics.jsonl")
    numbers = [{key: number for key in line if (number := finite(line[key])) is not None} for line in lines]
    # a resumed run writes some steps twice: the last one counts
    steps = {line["step"]: line for line in numbers if {"step", "loss"} <= line.keys()}
    classes, config, table = folder / "classes.json", folder / "config.yaml", None
    if classes.exists():
        remedy = "train again, or remove it"
        with suppress(UserError) if damaged else nullcontext(), reading(classes, "class table of a run", remedy):
            table = ClassTable.from_dict(read_object(classes))
    check_kind(config)
    text = config.read_text(encoding="utf-8", errors="replace") if config.exists() else None
    transfer = Transfer.of([last_value(lines, "transfer")])
    return Run(name, folder, table, tuple(steps[step] for step in sorted(steps)), transfer, text)
