"""What a training objective is made of.

The common ground of all methods: a clean image x_0 of class y is noised to x_t, the network is told (x_t, t, label)
and predicts noise. A method changes *what the prediction should be* (a `Target`), or *adds a term* to the loss (a
`Regulariser`), or both. `NoiseRegression` composes them; no method knows another. Whatever else a method might want
is an `Objective` of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from t2h.errors import UserError
from t2h.process import NoiseSchedule


@runtime_checkable
class Denoiser(Protocol):
    """Anything that predicts the noise in x_t: a U-Net, a transformer, a closed form."""

    def __call__(
        self, xt: Float[Tensor, "b c h w"], t: Int[Tensor, " b"], class_labels: Int[Tensor, " b"] | None
    ) -> Float[Tensor, "b c h w"]:
        """ε_θ(x_t, t, y); label K means "no label", and None an unconditional network."""


@runtime_checkable
class BottleneckDenoiser(Denoiser, Protocol):
    """A denoiser that can also show its bottleneck, for the methods that regularise it.

    Attributes:
        bottleneck_channels: k, the number of channels there.
    """

    @property
    def bottleneck_channels(self) -> int:
        """k."""

    def with_bottleneck(
        self, xt: Float[Tensor, "b c h w"], t: Int[Tensor, " b"], class_labels: Int[Tensor, " b"] | None
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b k i j"]]:
        """ε_θ and the activations after the middle block."""


@dataclass(frozen=True)
class NoisedBatch:
    """A batch of training images, noised.

    Attributes:
        x0: clean images in [-1, 1], (B, C, H, W).
        y: true classes, int64 (B,), 0 ... K-1.
        t: timesteps, int64 (B,), 0 ... T-1.
        eps: standard normal noise, like x0.
        xt: √ᾱ_t x_0 + √(1-ᾱ_t) ε.
        label: what the network is told: y, or K where the label is dropped; None for an unconditional network.
        dropped: where the label is dropped, bool (B,); all False for an unconditional network.
        reference_x0: candidates for another clean image, (N, C, H, W); the training batch itself (of all processes),
            perhaps followed by others.
        reference_y: their classes, int64 (N,).
        offset: where this batch begins in the references: sample i is reference offset + i.
        generator: the source of every draw that an objective makes.
        augmentation: what the network is told of the augmentation of x0, (B, P); None where there is none. Every pass
            of `TrainingModel` is told by itself; objectives need not look at it.
    """

    x0: Float[Tensor, "b c h w"]
    y: Int[Tensor, " b"]
    t: Int[Tensor, " b"]
    eps: Float[Tensor, "b c h w"]
    xt: Float[Tensor, "b c h w"]
    label: Int[Tensor, " b"] | None
    dropped: Bool[Tensor, " b"]
    reference_x0: Float[Tensor, "n c h w"]
    reference_y: Int[Tensor, " n"]
    offset: int
    generator: torch.Generator
    augmentation: Float[Tensor, "b p"] | None = None

    def with_references(self, x0: Float[Tensor, "n c h w"], y: Int[Tensor, " n"], offset: int) -> NoisedBatch:
        """The same batch with other references, for instance those of all processes."""
        return replace(self, reference_x0=x0, reference_y=y, offset=offset)


def noise_batch(
    schedule: NoiseSchedule,
    x0: Float[Tensor, "b c h w"],
    y: Int[Tensor, " b"],
    generator: torch.Generator,
    null_label: int | None,
    label_dropout: float = 0.1,
    dropout_unit: Literal["sample", "batch"] = "sample",
    augmentation: Float[Tensor, "b p"] | None = None,
) -> NoisedBatch:
    """Draw t, ε and the dropped labels, and noise the images.

    Args:
        schedule: the noise schedule.
        x0: clean images in [-1, 1], (B, C, H, W).
        y: their classes, int64 (B,).
        generator: on the device of x0.
        null_label: K, the label that means "none"; None for an unconditional network.
        label_dropout: the chance, in [0, 1], that a label is dropped.
        dropout_unit: "sample" drops each label on its own; "batch" drops all or none, as the official code, unlike
            the paper.
        augmentation: what the network is told of the augmentation of x0.
    """
    n, device = len(x0), x0.device
    t = torch.randint(schedule.num_timesteps, (n,), generator=generator, device=device)
    eps = torch.randn(x0.shape, generator=generator, device=device, dtype=x0.dtype)
    chance = torch.rand(n, generator=generator, device=device)
    if dropout_unit == "batch":
        chance = chance[:1].expand(n)
    dropped = chance < (label_dropout if null_label is not None else 0.0)
    label = None if null_label is None else torch.where(dropped, null_label, y)
    xt = schedule.add_noise(x0, eps, t)
    return NoisedBatch(x0, y, t, eps, xt, label, dropped, x0, y, 0, generator, augmentation)


def full_precision(like: Tensor) -> torch.autocast:
    """A context in which matrix products keep the precision of their factors, inside mixed-precision training too."""
    return torch.autocast(like.device.type, enabled=False)


@dataclass(frozen=True)
class Prediction:
    """What the network said of a batch: ε_θ (B, C, H, W), and its bottleneck where a regulariser asked for it."""

    eps: Float[Tensor, "b c h w"]
    bottleneck: Float[Tensor, "b k i j"] | None = None


class Objective(nn.Module, ABC):
    """What is minimised. May own parameters, which are trained and saved with the network's."""

    @abstractmethod
    def forward(self, denoiser: Denoiser, batch: NoisedBatch) -> dict[str, Tensor]:
        """The terms of the loss by name, each a scalar; their sum is minimised."""

    @property
    def passes(self) -> int:
        """Passes through the network a step."""
        return 1

    def attach(self, denoiser: nn.Module) -> None:
        """As `Regulariser.attach`."""

    def merged(self, network: nn.Module) -> list[Tensor]:
        """The network's weights in the order of its parameters, with whatever the objective added to them folded in.

        These are what the moving average follows and what is exported, so that sampling needs the plain network alone.
        """
        return list(network.parameters())

    def statistics(self) -> dict[str, object]:
        """What the objective has counted since training began, as plain numbers and lists (may wait for the device)."""
        return {}


