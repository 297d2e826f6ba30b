"""What a study says: accuracy by arm and group, mean ± standard deviation, and differences to the first arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from t2h.metrics.bootstrap import mean_std, paired_bootstrap
from t2h.results.compare import align

ENOUGH = 3
"""Seeds that an interval needs."""


def summarise(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each arm: figures of `Study.run` over its seeds, and the paired difference to the first arm given."""
    by_arm: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        by_arm.setdefault(run["arm"], {})[run["seed"]] = run["accuracy"]
    first = next(iter(by_arm.values()))
    names = list(runs[0]["accuracy"])
    rows = []
    for arm, by_seed in by_arm.items():
        both = [seed for seed in by_seed if seed in first]
        figures = {}
        for name in names:
            values = [found[name] for found in by_seed.values()]
            figures[name] = asdict(mean_std(values)) | {"difference": None}
            if by_seed is not first and both:
                paired = paired_bootstrap([first[s][name] for s in both], [by_seed[s][name] for s in both])
                interval = [paired.interval.low, paired.interval.high] if paired.n >= ENOUGH else None
                figures[name]["difference"] = {"n": paired.n, "mean": paired.mean, "interval": interval}
        images = {run["images"] for run in runs if run["arm"] == arm}
        rows.append({"arm": arm, "seeds": sorted(by_seed), "images": max(images), "figures": figures})
    return rows


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """Accuracies in per cent, and below them the differences to the first arm."""
    names = list(rows[0]["figures"])
    grid = [["arm", "images", "seeds", *names]]
    for row in rows:
        cells = [_spread(row["figures"][name]) for name in names]
        grid.append([row["arm"], f"{row['images']:,}", str(len(row["seeds"])), *cells])
    lines = ["accuracy on real test images, %: mean ± standard deviation", "", *align(grid)]
    if len(rows) > 1:
        changes = [[row["arm"], *(_difference(row["figures"][name]) for name in names)] for row in rows[1:]]
        title = f"paired difference to {rows[0]['arm']}, points [95 % interval]"
        lines += ["", title, "", *align([["arm", *names], *changes])]
    if (fewest := min(len(row["seeds"]) for row in rows)) < ENOUGH:
        lines += ["", f"too few seeds for intervals ({fewest}; {ENOUGH} are needed)."]
    return "\n".join(lines)


def _spread(figure: dict[str, Any]) -> str:
    std = "" if figure["std"] is None else f" ± {100 * figure['std']:.1f}"
    return f"{100 * figure['mean']:.1f}{std}"


def _difference(figure: dict[str, Any]) -> str:
    difference = figure["difference"]
    if difference is None:
        return ""
    interval = difference["interval"]
    text = "" if interval is None else f" [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"
    return f"{100 * difference['mean']:+.1f}{text}"
