"""The factors under which figures were made, and where they differ between results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t2h.report.markup import Html, tag
from t2h.report.sources import Result


def factors(result: Result) -> dict[str, str]:
    """Every factor of a result as flat text: "reference · name" -> "digits"."""
    seen = result.part("run").get("images_seen")
    return _flat({"images_seen": seen, **result.part("protocol")})


def differences(results: Sequence[Result]) -> list[str]:
    """Names of the factors in which the results differ; seeds may differ."""
    tables = [factors(result) for result in results]
    names = dict.fromkeys(name for table in tables for name in table)
    found = [n for n in names if not n.endswith("seed") and len({table.get(n) for table in tables}) > 1]
    sizes = [{(p.w, p.num_images) for p in result.points} for result in results]
    shared = set.intersection(*({w for w, _ in s} for s in sizes)) if sizes else set()
    if any(len({n for s in sizes for at, n in s if at == w}) > 1 for w in shared):
        found.append("number of samples")
    if len({result.table for result in results if result.table}) > 1:
        found.append("training classes")
    return found


def protocol_table(results: Sequence[Result]) -> Html:
    """Factors in rows; one column where all results agree, else one per result, with a mark where they differ."""
    tables = [{"samples per w": _samples(r), **factors(r), "weights": _weights(r)} for r in results]
    names = list(dict.fromkeys(name for table in tables for name in table))
    unlike = {name for name in names if len({table.get(name) for table in tables}) > 1}
    one = len(results) == 1 or not unlike
    head = ["Factor", "Value"] if one else ["Factor", *(result.name for result in results)]
    body = []
    for name in names:
        values = [tables[0].get(name, "—")] if one else [table.get(name, "—") for table in tables]
        mark = tag("span", "differs", class_="badge") if not one and name in unlike and name != "weights" else None
        cells = [tag("td", _abridged(value)) for value in values]
        if not one and name not in unlike:
            cells = [tag("td", _abridged(values[0]), colspan=len(values))]
        body.append(tag("tr", tag("th", name, " ", mark, scope="row"), cells))
    heading = tag("tr", [tag("th", text, scope="col") for text in head])
    return tag("div", tag("table", tag("thead", heading), tag("tbody", body), class_="text"), class_="scroll")


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if not isinstance(value, dict):
        return {name: _text(value)}
    parts = [_flat(v, f"{name} · {_words(k)}" if name else _words(k)) for k, v in value.items()]
    return {key: text for part in parts for key, text in part.items()}


def _words(key: object) -> str:
    return str(key).replace("_", " ")


def _text(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)


def _weights(result: Result) -> str:
    return _text(result.part("run").get("weights_sha256"))


def _samples(result: Result) -> str:
    sizes = [point.num_images for point in result.points]
    return _text(sizes[0]) if len(set(sizes)) == 1 else _text(sizes)


def _abridged(text: str) -> Html:
    """Digests and long lists are cut; a pointer over them shows the whole."""
    if len(text) == 64 and not set(text) - set("0123456789abcdef"):
        return tag("code", text[:12], "…", title=text)
    return tag("span", text[:80], "…", title=text) if len(text) > 90 else tag("span", text)
