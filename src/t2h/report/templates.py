"""Pages and drawings from Jinja2 templates, which escape every text that they are given."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from t2h.results.table import sentence
from t2h.version import __version__


def render(template: str, **view: object) -> str:
    """The template of this path inside the package (``report/page.html.j2``), filled with a view."""
    return _environment().get_template(template).render(version=__version__, **view)


@cache
def _environment() -> Environment:
    loader = PackageLoader("t2h", ".")
    found = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    found.filters |= {"count": _count, "sentence": _sentence}
    return found


def _count(number: float | int | None) -> str:
    """A whole number with thousands apart, or "—"."""
    return "—" if number is None else f"{number:,.0f}"


def _sentence(text: str) -> str:
    return sentence(text[:1].upper() + text[1:])
