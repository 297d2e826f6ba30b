"""t2h: class-conditional diffusion models on long-tailed image data, trained, sampled and judged."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from t2h.errors import UserError
from t2h.version import __version__

if TYPE_CHECKING:
    from t2h.pipeline import T2HPipeline
    from t2h.process import NoiseSchedule

__all__ = ["NoiseSchedule", "T2HPipeline", "UserError", "__version__"]

_HOMES = {"NoiseSchedule": "t2h.process", "T2HPipeline": "t2h.pipeline"}


def __getattr__(name: str) -> object:
    """What takes seconds to import, for torch and diffusers, comes when it is asked for: `t2h --help` need not wait."""
    if name not in _HOMES:
        raise AttributeError(f"module 't2h' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
