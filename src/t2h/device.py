"""Which devices and processes to use, and in which arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from t2h.errors import UserError, unknown_name

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

Precision = Literal["no", "bf16", "fp16"]


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UserError: for an unknown name, or a device that this machine lacks.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, usable in there.items() if usable)
    kind = name.split(":")[0]
    if kind not in there:
        raise unknown_name("device", name, ["auto", *there])
    if not there[kind]:
        raise UserError(f"device {name!r}: this machine has none; use {' or '.join(d for d in there if there[d])}.")
    return torch.device(name)


def check_precision(device: torch.device, mixed_precision: Precision) -> None:
    """Raise a `UserError` for an arithmetic that this kind of device lacks."""
    if mixed_precision == "fp16" and device.type != "cuda":
        raise UserError("--mixed-precision fp16 needs a CUDA device; on others use bf16 or no.")


def autocast(device: torch.device, mixed_precision: Precision) -> torch.autocast:
    """A context in which networks on ``device`` compute in this arithmetic.

    Raises:
        UserError: as `check_precision`.
    """
    import torch

    check_precision(device, mixed_precision)
    dtype = torch.float16 if mixed_precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=mixed_precision != "no")


@contextmanager
def own_accelerate_state() -> Iterator[None]:
    """Inside, accelerate begins anew; afterwards its global state is the caller's again. Also a decorator."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    states: Any = (PartialState, AcceleratorState, GradientState)
    callers = [state._shared_state for state in states]
    try:
        for state in states:
            state._shared_state = {}
        yield
    finally:
        for state, before in zip(states, callers, strict=True):
            state._shared_state = before


def make_accelerator(device: str, mixed_precision: Precision) -> Accelerator:
    """The devices and processes that the machine, `torchrun` or `accelerate launch` offers.

    Raises:
        UserError: as `pick_device` and `check_precision`.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    chosen = pick_device(device)
    check_precision(chosen, mixed_precision)
    # cpu=True also lets several processes share the work of a machine that has no other device. Buffers are each
    # process's own: what one has counted is not replaced by what the first has.
    separate = DistributedDataParallelKwargs(broadcast_buffers=False)
    return Accelerator(mixed_precision=mixed_precision, cpu=chosen.type == "cpu", kwargs_handlers=[separate])


def on_main(accelerator: Accelerator, call: Callable[[], object]) -> None:
    """Make the call in the main process alone, and go on in all of them after it.

    Raises:
        UserError, OSError: in all of them, what the call raised: none is left waiting for the others.
    """
    from accelerate.utils import broadcast_object_list

    raised: list[Exception | None] = [None]
    if accelerator.is_main_process:
        try:
            call()
        except (UserError, OSError) as error:
            raised = [error]
    if accelerator.num_processes > 1:
        broadcast_object_list(raised)
    if raised[0] is not None:
        raise raised[0]
