"""Which results are comparable: the one definition, for `compare`, the report, and an evaluation that goes on.

Two results differ in a factor of the protocol where both know it and the values are not the same. What one of them does
not know (samples of other projects say little) is no difference; it deserves a remark.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from t2h.results.result import Result

# Names that the sha256 beside them covers, and the seed of sampling.
_NO_FACTORS = ("reference.name", "reference.split", "reference.num_images", "reference.class_counts", "sampler.seed")
_UNKNOWN: tuple[object, ...] = (None, "", [], ())


def differing_factors(a: Result, b: Result) -> dict[str, tuple[Any, Any]]:
    """The factors in which two results are known to differ, by dotted name: (in a, in b)."""
    left, right = factors(a), factors(b)
    found = {name: (left[name], right[name]) for name in left if name in right and left[name] != right[name]}
    if sizes := _sizes(a, b):
        found["num_images"] = sizes
    return found


def unknown_factors(a: Result, b: Result) -> list[str]:
    """The factors that only one of two results knows; whole groups ("sampler") where it knows nothing of them."""
    left, right = factors(a), factors(b)
    names = []
    for name in left.keys() ^ right.keys():
        lacking = right if name in left else left
        group = name.split(".")[0]
        names.append(name if any(other.startswith(f"{group}.") for other in lacking) else group)
    return sorted(set(names))


def differing(results: Sequence[Result]) -> list[str]:
    """The names of the factors in which any two of the results differ."""
    pairs = itertools.combinations(results, 2)
    return list(dict.fromkeys(name for a, b in pairs for name in differing_factors(a, b)))


def factors(result: Result) -> dict[str, Any]:
    """Every known factor of a result by its dotted name, but for the number of samples."""
    facts = {
        "images_seen": result.run.get("images_seen"),
        "training class counts": result.data.get("class_counts"),
        "class names": result.data.get("class_names"),
        **result.protocol,
    }
    if facts.get("labels") == "none":  # whether the classes are equally frequent cannot be seen
        facts["labels"] = None
    return {name: value for name, value in flat(facts) if value not in _UNKNOWN and name not in _NO_FACTORS}


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries with their dotted names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else key)
    else:
        yield name, list(value) if isinstance(value, tuple) else value


def _sizes(a: Result, b: Result) -> tuple[list[int], list[int]] | None:
    """The numbers of samples of both, where they differ at a w that both have, or, with no such w, anywhere."""
    left, right = ({p.w: p.num_images for p in r.points if p.num_images is not None} for r in (a, b))
    shared = (left.keys() & right.keys()) - {None}
    sizes = sorted(set(left.values())), sorted(set(right.values()))
    differ = any(left[w] != right[w] for w in shared) if shared else left and right and sizes[0] != sizes[1]
    return sizes if differ else None
