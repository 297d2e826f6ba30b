"""What a method is made of.

The common ground of all methods: a clean image x_0 of class y is noised to x_t, and the network sees (x_t, t, label). A
method may say which clean image to *aim* at in place of x_0, *add* a term to the loss, and *weigh* the classes. The
process turns the aim into what the network is taught, whatever it predicts. No method knows another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from t2h.errors import UserError
from t2h.process import Images, Process, Times

Loss = Float[Tensor, ""]
DrawBatches = Callable[[int], "Sequence[Batch]"]  # of so many images at least, as training draws them
Mean = Callable[[Tensor], Tensor]  # over the processes of a training
References = Literal["ranks", "batch", "bank", "balanced", "all"]


def bottleneck_channels(denoiser: nn.Module, method: str) -> int:
    """How many channels the bottleneck of a denoiser has; `UserError` if it has none, which the method needs."""
    channels = getattr(denoiser, "bottleneck_channels", None)
    if channels is None:
        raise UserError(f"{method} looks at a bottleneck (mid_block or transformer_blocks); this network has none.")
    return channels


@runtime_checkable
class Denoiser(Protocol):
    """Any network that predicts what its process says: a U-Net, a transformer, a closed form.

    For terms that look at its bottleneck it also has `with_bottleneck` and `bottleneck_channels`, as `UNetDenoiser`.
    """

    def __call__(self, xt: Images, t: Times, class_labels: Int[Tensor, " b"] | None) -> Images:
        """The output at (x_t, t, y); label K means "no label", and None an unconditional network."""


@dataclass(frozen=True)
class Batch:
    """Training images, noised.

    Attributes:
        x0: clean images in [-1, 1], (B, C, H, W).
        y: true classes, int64 (B,), 0 ... K-1.
        t: times, (B,), as the process draws them.
        eps: standard normal noise, like x0.
        xt: the noised images.
        label: what the network sees: y, or K where the label is dropped; None for an unconditional network.
        dropped: where the label is dropped, bool (B,); all False for an unconditional network.
        reference_x0: candidates for another clean image, (N, C, H, W), the images of the batch among them.
        reference_y: their classes, int64 (N,).
        own: which reference each image is itself, int64 (B,).
        generator: the source of every draw that a method makes.
        augmentation: the parameters of the augmentation of x0, (B, P); None without one. The training gives them to the
            network in every pass.
        shared: references from this one on are candidates for every sample; each before it for its own sample alone.
        halves: ½‖x_0^j‖² of the references, float64 (N,), where they are the same at every step.
    """

    x0: Images
    y: Int[Tensor, " b"]
    t: Times
    eps: Images
    xt: Images
    label: Int[Tensor, " b"] | None
    dropped: Bool[Tensor, " b"]
    reference_x0: Float[Tensor, "n c h w"]
    reference_y: Int[Tensor, " n"]
    own: Int[Tensor, " b"]
    generator: torch.Generator
    augmentation: Float[Tensor, "b p"] | None = None
    shared: int = 0
    halves: Float[Tensor, " n"] | None = None

    @classmethod
    def noised(
        cls,
        process: Process,
        x0: Images,
        y: Int[Tensor, " b"],
        generator: torch.Generator,
        null_label: int | None,
        label_dropout: float = 0.1,
        augmentation: Float[Tensor, "b p"] | None = None,
    ) -> Batch:
        """Draw t, ε and which labels are dropped, each with this chance; the references are the images themselves."""
        n, device = len(x0), x0.device
        t = process.draw_t(n, generator, device)
        eps = torch.randn(x0.shape, generator=generator, device=device, dtype=x0.dtype)
        chance = torch.rand(n, generator=generator, device=device)
        dropped = chance < (label_dropout if null_label is not None else 0.0)
        label = None if null_label is None else torch.where(dropped, null_label, y)
        xt = process.add_noise(x0, eps, t)
        own = torch.arange(n, device=device)
        return cls(x0, y, t, eps, xt, label, dropped, x0, y, own, generator, augmentation)


@dataclass(frozen=True)
class Context:
    """What a method may know of the training that it is part of.

    Attributes:
        class_counts: number of training images of each class, int64 (K,); an empty class has 0.
        process: the noise process.
        null_label: K; None for an unconditional network.
    """

    class_counts: Int[Tensor, " k"]
    process: Process
    null_label: int | None

    @property
    def class_frequency(self) -> Float[Tensor, " k"]:
        """q(y), the share of each class among the training images, float64 (K,)."""
        return self.class_counts.double() / self.class_counts.sum()

    def labels_for(self, method: str) -> int:
        """K, for a method that needs labels; `UserError` if the network is unconditional."""
        if self.null_label is None:
            raise UserError(f"{method} compares outputs under two labels; it needs a conditional network.")
        return self.null_label


class Aim(nn.Module):
    """Which clean images to aim at. Subclasses define `forward`."""

    references: References | None = "ranks"
    """Which references training must give, as `T2H.references`; None for an aim that looks at none."""

    def forward(self, batch: Batch) -> Images:
        """x̂_0 of every sample, (B, C, H, W); called without gradient and in full precision."""
        raise NotImplementedError

    def calibrate(self, draw: DrawBatches, mean: Mean) -> None:
        """Learn from batches, once, before training begins; what is learned is part of the aim's state."""

    def counts(self) -> dict[str, Tensor]:
        """What this process has counted since training began: its own int64 buffers, which add up over processes."""
        return {}

    def statistics(self) -> dict[str, object]:
        """The counts as plain values for metrics.jsonl (waits for the device)."""
        return {}


class Term(nn.Module):
    """A term that is added to the loss. Subclasses define `forward`, and `name`, the term's in metrics.jsonl."""

    name: str
    passes: int = 0
    """Passes through the network that it adds to the one that is made anyway."""
    needs_bottleneck: bool = False
    """Whether `forward` needs the bottleneck of that one."""

    def forward(self, denoiser: Denoiser, batch: Batch, output: Images, bottleneck: Tensor | None = None) -> Loss:
        """The term, already weighted: a mean over the batch, where a sample that the method skips counts as zero.

        ``output`` and ``bottleneck`` (B, k, i, j) are the network's at (x_t, t, label). Parameters of the term all take
        part, if with weight zero, so that processes can share gradients.
        """
        raise NotImplementedError

    def attach(self, denoiser: nn.Module) -> None:
        """See the network, once, before the optimiser is made, to make parameters to its measure or add parts."""

    def added(self) -> dict[Tensor, Tensor]:
        """What it adds to weights of the network: {weight: summand}."""
        return {}


class Method:
    """A method as the user names it. Subclasses are frozen dataclasses of its options, and bring what they define."""

    def aim(self, context: Context) -> Aim | None:
        """Which clean images to aim at; None is each image itself."""
        return None

    def term(self, context: Context) -> Term | None:
        """What is added to the loss."""
        return None

    def class_weight(self, context: Context) -> Float[Tensor, " k"] | None:
        """How much the squared error of each class counts, (K,)."""
        return None
