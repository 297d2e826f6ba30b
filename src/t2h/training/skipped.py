"""Steps that are left out: a loss or gradient that is no number leaves network, optimiser and average as they were.

With a gradient whose norm is a number, Adam moves a weight by at most 3.2 times the learning rate. So no weight, and no
average of them, ever becomes NaN or infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from t2h.errors import UserError

IN_A_ROW = 10
"""Each step has other images, times and noise. If a share p of them fails by chance, a run of 10^6 steps ends in error
with a chance of 10^6 p^10: not for one in a hundred, and soon where it is every other one."""


@dataclass
class Skipped:
    """Counts of them since the run began; a checkpoint holds these.

    Attributes:
        steps: whose loss or gradient was no number.
        overflows: steps whose gradient was too large for fp16 at the scale of the loss, which was lowered then.
        in_a_row: of ``steps``, up to now.
        norm: of the gradient, in the last step that was taken.
    """

    steps: int = 0
    overflows: int = 0
    in_a_row: int = 0
    norm: float = 0.0

    def taken(self, norm: float) -> None:
        self.in_a_row, self.norm = 0, norm

    def left_out(
        self, step: int, norm: float, terms: dict[str, Tensor], seen: Sequence[tuple[Tensor, Tensor]], on: Accelerator
    ) -> None:
        """A step did not, where ``terms`` are the loss's and ``seen`` are t and y; all processes call it together.

        Raises:
            UserError: if it is the last of `IN_A_ROW`.
        """
        finite = on.gather(torch.stack(list(terms.values())).isfinite().all().reshape(1)).all().item()
        if on.scaler is not None and finite and on.scaler.get_scale() >= 1:
            self.overflows += 1
            return
        self.steps, self.in_a_row = self.steps + 1, self.in_a_row + 1
        if self.in_a_row < IN_A_ROW:
            return
        losses = ", ".join(f"{name} {float(term):.4g}" for name, term in terms.items())
        t, y = (torch.cat(parts) for parts in zip(*seen, strict=True))
        classes = " ".join(map(str, sorted(set(y.tolist()))[:20]))
        precision = "" if on.scaler is None else " or with --mixed-precision bf16"
        last = "" if not self.norm else f", {self.norm:.4g} in the last step that was taken"
        raise UserError(
            f"stopped at step {step}: {IN_A_ROW} steps in a row had a loss or gradient that is no number. The last: "
            f"{losses}; gradient norm {norm:.4g}{last}; t {t.min():.4g} … {t.max():.4g}; classes {classes}. The last "
            f"checkpoint is as it was. Begin anew from its weights with a smaller --lr{precision}: --init THIS_RUN "
            "--out ANOTHER_FOLDER."
        )

    def shown(self) -> dict[str, int]:
        return {name: count for name, count in (("skipped", self.steps), ("overflows", self.overflows)) if count}


def or_nan(loss: Tensor) -> Tensor:
    """A factor for ``loss``: 1, or NaN where it is no number. So its gradient is none either, in all processes."""
    return torch.where(loss.detach().isfinite(), 1.0, math.nan)
