"""`main.py --train`: official flags to a `TrainConfig` that restores the official behaviour."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from t2h.data.config import DataConfig
from t2h.errors import UserError
from t2h.methods import MethodOptions
from t2h.methods.t2h import T2H
from t2h.network import unet_architecture
from t2h.official.flags import Flags
from t2h.results.transfer import Transfer
from t2h.sampling import SamplingFlags
from t2h.training import train
from t2h.training.config import LearningConfig, MachineConfig, NetworkConfig, ProcessConfig, TrainConfig
from t2h.training.run import RunFolder

CLASSES = {"cifar10": 10, "cifar100": 100, "tiny-imagenet-200": 200}


def run_training(flags: Flags) -> int:
    """Train, and say how it ended; the exit status.

    Raises:
        UserError: as `train_config`, `begin_from` and `t2h.training.train`.
    """
    for line in train_notices(flags):
        print(f"notice: {line}")
    config, run = train_config(flags), RunFolder(Path(flags["logdir"]))
    if flags["resume"]:
        from t2h.official.resume import begin_from

        begin_from(Path(flags["resume_ckpt"]), flags["ckpt_step"], config, run)
    elif run.config() is None and list(run.path.glob("ckpt*.pt")):
        raise UserError(
            f"{run.path} holds checkpoints of the official code. To go on from one: --resume --resume_ckpt {run.path} "
            "--ckpt_step N; to begin anew choose another --logdir."
        )
    result = train(config, run.path)
    if result.main_process:
        print(f"{result.status}: {result.step:,} steps, {result.images_seen:,} images seen  {run.path}")
        if flags["count_transfer"]:
            found = Transfer.of([run.transfer()])
            print(transfer_table(found) if found else "No transfers were counted: this is not T2H (--transfer_x0).")
    return result.exit_status


def train_config(flags: Flags) -> TrainConfig:
    """The training run that these flags of the official `main.py` mean.

    Raises:
        UserError: for flags that mean no run.
    """
    data = data_config(flags)
    classes = CLASSES.get(data.data)
    if flags["num_class"] and classes is not None and flags["num_class"] != classes:
        raise UserError(f"--num_class {flags['num_class']:g}: {flags['data_type']} has {classes} classes.")
    transfer = flags["transfer_x0"]
    t2h = T2H(
        direction=flags["transfer_mode"],
        beta=flags["tr_tau"] if flags["transfer_tr_tau"] else None,
        t_max=None if flags["cut_time"] < 0 else flags["cut_time"],
        dropped_target="same",
    )
    return TrainConfig(
        data=data,
        network=NetworkConfig(network=network(flags), conditional=flags["conditional"], dropout=flags["dropout"]),
        process=ProcessConfig("ddpm", flags["T"], flags["beta_1"], flags["beta_T"]),
        objective="t2h" if transfer else "ddpm",
        methods=MethodOptions(t2h=t2h) if transfer else MethodOptions(),
        learning=LearningConfig(
            steps=flags["total_steps"],
            batch_size=flags["batch_size"],
            lr=flags["lr"],
            warmup_steps=flags["warmup"],
            grad_clip=flags["grad_clip"],
            ema_decay=flags["ema_decay"],
            ema_rampup=0.0,
            label_dropout=0.1 if flags["cfg"] else 0.0,
            dropout_unit="batch",
            flip="on",
            augment=0.12 if flags["augm"] else 0.0,
            seed=flags["seed"],
        ),
        machine=MachineConfig(
            workers=flags["num_workers"], save_every=flags["save_step"], keep=None, grid_every=flags["sample_step"]
        ),
        sampling=SamplingFlags(scheduler="ddim", steps=min(100, flags["T"])),
    )


def data_config(flags: Flags) -> DataConfig:
    """The data of --data_type: an official name, or any of `t2h train --data`; long-tailed with "lt" at its end."""
    given = flags["data_type"]
    if given == "imgnetLT":
        raise UserError(
            "--data_type imgnetLT: the official code has no such data. Give the path of a folder of class folders."
        )
    tailed = given.endswith("lt") and not Path(given).exists()
    name = given.removesuffix("lt") if tailed else given
    name = {"imagenet200": "tiny-imagenet-200"}.get(name, name)
    root = None if name == "digits" or Path(name).exists() else flags.get("root")
    return DataConfig(
        data=name,
        root=None if root is None else Path(root),
        image_size=flags["img_size"],
        imbalance=flags["imb_factor"] if tailed else 1.0,
        download=flags["download"],
    )


def network(flags: Flags) -> str:
    """The network's name, or its configuration where the flags change it."""
    ch, mult, attention, blocks = (flags[name] for name in ("ch", "ch_mult", "attn", "num_res_blocks"))
    if (ch, mult, attention, blocks) == (128, [1, 2, 2, 2], [1], 2):
        return "cifar"
    if mult[0] != 1:
        raise UserError(
            f"--ch_mult begins with {mult[0]}; here it must begin with 1 (choose --ch {ch * mult[0]} instead)."
        )
    if ch % 32:
        raise UserError(f"--ch {ch}: the official network has 32 groups in each norm, so 32 must divide it.")
    if outside := [level for level in attention if not 0 <= level < len(mult)]:
        raise UserError(f"--attn {outside[0]}: there are levels 0 ... {len(mult) - 1} only.")
    channels = tuple(ch * m for m in mult)
    return json.dumps(unet_architecture(channels, tuple(attention), blocks, groups=32, dropout=flags["dropout"]))


def train_notices(flags: Flags) -> list[str]:
    """What to say of combinations of flags, in one line each."""
    transfer, tau, given = flags["transfer_x0"], flags["transfer_tr_tau"], flags.given
    without_effect = (
        ("--transfer_tr_tau without --transfer_x0", tau and not transfer),
        ("--tr_tau without --transfer_tr_tau", "tr_tau" in given and not tau),
        ("--transfer_mode beside --transfer_tr_tau", "transfer_mode" in given and tau and transfer),
        ("--transfer_mode without --transfer_x0 (this trains DDPM)", "transfer_mode" in given and not transfer),
        ("--cfg without --conditional", flags["cfg"] and not flags["conditional"]),
    )
    lines = [f"{what}: no effect, in the official code as here" for what, holds in without_effect if holds]
    if flags["ch"] < 128 and flags["train"]:
        lines.append(
            f"--ch {flags['ch']}: with 32 groups as in the official code, a norm over fewer than 4 channels takes most "
            "of the time and label embedding away; `t2h train --network small` does not"
        )
    return lines


def transfer_table(found: Transfer) -> str:
    """The share of transfers by t as text, in ten rows."""
    lines = ["           t   transferred   within the class   across classes"]
    for low, high in pairwise(found.t_edges[:: len(found.total) // 10]):
        within, across = (found.share(of, low, high) for of in (found.within, found.across))
        lines.append(f"{low:>5.0f} … {high - 1:<4.0f} {within + across:>13.1%} {within:>18.1%} {across:>16.1%}")
    return "\n".join(lines)
