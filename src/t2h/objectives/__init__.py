"""The shelf of methods: one paper, one file. `build_objective("t2h", ...)` makes what training minimises."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from t2h.errors import UserError, unknown_name
from t2h.objectives.base import Context, Method, NoiseRegression, Objective
from t2h.objectives.ddpm import DDPM, Noise
from t2h.objectives.t2h import T2H

__all__ = ["MethodOptions", "build_objective"]


@dataclass(frozen=True)
class MethodOptions:
    """The options of every method, each under the method's name."""

    ddpm: DDPM = field(default_factory=DDPM)
    t2h: T2H = field(default_factory=T2H)


METHODS = tuple(f.name for f in fields(MethodOptions))


def build_objective(name: str, options: MethodOptions, context: Context) -> Objective:
    """The objective of a method, or of several joined by "+" ("t2h+cbdm").

    Args:
        name: names of methods, joined by "+". At most one of them may bring a target; without one it is the plain noise.
        options: the options of all methods.
        context: class counts, schedule and null label of the training.

    Raises:
        UserError: for an unknown method, or methods that do not combine.
    """
    names = [part.strip() for part in name.split("+")]
    if len(set(names)) < len(names):
        raise UserError(f"objective {name!r} names a method twice; name each once.")
    parts = {n: _method(n, options).parts(context) for n in names}
    targets = [n for n in names if n != "ddpm" and parts[n].target is not None]
    weights = [n for n in names if parts[n].class_weight is not None]
    for what, who in (("target", targets), ("class weight", weights)):
        if len(who) > 1:
            raise UserError(f"{' and '.join(who)} do not combine: each brings its own {what}; keep one of them.")
    target = parts[targets[0]].target if targets else None
    regularisers = [regulariser for n in names for regulariser in parts[n].regularisers]
    return NoiseRegression(target or Noise(), regularisers, parts[weights[0]].class_weight if weights else None)


def _method(name: str, options: MethodOptions) -> Method:
    if name not in METHODS:
        raise unknown_name("objective", name, METHODS)
    return getattr(options, name)
