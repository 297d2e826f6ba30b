"""What a study says: accuracy by arm and group, mean ± standard deviation, and differences to the first arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from t2h.results.statistics import ENOUGH, Difference, Spread, mean_std, paired_difference
from t2h.results.table import as_text as text_of
from t2h.results.table import table


def summarise(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each arm: accuracies of `Study.run` over its seeds, and the paired difference to the first arm."""
    by_arm: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        by_arm.setdefault(run["arm"], {})[run["seed"]] = run["accuracy"]
    first = next(iter(by_arm.values()))
    rows = []
    for arm, by_seed in by_arm.items():
        both = [] if by_seed is first else [seed for seed in by_seed if seed in first]
        accuracy = {}
        for name in runs[0]["accuracy"]:
            spread = asdict(mean_std([found[name] for found in by_seed.values()]))
            pairs = [first[s][name] for s in both], [by_seed[s][name] for s in both]
            accuracy[name] = spread | {"difference": asdict(paired_difference(*pairs)) if both else None}
        images = max(run["images"] for run in runs if run["arm"] == arm)
        rows.append({"arm": arm, "seeds": sorted(by_seed), "images": images, "accuracy": accuracy})
    return rows


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    """Accuracies in per cent, and below them the differences to the first arm."""
    names = list(rows[0]["accuracy"])

    def spread(found: dict[str, Any]) -> str:
        return Spread(found["n"], found["mean"], found["std"]).text(1, scale=100)

    def difference(found: dict[str, Any]) -> str:
        return "" if found["difference"] is None else Difference(**found["difference"]).text(1, scale=100)

    body = [[r["arm"], r["images"], len(r["seeds"]), *(spread(r["accuracy"][n]) for n in names)] for r in rows]
    title = "accuracy on real test images, %: mean ± standard deviation"
    texts = [text_of(table(["arm", "images", "seeds", *names], body, title))]
    if len(rows) > 1:
        changes = [[row["arm"], *(difference(row["accuracy"][name]) for name in names)] for row in rows[1:]]
        title = f"paired difference to {rows[0]['arm']}, points [95 % interval]"
        texts.append(text_of(table(["arm", *names], changes, title)))
    if (fewest := min(len(row["seeds"]) for row in rows)) < ENOUGH:
        texts.append(f"too few seeds for intervals ({fewest}; {ENOUGH} are needed).")
    return "\n\n".join(texts)
