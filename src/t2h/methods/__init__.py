"""The shelf of methods: one paper, one file. `build_objective("t2h", ...)` makes what training minimises."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from torch import nn

from t2h.errors import UserError, unknown_name
from t2h.methods.base import Context, Method
from t2h.methods.cbdm import CBDM
from t2h.methods.ccua import CCUA
from t2h.methods.cm import CM
from t2h.methods.coral import CORAL
from t2h.methods.ddpm import DDPM
from t2h.methods.diffrop import DiffROP
from t2h.methods.external import make_methods
from t2h.methods.objective import Objective
from t2h.methods.reweighting import Reweighting
from t2h.methods.stf import STF
from t2h.methods.t2h import T2H
from t2h.process import NoiseSchedule, Process

__all__ = ["METHODS", "MethodOptions", "build_objective", "describe"]


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
    method_option: tuple[str, ...] = ()
    """Options of a method from outside the package, each as name=value."""


METHODS = tuple(f.name for f in fields(MethodOptions) if f.name != "method_option")


def build_objective(
    name: str, options: MethodOptions, context: Context, denoiser: nn.Module | None = None
) -> Objective:
    """The objective of a method, or of several joined by "+" ("t2h+cbdm").

    Args:
        name: names of methods, joined by "+": of this package, `module:Class` or `file.py:Class`. At most one may bring
            an aim, and one a class weight.
        options: the options of all methods.
        context: class counts, process and null label of the training.
        denoiser: the network to train, which the objective is attached to. Left out, whoever trains calls
            `Objective.attach(denoiser)` before making the optimiser.

    Raises:
        UserError: for an unknown method, or methods that do not combine.
    """
    methods = _methods(name, options)
    aims = {n: aim for n, method in methods.items() if (aim := method.aim(context)) is not None}
    weights = {n: w for n, method in methods.items() if (w := method.class_weight(context)) is not None}
    for what, brought in (("aim", aims), ("class weight", weights)):
        if len(brought) > 1:
            raise UserError(f"{' and '.join(brought)} do not combine: each brings its own {what}; keep one of them.")
    if {"cbdm", "diffrop"} <= set(methods):
        raise UserError("cbdm and diffrop do not combine: one pulls outputs together that the other pushes apart.")
    terms = [term for method in methods.values() if (term := method.term(context)) is not None]
    names = [term.name for term in terms]
    if len({*names, "mse", "loss"}) < len(names) + 2:
        raise UserError(f"the terms {', '.join(names)} of {name!r} need names that differ, also from mse and loss.")
    aim, weight = next(iter(aims.values()), None), next(iter(weights.values()), None)
    objective = Objective(context.process, aim, terms, weight)
    if denoiser is not None:
        objective.attach(denoiser)
    return objective


def describe(name: str, options: MethodOptions | None = None, process: Process | None = None) -> Objective:
    """The objective of this name for a nominal training: what it costs, before data are read, and whether it combines.

    Windows of time are checked by the T of ``process``, by default DDPM's.

    Raises:
        UserError: as `build_objective`.
    """
    nominal = Context(torch.tensor([2, 1]), process or NoiseSchedule(), null_label=2)
    return build_objective(name, options or MethodOptions(), nominal)


def _methods(name: str, options: MethodOptions) -> dict[str, Method]:
    """The methods of an objective by name, in the order given."""
    names = [part.strip() for part in name.split("+")]
    if len(set(names)) < len(names):
        raise UserError(f"objective {name!r} names a method twice; name each once.")
    for n in names:
        if n not in METHODS and ":" not in n:
            raise unknown_name("objective", n, (*METHODS, "module:Class", "file.py:Class"))
    outside = make_methods([n for n in names if n not in METHODS], options.method_option)
    return {n: outside[n] if n in outside else getattr(options, n) for n in names}
