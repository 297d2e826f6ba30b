"""What a run would do, before it does it: `t2h train --dry-run`."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from t2h.training.config import TrainConfig
from t2h.training.trainer import Trainer, make_accelerator


def summary(trainer: Trainer) -> str:
    """What a run is made of, in lines: data, network, where it begins, objective, images to see."""
    config, table, learning = trainer.config, trainer.setup.table, trainer.config.learning
    counts, total = table.class_counts, learning.steps * learning.batch_size
    parameters = sum(p.numel() for p in trainer.model.parameters())
    passes = trainer.setup.objective.passes
    begins = [f"begins with {trainer.setup.origin}"] if trainer.setup.origin else []
    return "\n".join(
        [
            f"data        {table.name} ({table.split}): {len(table):,} images of {table.num_classes} classes, "
            f"{counts.max():,} … {counts.min():,} a class; {trainer.stream.describe()}",
            f"network     {parameters:,} parameters, {table.image_size[0]} px, "
            f"{'class-conditional' if config.network.conditional else 'unconditional'}",
            *begins,
            f"objective   {config.objective}, {passes} network pass{'es' * (passes > 1)} a step",
            f"images      {total:,} to see: {learning.steps:,} steps of {learning.batch_size}, "
            f"{total / len(table):,.0f} times the data",
        ]
    )


def plan(config: TrainConfig, timed_steps: int = 3) -> str:
    """The plan as text: class table, parameters, images to see, memory and time. Takes a few steps; writes nothing.

    Raises:
        UserError: as `train`.
    """
    accelerator = make_accelerator(config)
    trainer = Trainer(config, Path("dry-run"), accelerator)
    per_step = seconds_per_step(trainer, timed_steps)
    weights, saved = memory(trainer)
    return "\n".join(
        [
            summary(trainer),
            f"memory      about {(weights + saved) / 2**30:.2f} GiB: {weights / 2**30:.2f} for weights, EMA, gradients "
            f"and Adam, {saved / 2**30:.2f} for activations",
            f"time        about {duration(per_step * config.learning.steps)} on {accelerator.device} "
            f"({config.learning.batch_size / per_step:,.0f} images/s)",
        ]
    )


def seconds_per_step(trainer: Trainer, steps: int = 3) -> float:
    """Seconds of an optimisation step, measured over a few, after one to warm up."""
    batches = trainer.stream.batches(0, trainer.share)
    trainer.take_step(batches)
    trainer.check()
    start = time.perf_counter()
    for _ in range(steps):
        trainer.take_step(batches)
    trainer.check()  # waits for the device
    return (time.perf_counter() - start) / steps


def memory(trainer: Trainer) -> tuple[int, int]:
    """Bytes for weights, EMA, gradients and Adam's two moments; and for what one pass saves for its backward pass."""
    weights = 5 * sum(p.numel() * p.element_size() for p in trainer.model.parameters())
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    x0, y = next(trainer.stream.batches(0, trainer.share))
    sample = slice(0, min(2, len(x0)))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        terms = trainer.model(trainer.noised(x0[sample], y[sample], 0))
    del terms
    parameters = {p.untyped_storage().data_ptr() for p in trainer.model.parameters()}
    saved = sum(nbytes for pointer, nbytes in seen.items() if pointer not in parameters)
    return weights, saved * len(x0) // len(x0[sample])


def duration(seconds: float) -> str:
    """In a unit that suits: "40 s", "12 min", "3.4 h", "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
