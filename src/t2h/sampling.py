"""How images are drawn: one set of values, which a run carries with it and every verb begins from.

`w` is the guidance weight of ε_c + w (ε_c - ε_∅); diffusers' `guidance_scale` is 1 + w, so no guidance is w = 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from t2h.device import Precision
from t2h.errors import UserError, check_finite, check_numbers, unknown_name
from t2h.files import read_object, reading
from t2h.randomness import check_seed
from t2h.typed import typed

ALWAYS = (0.0, 1.0)
"""The interval of t/T that is all of it."""


def _about(text: str) -> Any:
    return tyro.conf.arg(help=text, help_behavior_hint="(default: the run's own)")


def read_table(words: Sequence[str]) -> dict[str, float]:
    """w by class, from "NAME=W" and from JSON files that hold it as "w_table"; a later word counts.

    Raises:
        UserError: for a word that is neither.
    """
    table: dict[str, float] = {}
    for word in words:
        name, equals, w = word.rpartition("=")
        if word.lower().endswith(".json"):
            with reading(Path(word), "JSON file that holds a w_table", "give NAME=W, or such a file"):
                table |= typed(dict[str, float], read_object(Path(word))["w_table"], "w_table")
        elif equals:
            table[name] = typed(float, w, f"w_table.{name}")
        else:
            raise UserError(f"{word!r} is neither NAME=W nor a JSON file that holds a w_table.")
    return table


_TABLE: PrimitiveConstructorSpec[Any] = PrimitiveConstructorSpec(
    nargs="*",
    metavar="NAME=W|FILE",
    instance_from_str=read_table,
    is_instance=lambda value: value is None or isinstance(value, dict),
    str_from_instance=lambda table: [f"{name}={w:g}" for name, w in (table or {}).items()],
)


@dataclass(frozen=True)
class Sampling:
    """How images are drawn: all but the network that decides what image k of class c looks like.

    The defaults are the papers' sampler, DDIM with 100 steps at w = 1.5.

    Raises:
        UserError: for a value that is out of range.
    """

    w: Annotated[float, _about("Guidance weight. diffusers' guidance_scale is 1 + w: no guidance is w = 0.")] = 1.5
    w_power: Annotated[
        float, _about("p of w (n̄/n)^p, the w of a class with n training images; n̄ is their mean. 0: one w for all.")
    ] = 0.0
    w_table: Annotated[
        dict[str, float],
        _about("w of these classes, whatever --w: NAME=W ..., or a result of `t2h evaluate --w-per class`."),
        _TABLE,
    ] = field(default_factory=dict, hash=False)
    w_interval: Annotated[
        tuple[float, float], _about("Guide where t/T lies in this interval only; elsewhere w is 0, in half the time.")
    ] = ALWAYS
    guide: Annotated[
        str,
        _about(
            "Autoguidance: a run, a pipeline folder or a run's checkpoint, whose output for the label takes the place "
            "of that without label. '' is none."
        ),
    ] = ""
    scheduler: Annotated[
        str,
        _about(
            "ddim, ddpm, ddpm-small, dpm-solver++, unipc, deis, pndm, euler, euler-ancestral, heun, or a diffusers "
            "class; of a flow: flow. After a short training ddpm-small draws better than ddim, the papers' choice."
        ),
    ] = "ddim"
    steps: Annotated[int, _about("Denoising steps.")] = 100
    eta: Annotated[float, _about("η of ddim: 0 adds no noise at its steps. Other schedulers ignore it.")] = 0.0
    clip_sample: Annotated[
        bool,
        _about(
            "Clip x_0 to [-1, 1] at every step. The papers do not; it saves what ddim draws after a short training."
        ),
    ] = False
    mixed_precision: Annotated[
        Precision, _about("Arithmetic of the network's passes: bf16 and fp16 are faster, and images differ a little.")
    ] = "no"
    seed: Annotated[int, _about("Of the images; the noise of image k of class c has its own, made of this one.")] = 0

    def __post_init__(self) -> None:
        check_numbers(self, w=-math.inf, w_power=-10, steps=1, eta=0)
        check_finite(self)
        if self.mixed_precision not in get_args(Precision):
            raise unknown_name("mixed_precision", self.mixed_precision, get_args(Precision))
        check_seed(self.seed)
        if self.w_power > 10:
            raise UserError(f"w_power is {self.w_power:g}; it must be at most 10.")
        low, high = self.w_interval
        if not 0 <= low < high <= 1:
            raise UserError(f"w_interval is {low:g} to {high:g}; two shares t/T are needed, 0 <= low < high <= 1.")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Sampling:
        """From plain values, of which only those that it knows are taken; what is missing is the default."""
        return typed(cls, {name: values[name] for name in NAMES if values.get(name) is not None})

    def plain(self) -> dict[str, Any]:
        """Its values as JSON has them."""
        return asdict(self) | {"w_interval": list(self.w_interval)}

    @property
    def guidance_scale(self) -> float:
        """1 + w, as diffusers has it."""
        return 1 + self.w

    @property
    def guidance(self) -> str:
        """How w becomes the guidance, in words; "w" where it is the same for every class, and all the time."""
        parts = [f"w (n̄/n)^{self.w_power:g}" if self.w_power else "w"]
        parts += [f"{name} {w:g}" for name, w in sorted(self.w_table.items())]
        if self.w_interval != ALWAYS:
            parts.append("t/T {:g} to {:g}".format(*self.w_interval))
        return ", ".join(parts + ["autoguidance"] * bool(self.guide))

    def weights(self, class_names: Sequence[str], class_counts: Sequence[int] | None) -> list[float]:
        """w of each class: its entry in the table, else w (n̄/n)^p.

        Raises:
            UserError: if the table names another class, or p needs numbers of training images that are not there.
        """
        for name in self.w_table:
            if name not in class_names:
                raise unknown_name("class in w_table", name, class_names)
        if self.w_power and not all(class_counts or [0]):
            raise UserError("w_power needs training images of every class, and their numbers; give w_table instead.")
        counts = class_counts if self.w_power and class_counts else [1] * len(class_names)
        rule = [self.w * (sum(counts) / len(counts) / n) ** self.w_power for n in counts]
        return [self.w_table.get(name, w) for name, w in zip(class_names, rule, strict=True)]

    def overridden(self, flags: SamplingFlags | CurveFlags) -> Sampling:
        """These values, but for those that the flags give."""
        return replace(self, **{name: value for name, value in vars(flags).items() if value is not None})

    def within(self, num_timesteps: int) -> Sampling:
        """With no more steps than the process has, T."""
        return replace(self, steps=min(self.steps, num_timesteps))


NAMES = tuple(entry.name for entry in fields(Sampling))


def _flags(name: str, leave_out: str = "") -> Any:
    hints = get_type_hints(Sampling, include_extras=True)
    entries = []
    for entry in fields(Sampling):
        kind, *about = get_args(hints[entry.name])
        flag = Annotated[(kind | None, *about)]  # type: ignore[valid-type]
        entries += [(entry.name, flag, field(default=None, hash=entry.hash))] * (entry.name != leave_out)
    about_all = {"__doc__": "How images are drawn.", "__module__": __name__}
    return make_dataclass(name, entries, frozen=True, namespace=about_all)


if TYPE_CHECKING:

    class CurveFlags:
        """The fields of `Sampling` without w, for verbs that take several; None is the run's own."""

        def __init__(self, **values: Any) -> None: ...

    class SamplingFlags(CurveFlags):
        """The fields of `Sampling`; None is the run's own."""

