"""Features for small images that ImageNet networks know nothing of: a classifier trained on the reference itself.

A digit of 8x8 pixels, enlarged to 299x299, is a blur to the Inception. A classifier trained on the balanced reference
sees what tells the classes apart, and its accuracy on samples says whether they show what their label promises.
Its metrics compare only with metrics from the same weights; its name carries their hash.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from t2h.errors import UserError
from t2h.features.base import Pixels, extract, pixels_sha256, unit_range
from t2h.features.cache import cached, state_sha256


@dataclass(frozen=True)
class ClassifierConfig:
    """How the classifier is trained. Changing anything here makes another network, with another name."""

    dim: int = 64
    """Length of the feature vector, the layer before the class scores."""
    epochs: int = 25
    """Passes over the images, but at most `max_steps` batches in all."""
    max_steps: int = 2000
    """Upper limit on the number of batches."""
    batch_size: int = 128
    """Images in a batch."""
    learning_rate: float = 4e-3
    """Peak of the one-cycle schedule (AdamW)."""
    held_out: float = 0.1
    """Share of the images that is not trained on and measures the classifier's own accuracy."""
    seed: int = 0
    """Of the initial weights, the order and the shifts."""


class SmallClassifier(nn.Module):
    """Three convolutions, a 2x2 average, a hidden layer (the features), and the class scores."""

    def __init__(self, channels: int, num_classes: int, dim: int) -> None:
        super().__init__()
        widths = (channels, 32, 64, 128)
        blocks: list[nn.Module] = []
        for stride, (before, after) in zip((1, 2, 2), itertools.pairwise(widths), strict=True):
            blocks += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.body = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(512, dim), nn.SiLU())
        self.head = nn.Linear(dim, num_classes)

    def features(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """The hidden layer, for images in [0, 1]."""
        return self.body(x * 2 - 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        return self.head(self.features(x))


class ClassifierFeatures:
    """A trained `SmallClassifier` as a `FeatureExtractor`.

    Attributes:
        accuracy: share of right answers on the reference images that it was not trained on.
    """

    resize = "none"

    def __init__(
        self, state: dict[str, Tensor], image_shape: tuple[int, int, int], accuracy: float, device: torch.device | str
    ) -> None:
        self.num_classes, self.dim = (int(n) for n in state["head.weight"].shape)
        self.image_shape: tuple[int, int, int] | None = image_shape
        self.accuracy, self.device = accuracy, device
        with torch.device("meta"):  # no initial weights, which would cost random numbers of the caller's
            self.network = SmallClassifier(image_shape[0], self.num_classes, self.dim)
        self.network.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()}, assign=True)
        self.network.to(device).eval().requires_grad_(False)
        self.sha256 = state_sha256(state)
        self.name = f"classifier-{self.sha256[:8]}"

    def __call__(self, images: Pixels) -> Float[Tensor, "n d"]:
        return self.network.features(unit_range(images, self.device))

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        return self.network.head(torch.from_numpy(features).to(self.device)).cpu().numpy()

    def tensors(self) -> dict[str, np.ndarray]:
        """What `from_tensors` needs, to be stored beside a reference."""
        state = {name: tensor.cpu().numpy() for name, tensor in self.network.state_dict().items()}
        return state | {"image_shape": np.array(self.image_shape), "accuracy": np.array(self.accuracy)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], device: torch.device | str = "cpu") -> ClassifierFeatures:
        """The classifier that `tensors()` described."""
        state = {name: torch.from_numpy(array) for name, array in tensors.items()}
        channels, height, width = state.pop("image_shape").tolist()
        return cls(state, (channels, height, width), float(state.pop("accuracy")), device)


def train_classifier(
    images: Any,
    labels: Int[np.ndarray, " n"],
    num_classes: int,
    config: ClassifierConfig | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> ClassifierFeatures:
    """A classifier of (balanced, real) images, uint8 (N, C, H, W), with labels 0 ... num_classes-1.

    Seeded, so the same machine trains the same one.

    Raises:
        UserError: if there are fewer than two classes or fewer than 20 images.
    """
    config = config or ClassifierConfig()
    if len(labels) < 20 or len(np.unique(labels)) < 2:
        raise UserError(
            f"{len(labels)} images of {len(np.unique(labels))} classes cannot train a classifier; "
            "give 20 images and 2 classes or more, or other features (--features inception)."
        )
    channels, height, width = (int(n) for n in images.shape[1:])
    # The generators are local: `fork_rng` gives the caller's global state back after the initial weights are drawn.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = SmallClassifier(channels, num_classes, config.dim).to(device).train()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(config.seed)).numpy()
    split = max(1, round(config.held_out * len(labels)))
    held_out, rows = order[:split], order[split:]

    steps = min(config.max_steps, max(1, config.epochs * len(rows) // config.batch_size))
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps + 1)
    generator = torch.Generator().manual_seed(config.seed + 1)
    for _ in tqdm(range(steps), desc="classifier", unit=" steps", disable=None if progress else True, leave=False):
        batch = rows[torch.randint(len(rows), (min(config.batch_size, len(rows)),), generator=generator).numpy()]
        x = _shift(unit_range(torch.from_numpy(np.ascontiguousarray(images[batch])), device), generator)
        loss = F.cross_entropy(network(x), torch.from_numpy(labels[batch]).to(device), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        cycle.step()

    features = ClassifierFeatures(network.state_dict(), (channels, height, width), 0.0, device)
    predicted = features.logits(extract(images[held_out], features, 512)).argmax(1)
    features.accuracy = float((predicted == labels[held_out]).mean())
    return features


def _shift(x: Tensor, generator: torch.Generator) -> Tensor:
    """The whole batch moved by at most one pixel in 16 (at least one) each way, edges repeated."""
    reach = max(1, x.shape[-1] // 16)
    top, left = torch.randint(2 * reach + 1, (2,), generator=generator).tolist()
    padded = F.pad(x, (reach,) * 4, mode="replicate")
    return padded[:, :, top : top + x.shape[2], left : left + x.shape[3]]


def classifier_for(
    images: Any,
    labels: Int[np.ndarray, " n"],
    num_classes: int,
    config: ClassifierConfig | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
    cache: Path | None = None,
) -> ClassifierFeatures:
    """`train_classifier`, done once: the same images, labels and configuration are read back from `cache`."""
    config = config or ClassifierConfig()

    def train() -> dict[str, np.ndarray]:
        return train_classifier(images, labels, num_classes, config, device, progress).tensors()

    key = f"{pixels_sha256(images)}|{hashlib.sha256(labels.tobytes()).hexdigest()}|{num_classes}|{config}"
    return ClassifierFeatures.from_tensors(cached("classifiers", key, train, cache), device)
