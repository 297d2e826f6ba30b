"""Features from anywhere else: any `module:callable`, and any vision model of transformers."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from t2h.errors import UserError
from t2h.features.base import FeatureExtractor, Pixels, file_sha256, state_sha256, unit_range


class CallableFeatures(FeatureExtractor):
    """A function from images (N, C, H, W), float in [0, 1], to features (N, D), as a `FeatureExtractor`.

    Attributes:
        sha256: of the weights where the callable is a torch module, else of the file that defines it.
        dim: its attribute `dim`, or 0 until the first call.
    """

    resize = "its own"

    def __init__(
        self, function: Callable[[Tensor], Tensor], name: str, sha256: str, device: torch.device | str
    ) -> None:
        self.function, self.name, self.sha256, self.device = function, name, sha256, device
        self.dim = int(getattr(function, "dim", 0))

    def __call__(self, images: Pixels) -> Float[Tensor, "n d"]:
        """Whatever the callable returns, checked to be (N, D), as float32."""
        with torch.inference_mode():
            features = self.function(unit_range(images, self.device))
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise UserError(f"{self.name} returned {got} for {len(images)} images; a tensor (N, D) is needed.")
        self.dim = features.shape[1]
        return features.float()


def load_callable(spec: str, device: torch.device | str = "cpu") -> FeatureExtractor:
    """`package.module:callable`. A `FeatureExtractor` is taken as it is; modules may lie in the working directory.

    Raises:
        UserError: if there is no such module or callable.
    """
    module_name, _, attribute = spec.partition(":")
    module = _import(module_name, spec)
    function = getattr(module, attribute, None)
    if isinstance(function, FeatureExtractor) and not isinstance(function, type):
        return function
    if not callable(function):
        raise UserError(f"features {spec!r}: the module {module_name} has no callable {attribute!r}.")
    if isinstance(function, nn.Module):
        function.to(device).eval()
        return CallableFeatures(function, spec, state_sha256(function.state_dict()), device)
    return CallableFeatures(function, spec, file_sha256(Path(str(module.__file__))), device)


def _import(name: str, spec: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"features {spec!r}: {error}. Give module:callable, importable from here.") from error
    finally:
        sys.path.remove(os.getcwd())


class TransformersFeatures(FeatureExtractor):
    """The pooled output of a vision model of transformers (ViT, DINOv2, CLIP's images) as a `FeatureExtractor`.

    Args:
        source: a folder, or a name on the Hub.
        device: where it runs.
        download: whether a name may be fetched; otherwise only what is already here is used.

    Raises:
        UserError: if the extra `transformers` is missing, the model is not here, or it is no vision model.
    """

    resize = "bicubic-antialias"

    def __init__(self, source: str, device: torch.device | str = "cpu", download: bool = False) -> None:
        try:
            from transformers import AutoModel
        except ImportError as error:
            raise UserError("features hf:... need the extra: pip install 't2h[transformers]'.") from error
        try:
            model = AutoModel.from_pretrained(source, local_files_only=not download)
        except (OSError, ValueError) as error:
            hint = "" if download else " It is looked for on this machine only; `t2h reference --download` fetches it."
            raise UserError(f"features hf:{source}: {str(error).splitlines()[0]}{hint}") from error
        model = getattr(model, "vision_model", model)
        if not hasattr(model.config, "image_size"):
            raise UserError(
                f"features hf:{source}: {type(model).__name__} says no image_size; a vision model is needed."
            )
        size = model.config.image_size
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.model, self.device = model.to(device).eval().requires_grad_(False), device
        self.mean, self.std = (torch.tensor(v).reshape(-1, 1, 1).to(device) for v in _normalisation(source, download))
        self.name, self.sha256 = f"hf:{source}", state_sha256(model.state_dict())
        self.dim = int(model.config.hidden_size)

    def __call__(self, images: Pixels) -> Float[Tensor, "n d"]:
        """The model's pooler output where it has one, else its first token; float32."""
        x = unit_range(images, self.device).expand(-1, 3, -1, -1)
        x = F.interpolate(x, self.size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        with torch.inference_mode():
            output: Any = self.model(pixel_values=(x - self.mean) / self.std)
        pooled = getattr(output, "pooler_output", None)
        return (output.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)).float()


def _normalisation(source: str, download: bool) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel from the model's `preprocessor_config.json`, or 0.5 where it has none."""
    path: str | None = str(Path(source) / "preprocessor_config.json")
    if not Path(source).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            path = hf_hub_download(source, "preprocessor_config.json", local_files_only=not download)
        except EntryNotFoundError:
            path = None
    if path is None or not Path(path).is_file():
        return [0.5] * 3, [0.5] * 3
    config = json.loads(Path(path).read_text())
    return config.get("image_mean", [0.5] * 3), config.get("image_std", [0.5] * 3)
