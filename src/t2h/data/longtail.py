"""Long-tailed subsets: which rows of a data set are kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int, UInt8

from t2h.errors import UserError, check_labels, unknown_name

Profile = Literal["exp", "step", "pareto", "none"]


def profile_counts(num_images: int, num_classes: int, imbalance: float, profile: str = "exp") -> tuple[int, ...]:
    """How many of N = ``num_images`` images each of C = ``num_classes`` classes is to keep, from head to tail.

    With n_max = N / C (the official rule assumes balanced data) and c = 0 ... C-1:

    * ``exp``: int(n_max · imbalance^(c / (C-1))), as in the official code (Cui et al. 2019, "Class-Balanced Loss");
    * ``step``: int(n_max) for the first half of the classes, int(n_max · imbalance) for the rest;
    * ``pareto``: int(n_max · (c+1)^-a), with a such that the last class has imbalance times the first one's. Ours.

    Raises:
        UserError: if the imbalance is outside (0, 1], or the profile unknown.
    """
    check_imbalance(imbalance)
    if num_classes == 1:
        return (num_images,)
    powers: dict[str, Callable[[int], float]] = {
        "exp": lambda c: c / (num_classes - 1),
        "step": lambda c: int(c >= num_classes // 2),
        "pareto": lambda c: math.log(c + 1) / math.log(num_classes),
    }
    if profile not in powers:
        raise unknown_name("long-tail profile", profile, powers)
    return tuple(int(num_images / num_classes * imbalance ** powers[profile](c)) for c in range(num_classes))


def long_tail_indices(
    labels: Int[np.ndarray, " n"] | UInt8[np.ndarray, " n"] | Sequence[int],
    imbalance: float = 1.0,
    profile: str = "exp",
    seed: int = 0,
    num_classes: int | None = None,
    counts: Sequence[int] | None = None,
) -> Int[np.ndarray, " m"]:
    """The rows of a long-tailed subset, class by class: bit for bit the official CIFAR-10-LT and CIFAR-100-LT.

    Each class in order has its rows shuffled and the first ones kept, all from one legacy generator,
    ``numpy.random.RandomState(seed)``, as the official code does with the global one. A class that has fewer images
    than its profile asks for keeps all of them, shuffled; an empty one stays empty.

    Args:
        labels: (N,), from 0 to C-1.
        imbalance: smallest class over largest class, in (0, 1].
        profile: ``exp``, ``step`` or ``pareto`` (see `profile_counts`); ``none`` keeps every row, in order.
        seed: of the shuffle; the official subsets have 0.
        num_classes: C; by default the largest label + 1.
        counts: images of each class, instead of a profile.

    Returns:
        int64 positions in ``labels``.

    Raises:
        UserError: for an imbalance outside (0, 1], an unknown profile, a label outside 0 ... C-1, or counts that are
            negative, larger than what there is, or not one per class.
    """
    labels = np.asarray(labels)
    if profile not in get_args(Profile):
        raise unknown_name("long-tail profile", profile, get_args(Profile))
    check_imbalance(imbalance)
    if not 0 <= seed < 1 << 32:
        raise UserError(f"seed {seed} of the long tail: it must be in 0 ... {(1 << 32) - 1}.")
    if not len(labels):
        raise UserError("no images: a long-tailed subset needs at least one label.")
    num_classes = int(labels.max()) + 1 if num_classes is None else num_classes
    check_labels("labels", labels, num_classes)
    if counts is not None:
        keep = _checked_counts(counts, np.bincount(labels, minlength=num_classes))
    elif profile == "none":
        return np.arange(len(labels), dtype=np.int64)
    else:
        keep = profile_counts(len(labels), num_classes, imbalance, profile)

    rng = np.random.RandomState(seed)  # the official subset depends on this legacy generator
    parts = []
    for c, n in enumerate(keep):
        rows = np.flatnonzero(labels == c)
        rng.shuffle(rows)
        parts.append(rows[:n])
    return np.concatenate(parts).astype(np.int64)


def check_imbalance(imbalance: float) -> None:
    """Raises `UserError` unless the imbalance is in (0, 1]."""
    if 0 < imbalance <= 1:
        return
    hint = f"; for a ratio of {imbalance:g} : 1 give {1 / imbalance:.4g}" if 1 < imbalance < math.inf else ""
    raise UserError(f"imbalance {imbalance:g}: it is smallest class over largest class, in (0, 1]{hint}.")


def _checked_counts(counts: Sequence[int], available: np.ndarray) -> tuple[int, ...]:
    if len(counts) != len(available):
        raise UserError(f"{len(counts)} counts for {len(available)} classes; give one count per class.")
    if min(counts) < 0 or not any(counts):
        raise UserError(f"counts {' '.join(map(str, counts))}: they must be 0 or more, and not all 0.")
    short = [f"class {c}: {n} asked, {available[c]} there" for c, n in enumerate(counts) if n > available[c]]
    if short:
        raise UserError(f"more images asked for than there are ({'; '.join(short)}); lower these counts.")
    return tuple(int(n) for n in counts)
