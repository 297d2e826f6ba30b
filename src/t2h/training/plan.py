"""What a run would do, before it does it: `t2h train --dry-run`."""

from __future__ import annotations

import time

import torch

from t2h.device import make_accelerator, own_accelerate_state
from t2h.report.axes import duration
from t2h.training.config import TrainConfig
from t2h.training.draw import calibrate, draw_batch
from t2h.training.loop import take_step
from t2h.training.setup import Training


@own_accelerate_state()
def plan(config: TrainConfig, timed_steps: int = 3) -> str:
    """The plan as text: class table, parameters, images to see, memory and time. Takes a few steps; writes nothing.

    Raises:
        UserError: as `train`.
    """
    accelerator = make_accelerator(config.machine.device, config.learning.mixed_precision)
    training = Training(config, accelerator)
    calibrate(training)
    per_step = seconds_per_step(training, timed_steps)
    weights, saved = memory(training)
    return "\n".join(
        [
            training.summary(),
            f"memory      about {(weights + saved) / 2**30:.2f} GiB: {weights / 2**30:.2f} for weights, EMA, gradients "
            f"and Adam, {saved / 2**30:.2f} for activations",
            f"time        about {duration(per_step * config.learning.steps)} on {accelerator.device} "
            f"({config.learning.batch_size / per_step:,.0f} images/s)",
        ]
    )


def seconds_per_step(training: Training, steps: int = 3) -> float:
    """Seconds of an optimisation step, measured over a few, after one to warm up."""
    batches = training.stream.batches(0, training.share)
    take_step(training, batches)
    start = time.perf_counter()
    for _ in range(steps):
        take_step(training, batches)
    return (time.perf_counter() - start) / steps


def memory(training: Training) -> tuple[int, int]:
    """Bytes for weights, EMA, gradients and Adam's two moments; and for what one pass saves for its backward pass."""
    weights = 5 * sum(p.numel() * p.element_size() for p in training.model.parameters())
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    x0, y = next(training.stream.batches(0, training.share))
    sample = slice(0, min(2, len(x0)))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        terms = training.model(draw_batch(training, x0[sample], y[sample]))
    del terms
    parameters = {p.untyped_storage().data_ptr() for p in training.model.parameters()}
    saved = sum(nbytes for pointer, nbytes in seen.items() if pointer not in parameters)
    return weights, saved * len(x0) // len(x0[sample])
