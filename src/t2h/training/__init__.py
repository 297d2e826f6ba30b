"""Training runs: configuration, loop, checkpoints."""

from t2h.training.config import LearningConfig, MachineConfig, NetworkConfig, ProcessConfig, TrainConfig
from t2h.training.loop import TrainResult, train

__all__ = ["LearningConfig", "MachineConfig", "NetworkConfig", "ProcessConfig", "TrainConfig", "TrainResult", "train"]
