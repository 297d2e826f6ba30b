"""`main.py --train --resume`: go on from another run's checkpoint, or from an official one with its optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from t2h.convert import OfficialCheckpoint, read_official
from t2h.convert.unet import to_diffusers
from t2h.device import make_accelerator, own_accelerate_state
from t2h.errors import UserError
from t2h.official.sample import no_checkpoint
from t2h.training.config import TrainConfig
from t2h.training.run import RunFolder
from t2h.training.setup import Training


@own_accelerate_state()
def begin_from(source: Path, step: int, config: TrainConfig, run: RunFolder) -> None:
    """Make ``run`` begin from the checkpoint of ``step`` in ``source``, unless it has begun already.

    ``source`` is the folder of one of our runs, or of official `ckpt_N.pt` files; step -1 is the last one of ours.

    Raises:
        UserError: if there is no such checkpoint, or it is of another network.
    """
    official, ours = source / f"ckpt_{step}.pt", RunFolder(source)
    if run.checkpoints():
        last = max(run.checkpoints())
        if step >= 0 and step != last and not official.exists():
            raise UserError(
                f"{run.path} goes on from its last checkpoint, step {last}. To branch off from step {step}: "
                f"--resume_ckpt {run.path} --ckpt_step {step} and another --logdir."
            )
        return
    if not official.exists() and step not in ours.checkpoints() and not (step < 0 and ours.checkpoints()):
        raise no_checkpoint(source, step)
    training = Training(config, make_accelerator(config.machine.device, config.learning.mixed_precision))
    state = _official_state(official, training) if official.exists() else ours.load(None if step < 0 else step)
    assert state is not None
    try:
        training.unet.load_state_dict(state["unet"])
    except RuntimeError as error:
        raise UserError(
            f"--resume: the checkpoint in {source} is of another network than these flags describe."
        ) from error
    run.begin(config, training.table, state["step"])
    run.save(state, state["step"], keep=None)


def _official_state(path: Path, training: Training) -> dict[str, Any]:
    """Our checkpoint of the training that an official one holds: both networks, and Adam's moments."""
    ema, raw = read_official(path), read_official(path, network="net_model")
    if (raw.augmentation is not None) != bool(training.config.learning.augment):
        made = "without" if raw.augmentation is None else "with"
        raise UserError(f"--resume: {path} was trained {made} --augm; go on {made} it.")
    training.step = (ema.step or 0) + 1  # it was saved after this step's update
    return training.state() | {
        "unet": to_diffusers(raw.weights, raw.config),
        "ema": to_diffusers(ema.weights, ema.config),
        "augmentation": None if raw.augmentation is None else {"weight": raw.augmentation},
        "optimizer": _adam_state(raw, training),
    }


def _adam_state(official: OfficialCheckpoint, training: Training) -> dict[str, Any]:
    """Adam's state in our order of parameters; empty, as at the start, where the checkpoint has none."""
    state, content = training.optimizer.state_dict(), official.content
    there = (content.get("optim") or {}).get("state") or {}
    if not there:
        print("notice: the official checkpoint has no optimiser state; Adam begins anew")
        return state
    moments = {}
    for kind in ("exp_avg", "exp_avg_sq"):
        # Each weight is a parameter, in this order. One without gradient, such as the time table, has no moments.
        weights = {
            name.removeprefix("module."): there[i][kind] if i in there else torch.zeros_like(weight)
            for i, (name, weight) in enumerate(content["net_model"].items())
        }
        of_augmentation = weights.pop("augm_embedding.weight", None)
        renamed = to_diffusers(weights, official.config)
        moments[kind] = {f"denoiser.unet.{name}": moment for name, moment in renamed.items()}
        if of_augmentation is not None:
            moments[kind]["denoiser.augmentation.weight"] = of_augmentation
    count = torch.tensor(float(next(iter(there.values()))["step"]))
    model = training.accelerator.unwrap_model(training.model)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    state["state"] = {
        i: {"step": count.clone(), **{kind: moments[kind][name] for kind in moments}}
        for i, name in enumerate(trained)
        if name.startswith("denoiser.")
    }
    return state
