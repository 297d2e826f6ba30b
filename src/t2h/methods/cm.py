"""CM, capacity manipulation: Hong et al., "Improving Diffusion Models for Class-Imbalanced Training Data via Capacity
Manipulation", ICLR 2026.

A part of the network's capacity is reserved for rare classes. The weights of the convolutions on the up path become
W = W_g + BA, a general part and a low-rank expert part; the network that is trained and sampled is the whole. With
f_{g+e} its output (in the paper ε), f_g that of the general part alone, N_y the number of training images of class y,
of C classes:

    D = ‖f_{g+e} - f_g‖²
    + λ (w_con ω_con^y D - w_div ω_div^y D),   ω_con^y = C N_y/Σ N,   ω_div^y = C/(N_y Σ 1/N)

so frequent classes do without the expert part and rare ones use it.

As in the released code (Feng-Hong/ImbDiff-CM, 04262d7): the parts stand beside both 3×3 convolutions of every up block
and the 3×3 of every upsampling, not beside the 1×1 shortcuts. With k = 3 and r = ⌊0.1 min(in, out)⌋, at least 1, A is r
k × in k and B out k × r k, and BA is read row by row as out × in × k × k: as a matrix out × in k² its rank is up to r
k², not r. B begins as zero and A as normal with variance 1/(3 in k). λ = 1; ‖·‖² is the mean over the elements; both
outputs get gradients; C is the number of classes, also of those without images; samples without label keep the weight
of their true class. The second term has no lower bound, so watch `cm` in the metrics when raising w_div.

The released recipe has w_con = 1, w_div = 0.2, and switches T2H on; here that is `t2h+cm`, and `cm` alone is CM alone.

*Ours*: classes without images do not enter Σ 1/N; the moving average follows the merged weights W_g + BA, where theirs
follows A, B and W_g apart.

With a rectified flow (not in the paper) f is the velocity; the term does not look at t.

Cost: two network passes instead of one in training, both with gradient. Merged for sampling: no cost there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from t2h.errors import UserError, check_ranges
from t2h.methods.base import Batch, Context, Denoiser, Loss, Method, Term
from t2h.process import Images


class LowRank(nn.Module):
    """BA beside one k × k convolution, whose weights are left as they are; ``ratio`` is r over min(in, out)."""

    def __init__(self, conv: nn.Conv2d, ratio: float) -> None:
        super().__init__()
        out, inputs, k, _ = self.shape = conv.weight.shape
        rank = max(1, int(ratio * min(out, inputs)))
        self.a = nn.Parameter(nn.init.kaiming_normal_(torch.empty(rank * k, inputs * k), a=5**0.5))
        self.b = nn.Parameter(torch.zeros(out * k, rank * k))

    def weight(self) -> Float[Tensor, "o i k k"]:
        """BA, in the shape of the convolution's weights."""
        return (self.b @ self.a).view(self.shape)


class CapacityManipulation(Term):
    """The expert parts, and the term that fills them with rare classes.

    ``class_weight`` is that of D for each class, (K,): positive keeps the expert part out, negative draws it in.
    """

    name = "cm"
    passes = 1
    class_weight: Tensor

    def __init__(self, class_weight: Float[Tensor, " k"], ratio: float) -> None:
        super().__init__()
        self.register_buffer("class_weight", class_weight.float(), persistent=False)
        self.ratio, self.enabled = ratio, True
        self.experts = nn.ModuleList()
        self._convolutions: tuple[nn.Conv2d, ...] = ()  # a tuple, not modules of ours: the network owns them

    def attach(self, denoiser: nn.Module) -> None:
        """Put an expert part beside every 3×3 convolution on the up path.

        Raises:
            UserError: if the network has no up path with such convolutions.
        """
        self._convolutions = tuple(
            module
            for name, module in denoiser.named_modules()
            if "up_blocks" in name.split(".") and isinstance(module, nn.Conv2d)
            if module.kernel_size == (3, 3) and module.groups == 1
        )
        if not self._convolutions:
            raise UserError(
                "cm adds low-rank parts to the 3×3 convolutions in up_blocks; this network has none. Take a U-Net."
            )
        for conv in self._convolutions:
            expert = LowRank(conv, self.ratio)
            self.experts.append(expert)
            conv.forward = self._with_expert(conv, expert)  # type: ignore[assignment,method-assign]

    def _with_expert(self, conv: nn.Conv2d, expert: LowRank) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            weight = conv.weight + expert.weight() if self.enabled else conv.weight
            return F.conv2d(x, weight, conv.bias, conv.stride, conv.padding, conv.dilation)

        return forward

    @contextmanager
    def general_part(self) -> Iterator[None]:
        """Inside, the network is W_g alone."""
        self.enabled = False
        try:
            yield
        finally:
            self.enabled = True

    def forward(self, denoiser: Denoiser, batch: Batch, output: Images, bottleneck: Tensor | None = None) -> Loss:
        if not self.experts:
            raise RuntimeError("cm must see the network before training: call Objective.attach(denoiser).")
        with self.general_part():
            general = denoiser(batch.xt, batch.t, batch.label)
        distance = (output.float() - general.float()).square().flatten(1).mean(dim=1)
        return (self.class_weight[batch.y] * distance).mean()

    def added(self) -> dict[Tensor, Tensor]:
        """BA of every convolution."""
        pairs = zip(self._convolutions, self.experts, strict=True)
        return {conv.weight: expert.weight() for conv, expert in pairs}  # type: ignore[operator]


def capacity_weights(class_counts: Int[Tensor, " k"], w_con: float, w_div: float) -> Float[Tensor, " k"]:
    """w_con ω_con^y - w_div ω_div^y, float64 (K,); 0 for a class without images."""
    n = class_counts.double()
    inverse = torch.where(class_counts > 0, 1 / n, 0.0)
    return len(n) * (w_con * n / n.sum() - w_div * inverse / inverse.sum())


@dataclass(frozen=True)
class CM(Method):
    """Capacity manipulation (Hong et al., ICLR 2026): low-rank parts of the up path are reserved for rare classes."""

    strength: float = 1.0
    """λ."""
    w_con: float = 1.0
    """Weight of the consistency of frequent classes."""
    w_div: float = 0.2
    """Weight of the diversity of rare classes."""
    rank_ratio: float = 0.1
    """r of the low-rank parts over min(in, out), in (0, 1]."""

    def __post_init__(self) -> None:
        check_ranges(self, "cm.", strength="[0, inf)", w_con="[0, inf)", w_div="[0, inf)", rank_ratio="(0, 1]")

    def term(self, context: Context) -> Term:
        weight = self.strength * capacity_weights(context.class_counts, self.w_con, self.w_div)
        return CapacityManipulation(weight, self.rank_ratio)