class Target(nn.Module, ABC):
    """What the network's prediction should be."""

    @abstractmethod
    def forward(self, batch: NoisedBatch) -> Float[Tensor, "b c h w"]:
        """The noise to predict, for every sample of the batch; no gradient."""

    def statistics(self) -> dict[str, object]:
        """As `Objective.statistics`."""
        return {}


class Regulariser(nn.Module, ABC):
    """A term that is added to the loss.

    Attributes:
        name: the name of the term in logs.
        needs_bottleneck: whether `Prediction.bottleneck` must be there.
        passes: how many passes through the network it adds to the one that is made anyway.
    """

    name: str
    needs_bottleneck: bool = False
    passes: int = 0

    @abstractmethod
    def forward(self, denoiser: Denoiser, batch: NoisedBatch, prediction: Prediction) -> Float[Tensor, ""]:
        """The term, already weighted: a mean over the batch, where a sample that the method skips counts as zero.

        Its own parameters all take part, if with weight zero, so that processes can share gradients.
        """

    def attach(self, denoiser: nn.Module) -> None:
        """Look at the network, once, before the optimiser is made, to make parameters to its measure or add parts."""

    def added(self) -> dict[Tensor, Tensor]:
        """What it adds to weights of the network: {weight: summand}."""
        return {}


@dataclass(frozen=True)
class Context:
    """What a method may know of the training that it is part of.

    Attributes:
        class_counts: number of training images of each class, int64 (K,).
        schedule: the noise schedule.
        null_label: K; None for an unconditional network.
    """

    class_counts: Int[Tensor, " k"]
    schedule: NoiseSchedule
    null_label: int | None

    @property
    def class_frequency(self) -> Float[Tensor, " k"]:
        """q(y), the share of each class among the training images, float64 (K,)."""
        return self.class_counts.double() / self.class_counts.sum()

    def labels_for(self, method: str) -> int:
        """K, for a method that cannot do without labels.

        Raises:
            UserError: if the network is unconditional.
        """
        if self.null_label is None:
            raise UserError(f"{method} compares predictions under two labels; it needs a conditional network.")
        return self.null_label


@dataclass(frozen=True)
class Parts:
    """What a method brings to the objective: at most one target, any number of regularisers, a class weight."""

    target: Target | None = None
    regularisers: tuple[Regulariser, ...] = ()
    class_weight: Float[Tensor, " k"] | None = None


@runtime_checkable
class Method(Protocol):
    """A method as the user names it: a frozen dataclass of its options, which knows how to make its parts."""

    def parts(self, context: Context) -> Parts:
        """The method's parts for this training."""


class NoiseRegression(Objective):
    """‖ε_θ(x_t, t, label) - target‖², the mean over all elements, plus regularisers.

    Args:
        target: what to regress to.
        regularisers: terms to add.
        class_weight: weight of a sample's squared error by its class, float (K,); None weighs all alike.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        target: Target,
        regularisers: Sequence[Regulariser] = (),
        class_weight: Float[Tensor, " k"] | None = None,
    ) -> None:
        super().__init__()
        self.target = target
        self.regularisers = nn.ModuleList(regularisers)
        self.register_buffer("class_weight", class_weight, persistent=False)

    def _regularisers(self) -> list[Regulariser]:
        return list(self.regularisers)  # type: ignore[arg-type]

    @property
    def passes(self) -> int:
        """One, and those of the regularisers."""
        return 1 + sum(regulariser.passes for regulariser in self._regularisers())

    def attach(self, denoiser: nn.Module) -> None:
        """Show the network to every regulariser."""
        for regulariser in self._regularisers():
            regulariser.attach(denoiser)

    @torch.no_grad()
    def merged(self, network: nn.Module) -> list[Tensor]:
        """The network's weights plus what the regularisers add to them."""
        weights: dict[Tensor, Tensor] = {weight: weight for weight in network.parameters()}
        for regulariser in self._regularisers():
            for weight, summand in regulariser.added().items():
                weights[weight] = weights[weight] + summand
        return list(weights.values())

    def forward(self, denoiser: Denoiser, batch: NoisedBatch) -> dict[str, Tensor]:
        """The squared error as "mse", then each regulariser's term under its name."""
        regularisers = self._regularisers()
        with torch.no_grad(), full_precision(batch.x0):
            target = self.target(batch)
        if any(regulariser.needs_bottleneck for regulariser in regularisers):
            prediction = Prediction(*denoiser.with_bottleneck(batch.xt, batch.t, batch.label))  # type: ignore[attr-defined]
        else:
            prediction = Prediction(denoiser(batch.xt, batch.t, batch.label))
        error = (prediction.eps.float() - target.float()).square()
        if self.class_weight is not None:
            error = error * self.class_weight[batch.y].reshape(-1, 1, 1, 1)
        terms = {"mse": error.mean()}
        for regulariser in regularisers:
            terms[regulariser.name] = regulariser(denoiser, batch, prediction)
        return terms

    def statistics(self) -> dict[str, object]:
        """What the target has counted."""
        return self.target.statistics()
