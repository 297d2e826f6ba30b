"""Reading a pipeline folder that may come from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import ModelMixin, SchedulerMixin
from diffusers.utils import logging

from t2h.files import read_object, reading
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
        for part, base in (("unet", ModelMixin), ("scheduler", SchedulerMixin)):
            library, name = index[part]
            found = getattr(diffusers, name, None) if library == "diffusers" else None
            if not (isinstance(found, type) and issubclass(found, base)):
                raise TypeError(f"its {part} is {library}.{name}")
        shown = logging.is_progress_bar_enabled()  # it says nothing for two small parts
        logging.disable_progress_bar()
        try:
            pipeline = kind.from_pretrained(folder, use_safetensors=True, local_files_only=True)
        finally:
            if shown:
                logging.enable_progress_bar()
        if any(weight.is_meta for weight in pipeline.unet.parameters()):
            raise ValueError("weights are missing")
        if min(pipeline.image_shape) < 1:
            raise ValueError(f"images of {pipeline.image_shape}")
        _ = pipeline.sampling, Process.of(pipeline.scheduler)  # check themselves
        pipeline.unet.to(memory_format=torch.channels_last)
        return pipeline
