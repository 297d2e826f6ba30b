"""The noise process: DDPM's, or a rectified flow."""

from t2h.process.base import SCHEDULERS, Images, Numbers, Prediction, Process, Times
from t2h.process.ddpm import NoiseSchedule
from t2h.process.flow import RectifiedFlow, TimeDraw, is_flow

__all__ = [
    "SCHEDULERS",
    "Images",
    "NoiseSchedule",
    "Numbers",
    "Prediction",
    "Process",
    "RectifiedFlow",
    "TimeDraw",
    "Times",
    "is_flow",
]
