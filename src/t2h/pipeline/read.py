"""Reading pipeline folders, and the checkpoints of runs, that may come from anywhere."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import ModelMixin, SchedulerMixin

from t2h.errors import UserError
from t2h.files import check_kind, read_object, reading
from t2h.pipeline.autoencoder import KINDS, silent
from t2h.process import Process


def read_folder(kind: Any, folder: Path) -> Any:
    """The pipeline of the class ``kind`` in a folder, in the memory layout that convolutions are fastest in.

    The folder chooses a network and a scheduler among diffusers' classes, and no other code; weights are safetensors.

    Raises:
        UserError: if a part is missing, damaged or of another kind.
    """
    with reading(folder, "whole pipeline folder", "take another, or make it anew from its run or checkpoint"):
        for file in folder.rglob("*.json"):
            read_object(file)
        index = read_object(folder / "model_index.json")
        kinds = {"unet": ModelMixin, "scheduler": SchedulerMixin, "vae": tuple(KINDS.values())}
        for part in ("unet", "scheduler", *(["vae"] if (index.get("vae") or [None])[0] else [])):
            library, name = index[part]
            found = getattr(diffusers, name, None) if library == "diffusers" else None
            if not (isinstance(found, type) and issubclass(found, kinds[part])):
                raise TypeError(f"its {part} is {library}.{name}")
        with silent():
            pipeline = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        parts = [pipeline.unet] if pipeline.vae is None else [pipeline.unet, pipeline.vae]
        if any(weight.is_meta for part in parts for weight in part.parameters()):
            raise ValueError("weights are missing")
        if min(pipeline.image_shape) < 1:
            raise ValueError(f"images of {pipeline.image_shape}")
        _ = pipeline.sampling, Process.of(pipeline.scheduler)  # check themselves
        pipeline.unet.to(memory_format=torch.channels_last)
        return pipeline


def read_average(kind: Any, folder: Path, file: Path) -> Any:
    """The pipeline of a run in its folder, with the average weights of one of the run's checkpoints.

    Raises:
        UserError: as `read_folder` and `read_checkpoint`, or if the checkpoint is of another network.
    """
    pipeline = read_folder(kind, folder)
    state = read_checkpoint(file)
    with reading(file, "checkpoint of this run", "give another one, or the run"):
        pipeline.unet.load_state_dict(state["ema"])
        pipeline.register_to_config(images_seen=int(state["images_seen"]))
    return pipeline


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The content of a checkpoint, if every byte is as it was written, as far as the archive's CRC-32 tell.

    Raises:
        UserError: if it cannot be read, is damaged, or is none of ours.
    """
    check_kind(file)
    try:
        with zipfile.ZipFile(file) as archive:
            if (bad := archive.testzip()) is not None:
                raise ValueError(bad)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes them raise almost anything
        raise UserError(f"{file} cannot be read as a checkpoint: it is damaged or none.") from error
    if not isinstance(state, dict) or state.get("format") != "t2h-checkpoint":
        raise UserError(f"{file} is no checkpoint of t2h.")
    return state
