"""t2h: class-conditional diffusion models on long-tailed image data, trained, sampled and judged."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from t2h.errors import UserError
from t2h.version import __version__

if TYPE_CHECKING:
    from t2h.methods.posterior import reference_posterior
    from t2h.pipeline import T2HPipeline
    from t2h.process import NoiseSchedule, RectifiedFlow

__all__ = ["NoiseSchedule", "RectifiedFlow", "T2HPipeline", "UserError", "__version__", "reference_posterior"]

_HOMES = {
    "NoiseSchedule": "t2h.process",
    "RectifiedFlow": "t2h.process",
    "T2HPipeline": "t2h.pipeline",
    "reference_posterior": "t2h.methods.posterior",
}


def __getattr__(name: str) -> object:
    """Import what needs torch and diffusers at its first use: they take seconds, and `t2h --help` needs neither."""
    if name not in _HOMES:
        raise AttributeError(f"module 't2h' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
