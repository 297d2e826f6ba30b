"""Configurations by name: the rows of the paper (Zhang et al., ICLR 2024) with exactly the official code's
hyper-parameters, and one for a laptop. The long tail of TinyImageNet-200 is ours: the paper's was never published.
"""

from __future__ import annotations

from t2h.data.config import DataConfig
from t2h.errors import check_known
from t2h.methods import MethodOptions
from t2h.methods.t2h import T2H
from t2h.sampling import SamplingFlags
from t2h.training.config import LearningConfig, MachineConfig, NetworkConfig, TrainConfig

_DATA = {
    "cifar10-lt": (DataConfig(data="cifar10", imbalance=0.01), "cifar"),
    "cifar100-lt": (DataConfig(data="cifar100", imbalance=0.01), "cifar"),
    "tiny-imagenet-200-lt": (DataConfig(data="tiny-imagenet-200", imbalance=0.01), "tiny-imagenet"),
}

# The defaults are the official code's, but for these: a constant moving average, labels dropped batch by batch.
_LEARNING = LearningConfig(steps=500_001, warmup_steps=5_000, ema_rampup=0.0, dropout_unit="batch", flip="on")
_SAMPLING = SamplingFlags(scheduler="ddim", steps=100, w=1.5)
_MACHINE = MachineConfig(save_every=100_000, keep=None, grid_every=10_000)

_ROWS = {
    "ddpm": ("ddpm", MethodOptions(), True),
    "t2h": ("t2h", MethodOptions(t2h=T2H(direction="t2h")), True),
    "h2t-unconditional": ("t2h", MethodOptions(t2h=T2H(direction="h2t")), False),
}

# Recognisable small images in minutes, on a processor: few pixels, a small network, and a rate, a warm-up and a moving
# average for thousands of steps instead of hundreds of thousands. T2H sees as many references as the paper's batch has.
LAPTOP = TrainConfig(
    data=DataConfig(image_size=16),
    network=NetworkConfig(network="mini"),
    learning=LearningConfig(
        steps=5_000, batch_size=32, lr=2e-3, warmup_steps=100, ema_decay=0.998, references=96, resampling=0.0
    ),
    machine=MachineConfig(save_every=500, grid_every=1_000),
)

PRESETS: dict[str, TrainConfig] = {"laptop": LAPTOP} | {
    f"{data_name}-{row_name}": TrainConfig(
        data=data,
        network=NetworkConfig(network=network, conditional=conditional),
        objective=objective,
        methods=methods,
        learning=_LEARNING,
        machine=_MACHINE,
        sampling=_SAMPLING,
    )
    for data_name, (data, network) in _DATA.items()
    for row_name, (objective, methods, conditional) in _ROWS.items()
}


def preset(name: str) -> TrainConfig:
    """The configuration of a row, such as "cifar10-lt-t2h", or "laptop".

    Raises:
        UserError: for a name that is none, with the nearest one.
    """
    check_known("preset", [name], PRESETS)
    return PRESETS[name]
