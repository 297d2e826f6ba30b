"""t2h: class-conditional diffusion models on long-tailed image data, trained, sampled and judged."""

from t2h.errors import UserError
from t2h.pipeline import T2HPipeline
from t2h.schedule import NoiseSchedule
from t2h.version import __version__

__all__ = ["NoiseSchedule", "T2HPipeline", "UserError", "__version__"]
