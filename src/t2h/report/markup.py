"""HTML and SVG by function calls. What is not `Html` already is escaped, so a class called `<script>` is only text."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import final

_VOID = frozenset({"br", "img", "link", "meta"})


@final
class Html(str):
    """Text that is markup already; made by `tag` and `join` only."""

    __slots__ = ()


def join(children: Iterable[object]) -> Html:
    """The children one after another: markup as it is, lists flattened, None left out, everything else escaped."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Html):
            parts.append(child)
        elif isinstance(child, list | tuple):
            parts.append(join(child))
        else:
            parts.append(escape(str(child)))
    return Html("".join(parts))


def tag(element: str, *children: object, **attributes: object) -> Html:
    """``<element attributes>children</element>``.

    ``class_`` stands for ``class`` and an underscore for a hyphen; attributes that are None are left out, True gives a
    bare one, and floats are rounded to hundredths (of a pixel).
    """
    opening = element + "".join(_attribute(name, value) for name, value in attributes.items())
    return Html(f"<{opening}>" if element in _VOID else f"<{opening}>{join(children)}</{element}>")


def _attribute(name: str, value: object) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is None:
        return ""
    if value is True:
        return f" {name}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {name}="{escape(str(value))}"'
