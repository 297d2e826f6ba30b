"""Which references count: `ranks`, the batch of all processes and what `--references N` adds to it; `batch`, that of
this process alone (official); or `bank`, the image itself and those N, which are drawn anew every step from the whole
training set, so that the method depends neither on the batch nor on the number of processes."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from t2h.errors import UserError
from t2h.methods.base import Batch

References = Literal["ranks", "batch", "bank"]


def among(references: References, batch: Batch, log_prior: Float[Tensor, " n"] | None) -> Float[Tensor, "... n"] | None:
    """The log prior, (N,), and -inf for references that a sample cannot have come from, (B, N); None is a flat one.

    Raises:
        UserError: for a bank that is empty.
    """
    if references == "ranks":
        return log_prior
    rows = torch.arange(len(batch.reference_y), device=batch.x0.device)
    if references == "batch":
        count = ((rows >= batch.offset) & (rows < batch.offset + len(batch.y))).expand(len(batch.y), -1)
    elif not batch.bank:
        raise UserError("--t2h.references bank draws the N images of --references N; give N, such as 1024.")
    else:
        own = batch.offset + torch.arange(len(batch.y), device=rows.device)
        count = (rows == own.unsqueeze(1)) | (rows >= len(rows) - batch.bank)
    return torch.where(count, 0.0 if log_prior is None else log_prior, -torch.inf)
