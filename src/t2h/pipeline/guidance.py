"""Guidance: from two outputs at one x_t to the one that is followed.

    f + w (f - g) = g + (1 + w) (f - g)

f is the network's output for the label. g is its output without label (classifier-free guidance, Ho and Salimans 2022),
or another network's for the label (autoguidance, Karras et al. 2024, "Guiding a diffusion model with a bad version of
itself"). Outside an interval of t/T, w is 0 (Kynkäänniemi et al. 2024, "Applying guidance in a limited interval
improves sample and distribution quality in diffusion models").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from jaxtyping import Float
from torch import Tensor, nn

from t2h.errors import UserError
from t2h.files import recover
from t2h.pipeline.read import read_average, read_folder
from t2h.process import Process

Scale = float | Float[Tensor, "b 1 1 1"]


def scale_of(given: float | Sequence[float], count: int, like: Tensor) -> Scale:
    """1 + w of all images, or of each.

    Raises:
        UserError: if there are not as many numbers as images.
    """
    if not isinstance(given, Sequence):
        return given
    if len(given) != count:
        raise UserError(f"{len(given)} guidance scales for {count} images; give one number, or one per image.")
    if len(set(given)) == 1:
        return given[0]
    return torch.tensor(given, dtype=like.dtype, device=like.device).reshape(-1, 1, 1, 1)


def guided(
    network: ModelMixin,
    guide: ModelMixin | None,
    xt: Float[Tensor, "b c h w"],
    t: Tensor,
    label: Tensor | None,
    null: Tensor | None,
    scale: Scale,
) -> Float[Tensor, "b c h w"]:
    """g + scale (f - g), in one pass of 2B images, one of each network with a ``guide``, or one of B where f is all."""

    def output(of: Any, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        return of(x, times, labels, return_dict=False)[0].to(xt.dtype)  # inside autocast it has another

    if not isinstance(scale, Tensor) and scale == 1:
        return output(network, xt, t, label)
    if guide is not None:
        f, g = output(network, xt, t, label), output(guide, xt, t, label)
    elif label is None or null is None or label is null:
        return output(network, xt, t, label)
    else:
        f, g = output(network, torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([label, null])).chunk(2)
    return g + scale * (f - g)


def pipeline_folder(source: Path) -> Path | None:
    """The pipeline folder of a run, or of itself; None where there is none."""
    folders = (recover(source / "pipeline"), recover(source))
    return next((folder for folder in folders if (folder / "model_index.json").is_file()), None)


def load_guide(source: str, pipeline: Any) -> ModelMixin:
    """The network that guides a pipeline: of a run, of a pipeline folder, or the average in a checkpoint of a run.

    Raises:
        UserError: if there is none, or it is of other classes, images or another process.
    """
    path = Path(source)
    folder = pipeline_folder(path.parent.parent if path.is_file() else path)
    if folder is None:
        raise UserError(
            f"the guide {source} is no run, no pipeline folder and no checkpoint of a run; give --guide one."
        )
    kind = type(pipeline)
    other = read_average(kind, folder, path) if path.is_file() else read_folder(kind, folder)
    for what, of in {
        "classes": lambda p: p.config["class_names"] if p.num_classes else None,
        "images": lambda p: p.image_shape,
        "process": lambda p: Process.of(p.scheduler),
    }.items():
        if of(other) != of(pipeline):
            raise UserError(f"the guide {source} has other {what} than the network: {of(other)}, not {of(pipeline)}.")
    return nn.Module.to(other.unet, pipeline.unet.dtype)  # the method of diffusers warns
