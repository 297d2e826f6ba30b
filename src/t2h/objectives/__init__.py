"""The shelf of methods: one paper, one file. `build_objective("t2h", ...)` makes what training minimises."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from torch import nn

from t2h.errors import UserError, unknown_name
from t2h.objectives.base import Context, Method, NoiseRegression, Objective
from t2h.objectives.cbdm import CBDM
from t2h.objectives.ccua import CCUA
from t2h.objectives.cm import CM
from t2h.objectives.coral import CORAL
from t2h.objectives.ddpm import DDPM, Noise
from t2h.objectives.diffrop import DiffROP
from t2h.objectives.reweighting import Reweighting
from t2h.objectives.stf import STF
from t2h.objectives.t2h import T2H

__all__ = ["MethodOptions", "build_objective"]


@dataclass(frozen=True)
class MethodOptions:
    """The options of every method, each under the method's name."""

    ddpm: DDPM = field(default_factory=DDPM)
    t2h: T2H = field(default_factory=T2H)
    stf: STF = field(default_factory=STF)
    cbdm: CBDM = field(default_factory=CBDM)
    coral: CORAL = field(default_factory=CORAL)
    ccua: CCUA = field(default_factory=CCUA)
    diffrop: DiffROP = field(default_factory=DiffROP)
    cm: CM = field(default_factory=CM)
    reweighting: Reweighting = field(default_factory=Reweighting)


METHODS = tuple(f.name for f in fields(MethodOptions))


def build_objective(
    name: str, options: MethodOptions, context: Context, denoiser: nn.Module | None = None
) -> Objective:
    """The objective of a method, or of several joined by "+" ("t2h+cbdm").

    Args:
        name: names of methods, joined by "+". At most one may bring a target; without one it is the plain noise.
        options: the options of all methods.
        context: class counts, schedule and null label of the training.
        denoiser: the network to train, which the objective is attached to. Left out, whoever trains calls
            `Objective.attach(denoiser)` before making the optimiser.

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
    if {"cbdm", "diffrop"} <= set(names):
        raise UserError("cbdm and diffrop do not combine: one pulls predictions together that the other pushes apart.")
    target = parts[targets[0]].target if targets else None
    regularisers = [regulariser for n in names for regulariser in parts[n].regularisers]
    weight = parts[weights[0]].class_weight if weights else None
    objective = NoiseRegression(target or Noise(), regularisers, weight)
    if denoiser is not None:
        objective.attach(denoiser)
    return objective


def _method(name: str, options: MethodOptions) -> Method:
    if name not in METHODS:
        raise unknown_name("objective", name, METHODS)
    return getattr(options, name)
