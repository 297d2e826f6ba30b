"""What every method on the shelf keeps, alone and combined."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from objective_tools import COUNTS, SCHEDULE, UNCONDITIONAL, K, digits_batch, objective, small_denoiser, train
from t2h import UserError
from t2h.methods import METHODS, MethodOptions, build_objective
from t2h.methods.base import Context
from t2h.methods.t2h import T2H
from t2h.network import UNetDenoiser

COMBINED = ("t2h+cbdm", "t2h+cm", "ccua+cm", "t2h+coral+ccua", "stf+cm+reweighting", "ddpm+cbdm", "coral+cm")


def learner(name: str, dropout: float = 0.3):
    """The loss of a method on one batch, always with the same draws, and the weights that learn from it."""
    denoiser = small_denoiser()
    method = objective(name, denoiser)

    def loss() -> torch.Tensor:
        return torch.stack(list(method(denoiser, digits_batch(dropout=dropout)).values())).sum()

    return loss, denoiser, method


@pytest.mark.parametrize("name", METHODS + COMBINED)
def test_training_on_a_batch_lowers_its_loss_and_keeps_the_null_row_zero(name):
    loss, denoiser, method = learner(name)
    weights = [*denoiser.parameters(), *method.parameters()]
    before, after, gradients = train(loss, weights, steps=4)
    assert after < before
    embedding = denoiser.unet.class_embedding.weight
    position = next(i for i, weight in enumerate(weights) if weight is embedding)
    assert torch.all(embedding[K] == 0)
    assert torch.all(gradients[position][K] == 0)
    assert gradients[position][:9].abs().sum() > 0
    assert len(gradients) == len(weights)  # everything learns: processes can share gradients without looking for gaps


@pytest.mark.parametrize("name", METHODS)
def test_every_weight_has_a_gradient_where_all_labels_are_dropped(name):
    loss, denoiser, method = learner(name, dropout=1.0)
    _, after, gradients = train(loss, [*denoiser.parameters(), *method.parameters()])
    assert len(gradients) == sum(1 for _ in [*denoiser.parameters(), *method.parameters()])
    assert torch.isfinite(torch.tensor(after))


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_one(name):
    denoiser = small_denoiser()
    terms = objective(name, denoiser)(denoiser, digits_batch(1))
    assert all(term.isfinite() and term.ndim == 0 for term in terms.values())


class Counted(UNetDenoiser):
    """A denoiser that counts its passes."""

    calls = 0

    def forward(self, xt, t, class_labels):
        self.calls += 1
        return super().forward(xt, t, class_labels)


@pytest.mark.parametrize("name", METHODS + COMBINED)
def test_passes_are_what_is_announced(name):
    denoiser = Counted(small_denoiser().unet)
    method = objective(name, denoiser)
    method(denoiser, digits_batch())
    assert denoiser.calls == method.passes


@pytest.mark.parametrize("name", ["ddpm", "t2h", "stf", "cm", "coral"])
def test_unconditional_networks(name):
    denoiser = small_denoiser(conditional=False)
    method = build_objective(name, MethodOptions(), UNCONDITIONAL, denoiser)
    terms = method(denoiser, digits_batch(null_label=None))
    assert all(term.isfinite() for term in terms.values())


@pytest.mark.parametrize("name", METHODS)
def test_bfloat16_predictions(name):
    denoiser = small_denoiser()
    method = objective(name, denoiser)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method(denoiser, digits_batch())
    assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


@pytest.mark.parametrize("name", ["stf", "t2h"])
def test_targets_keep_full_precision(name):
    options = {"t2h": T2H(estimate="expectation")} if name == "t2h" else {}
    targets = []
    for enabled in (True, False):
        method, batch = objective(name, **options), digits_batch()

        def zero(xt, _t, _y):
            return torch.zeros_like(xt)

        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            targets.append(method(zero, batch)["mse"].item())
    assert targets[0] == targets[1]


def test_without_additions_the_merged_weights_are_the_network_s():
    denoiser = small_denoiser()
    merged = objective("t2h+cbdm+coral", denoiser).merged(denoiser.unet)
    assert all(a is b for a, b in zip(merged, denoiser.unet.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("t2h+stf", "t2h and stf do not combine: each brings its own aim"),
        ("cbdm+diffrop", "do not combine"),
        ("cbdm+cbdm", "twice"),
        ("cbmd", "did you mean 'cbdm'"),
        ("t2h+", "unknown objective ''"),
    ],
)
def test_what_does_not_combine(name, says):
    with pytest.raises(UserError, match=says):
        build_objective(name, MethodOptions(), Context(COUNTS, SCHEDULE, K))


COMPILED = """
import sys

import torch
from objective_tools import digits_batch, objective, small_denoiser
from t2h.data.augment import PARAMETERS
from t2h.network import UNetDenoiser, augmentation_embedding


def learned(name, compiled):
    torch.manual_seed(0)
    unet = small_denoiser().unet.train()
    denoiser = UNetDenoiser(unet, augmentation_embedding(unet, PARAMETERS))
    method = objective(name, denoiser)
    weights = [*denoiser.parameters(), *method.parameters()]
    optimiser = torch.optim.Adam(weights, lr=1e-3)
    if compiled:
        unet.compile(backend="eager")
    steps = []
    for step in range(2):
        optimiser.zero_grad()
        with denoiser.conditioned_on(torch.full((16, PARAMETERS), 0.1 * step)):
            terms = method(denoiser, digits_batch(seed=step, dropout=0.3))
        torch.stack(list(terms.values())).sum().backward()
        steps.append((terms, [weight.grad.clone() for weight in weights]))
        optimiser.step()
    return steps


for name in sys.argv[1:]:
    torch._dynamo.reset()
    torch.testing.assert_close(learned(name, True), learned(name, False), rtol=1e-5, atol=1e-7)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
"""


@pytest.mark.parametrize("names", [["ccua"], pytest.param([*METHODS, "t2h+cm+coral+ccua"], marks=pytest.mark.slow)])
def test_every_method_learns_the_same_in_a_compiled_network(names):
    """Two steps, losses and gradients. In a process of its own: the tests' type checks cannot be compiled."""
    subprocess.run([sys.executable, "-c", COMPILED, *names], cwd=Path(__file__).parent, check=True)


def test_checkpoints_of_version_0_1_are_read():
    """Its objective called the aim a target and the terms regularisers, and counted in float32."""
    method = objective("t2h+cm+coral", small_denoiser())
    method(small_denoiser(), digits_batch())
    state = method.state_dict()
    old = {name.replace("terms.", "regularisers."): value for name, value in state.items()}
    old["target.counted"] = old.pop("aim.counter.counted").float() / 2**20
    fresh = objective("t2h+cm+coral", small_denoiser())
    fresh.load_state_dict(old)
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert fresh.statistics()["transfer"]["total"] == method.statistics()["transfer"]["total"]
