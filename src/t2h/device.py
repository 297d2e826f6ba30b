"""Which device to use."""

from __future__ import annotations

import torch

from t2h.errors import UserError, unknown_name


def pick_device(name: str = "auto") -> torch.device:
    """The device of this name; "auto" takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        UserError: for an unknown name, or a device that this machine lacks.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, usable in there.items() if usable)
    kind = name.split(":")[0]
    if kind not in there:
        raise unknown_name("device", name, ["auto", *there])
    if not there[kind]:
        raise UserError(f"device {name!r}: this machine has none; use {' or '.join(d for d in there if there[d])}.")
    return torch.device(name)
