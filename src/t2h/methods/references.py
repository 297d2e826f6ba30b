"""Which references count: those of all processes, those of this one (official), or a bank that depends on neither."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from t2h.errors import UserError
from t2h.methods.base import Batch

References = Literal["ranks", "batch", "bank"]


def counting(references: References, batch: Batch) -> Bool[Tensor, "b n"] | None:
    """Which references each sample may have come from; None is all of them.

    Raises:
        UserError: for a bank that is empty.
    """
    if references == "ranks":
        return None
    rows = torch.arange(len(batch.reference_y), device=batch.x0.device)
    if references == "batch":
        mine = (rows >= batch.offset) & (rows < batch.offset + len(batch.y))
        return mine.expand(len(batch.y), -1)
    if not batch.bank:
        raise UserError("--t2h.references bank draws the N images of --references N; give N, such as 1024.")
    own = batch.offset + torch.arange(len(batch.y), device=rows.device)
    return (rows == own.unsqueeze(1)) | (rows >= len(rows) - batch.bank)
