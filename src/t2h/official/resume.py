"""`main.py --train --resume`: go on from another run's checkpoint, or from an official one with its optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from t2h.convert.checkpoint import load_file, read_official
from t2h.convert.unet import Weights, to_diffusers
from t2h.device import make_accelerator, own_accelerate_state
from t2h.errors import UserError
from t2h.training.config import TrainConfig
from t2h.training.run import RunFolder
from t2h.training.setup import Training


@own_accelerate_state()
def begin_from(source: Path, step: int, config: TrainConfig, run: RunFolder) -> None:
    """Make ``run`` begin from the checkpoint of ``step`` in ``source``, unless it has begun already.

    Args:
        source: folder of one of our runs, or of official `ckpt_N.pt` files.
        step: -1 is the last one of ours.
        config: of the run.
        run: where it shall live.

    Raises:
        UserError: if there is no such checkpoint, or it is of another network.
    """
    official = source / f"ckpt_{step}.pt"
    ours = RunFolder(source).checkpoints()
    if run.checkpoints():
        last = max(run.checkpoints())
        if step >= 0 and step != last and not official.exists():
            raise UserError(
                f"{run.path} goes on from its last checkpoint, step {last}. To branch off from step {step}: "
                f"--resume_ckpt {run.path} --ckpt_step {step} and another --logdir."
            )
        return
    if not official.exists() and step not in ours and not (step < 0 and ours):
        there = [str(n) for n in ours] + sorted(file.name for file in source.glob("ckpt_*.pt"))
        raise UserError(
            f"--resume: {source} has no checkpoint of step {step}; there are: {', '.join(there) or 'none'}. "
            "Give --resume_ckpt FOLDER --ckpt_step N."
        )
    training = Training(config, make_accelerator(config.machine.device, config.learning.mixed_precision))
    state = (
        _official_state(official, training) if official.exists() else RunFolder(source).load(None if step < 0 else step)
    )
    assert state is not None
    try:
        training.unet.load_state_dict(state["unet"])
    except RuntimeError as error:
        raise UserError(
            f"--resume: the checkpoint in {source} is of another network than these flags describe."
        ) from error
    run.begin(config, training.table)
    run.save(state, state["step"], keep=None)


def _official_state(path: Path, training: Training) -> dict[str, Any]:
    """Our checkpoint of the training that an official one holds: both networks, and Adam's moments."""
    config = training.config
    ema, raw = read_official(path), read_official(path, network="net_model")
    if (raw.augmentation is not None) != bool(config.learning.augment):
        made = "without" if raw.augmentation is None else "with"
        raise UserError(f"--resume: {path} was trained {made} --augm; go on {made} it.")
    steps = (ema.step or 0) + 1  # it was saved after this step's update
    return {
        "format": "t2h-checkpoint",
        "step": steps,
        "images_seen": steps * config.learning.batch_size,
        "unet": to_diffusers(raw.weights, raw.architecture),
        "ema": to_diffusers(ema.weights, ema.architecture),
        "augmentation": None if raw.augmentation is None else {"weight": raw.augmentation},
        "objective": training.objective.state_dict(),
        "optimizer": _adam_state(path, training),
        "scaler": None,
        "window": {},
        "window_parts": 0,
    }


def _adam_state(path: Path, training: Training) -> dict[str, Any]:
    """Adam's state in our order of parameters; empty, as at the start, where the checkpoint has none."""
    model = training.accelerator.unwrap_model(training.model)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    state = training.optimizer.state_dict()
    content = load_file(path)
    there = (content.get("optim") or {}).get("state") or {}
    if not there:
        print("notice: the official checkpoint has no optimiser state; Adam begins anew")
        return state
    names = [name.removeprefix("module.") for name in content["net_model"]]  # each is a parameter, in their order
    architecture = read_official(path).architecture
    moments: dict[str, Weights] = {}
    for kind in ("exp_avg", "exp_avg_sq"):
        # A parameter without gradient, such as the time table, has no moments.
        weights: Weights = {
            name: there[i][kind] if i in there else torch.zeros_like(content["net_model"][key])
            for i, (name, key) in enumerate(zip(names, content["net_model"], strict=True))
        }
        told = weights.pop("augm_embedding.weight", None)
        renamed = to_diffusers(weights, architecture)
        moments[kind] = {f"denoiser.unet.{name}": moment for name, moment in renamed.items()}
        if told is not None:
            moments[kind]["denoiser.augmentation.weight"] = told
    count = torch.tensor(float(next(iter(there.values()))["step"]))
    state["state"] = {
        i: {"step": count.clone(), **{kind: moments[kind][name] for kind in moments}}
        for i, name in enumerate(trained)
        if name.startswith("denoiser.")
    }
    return state
