"""What training minimises: the error of the network's output, as the methods want it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from t2h.methods.base import Aim, Batch, Denoiser, References, Term
from t2h.methods.transfers import UNIT
from t2h.process import Process


class Objective(nn.Module):
    """‖output - target‖², the mean over all elements, plus terms: what training minimises.

    Args:
        process: says what the network is taught.
        aim: which clean images to aim at; None is each image itself.
        terms: added to the loss.
        class_weight: weight of a sample's squared error by its class, float (K,); None weighs all alike.
    """

    class_weight: Tensor | None

    def __init__(
        self,
        process: Process,
        aim: Aim | None = None,
        terms: Sequence[Term] = (),
        class_weight: Float[Tensor, " k"] | None = None,
    ) -> None:
        super().__init__()
        self.process, self.aim = process, aim
        self.terms = nn.ModuleList(terms)
        self.register_buffer("class_weight", class_weight, persistent=False)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], *rest: object) -> None:
        """Checkpoints of version 0.1 have other names, and counts in float32."""
        for name in [name for name in state_dict if name.startswith(("target.", "regularisers."))]:
            value = state_dict.pop(name)
            if name == "target.counted":
                state_dict["aim.counter.counted"] = (value.double() * UNIT).round().long()
            else:
                state_dict[name.replace("regularisers.", "terms.", 1)] = value
        super()._load_from_state_dict(state_dict, *rest)

    @property
    def passes(self) -> int:
        """Passes through the network a step."""
        return 1 + sum(term.passes for term in self._terms())

    @property
    def references(self) -> References | None:
        """As `Aim.references`."""
        return None if self.aim is None else self.aim.references

    def _terms(self) -> list[Term]:
        return list(self.terms)  # type: ignore[arg-type]

    def attach(self, denoiser: nn.Module) -> None:
        """Show the network to every term, before the optimiser is made."""
        for term in self._terms():
            term.attach(denoiser)

    @torch.no_grad()
    def merged(self, network: nn.Module) -> list[Tensor]:
        """The network's weights in the order of its parameters, with what the terms add to them.

        These are what the moving average follows and what is exported, so that sampling needs the plain network alone.
        """
        weights: dict[Tensor, Tensor] = {weight: weight for weight in network.parameters()}
        for term in self._terms():
            for weight, summand in term.added().items():
                weights[weight] = weights[weight] + summand
        return list(weights.values())

    def forward(self, denoiser: Denoiser, batch: Batch) -> dict[str, Tensor]:
        """The squared error as "mse", then each term under its name; scalars, whose sum is minimised."""
        with torch.no_grad(), torch.autocast(batch.x0.device.type, enabled=False):
            aim = None if self.aim is None else self.aim(batch)
            target = self.process.target(batch.x0, batch.eps, batch.t, aim)
        bottleneck = None
        if any(term.needs_bottleneck for term in self._terms()):
            output, bottleneck = denoiser.with_bottleneck(batch.xt, batch.t, batch.label)  # type: ignore[attr-defined]
        else:
            output = denoiser(batch.xt, batch.t, batch.label)
        error = (output.float() - target.float()).square()
        if self.class_weight is not None:
            error = error * self.class_weight[batch.y].reshape(-1, 1, 1, 1)
        losses = {"mse": error.mean()}
        for term in self._terms():
            losses[term.name] = term(denoiser, batch, output, bottleneck)
        return losses

    def counts(self) -> dict[str, Tensor]:
        """As `Aim.counts`."""
        return {} if self.aim is None else self.aim.counts()

    def statistics(self) -> dict[str, object]:
        """As `Aim.statistics`."""
        return {} if self.aim is None else self.aim.statistics()
