"""What every metric asks of its input. The text of an error here is the reason given for an absent metric."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from torch import Tensor

from t2h.errors import UserError

BUDGET = 512 * 2**20
"""Bytes for one block of distances and the work on it; the features come on top."""

# One row per image. The two axes have no names, so that sets of different dimensions get our message, not a type error.
Features: TypeAlias = Float[np.ndarray, "_ _"] | Float[Tensor, "_ _"]


def rows(features: Features, name: str, needed: int = 1) -> Float[np.ndarray, "n d"]:
    """``features`` as a numpy array, float32 or float64, after checking that it can be used.

    Raises:
        UserError: if there are fewer than ``needed`` rows, no columns, or a row that is not finite.
    """
    array = features.detach().cpu() if isinstance(features, Tensor) else features
    if isinstance(array, Tensor):
        array = (array.float() if array.dtype.itemsize < 4 else array).numpy()
    elif array.dtype.itemsize < 4:
        array = array.astype(np.float32)
    if len(array) < needed:
        given = f"{len(array) or 'no'} {name} image{'' if len(array) == 1 else 's'}"
        raise UserError(f"{given}; at least {needed} {'is' if needed == 1 else 'are'} needed.")
    if array.shape[1] == 0:
        raise UserError(f"the {name} features have no dimensions; give at least one column.")
    bad = len(array) - int(np.isfinite(array).all(axis=1).sum())
    if bad:
        raise UserError(
            f"{bad} of {len(array)} {name} images have features that are NaN or infinite; remove or remake them."
        )
    return array


def pair(
    real: Features, fake: Features, needed: int = 1, names: tuple[str, str] = ("real", "generated")
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]]:
    """Two sets of features, checked one by one and for equal dimensions.

    Raises:
        UserError: as `rows`, or if the dimensions differ.
    """
    if real.shape[1] != fake.shape[1]:
        raise UserError(
            f"the {names[0]} features have {real.shape[1]} dimensions and the {names[1]} ones {fake.shape[1]}; "
            "both must come from the same feature network."
        )
    return rows(real, names[0], needed), rows(fake, names[1], needed)