else:
    SamplingFlags, CurveFlags = _flags("SamplingFlags"), _flags("CurveFlags", leave_out="w")

SHORT = 5_000_000
"""Images seen below which a run's own is `OF_SHORT`. After 100,000 to 160,000 images DDIM draws noise where ancestral
sampling draws the class (docs/results.md), and without clipping some images burn out to white; the papers' DDIM follows
64,000,000 images."""

OF_SHORT = Sampling(scheduler="ddpm-small", steps=50, clip_sample=True)
"""What a short training carries: ancestral sampling, clipped at every step."""

OF_FLOW = Sampling(scheduler="flow", steps=50)
"""What a rectified flow carries: Euler's method."""


def own_sampling(
    images_to_see: int, num_timesteps: int, flags: SamplingFlags | None = None, flow: bool = False
) -> Sampling:
    """What a run carries: the papers' sampler, ancestral sampling in 50 steps after a short training, or a flow's.

    Args:
        images_to_see: images of the whole training.
        num_timesteps: T of its process; there are no more steps than these.
        flags: values that replace these.
        flow: whether the process is a rectified flow.
    """
    own = OF_FLOW if flow else OF_SHORT if images_to_see < SHORT else Sampling()
    return own.within(num_timesteps).overridden(flags or SamplingFlags())


def set_steps(scheduler: Any, steps: int, device: Any = "cpu") -> None:
    """Have a diffusers scheduler take so many steps.

    Raises:
        UserError: for a number that it does not take, with those that it takes.
    """

    def takes(count: int) -> bool:
        try:
            scheduler.set_timesteps(count, device=device)
        except (ValueError, IndexError, AssertionError):
            return False
        return len(scheduler.timesteps.unique()) >= count  # at equal times some schedulers divide by zero

    if not takes(steps):
        total = scheduler.config["num_train_timesteps"]
        largest = next((n for n in range(total, 0, -1) if takes(n)), None)
        smallest = next((n for n in range(1, total + 1) if takes(n)), None)
        allowed = f"no number of the {total} steps of this network" if largest is None else f"{smallest} to {largest}"
        raise UserError(f"steps is {steps}; {type(scheduler).__name__} takes {allowed}.")
