"""DiffROP, our reading: equal to a loop over the equation; the other class is another one; the hinge lets go."""

from __future__ import annotations

import pytest
import torch

from objective_tools import (
    CONTEXT,
    COUNTS,
    SCHEDULE,
    UNCONDITIONAL,
    K,
    digits_batch,
    gradients,
    misspelt,
    objective,
    small_denoiser,
)
from t2h import UserError
from t2h.methods.base import Context
from t2h.methods.diffrop import DiffROP, ImageOverlap, OverlapPenalty


class Scripted(OverlapPenalty):
    """The penalty with given other classes."""

    other: torch.Tensor

    def draw(self, batch):
        return self.other


def kl_per_dimension(t: int, difference: torch.Tensor) -> float:
    """KL of the two reverse steps from their means, μ = (x_t - β/√(1-ᾱ) ε)/√α, both with variance β."""
    beta, alpha_bar = float(SCHEDULE.beta[t]), float(SCHEDULE.alpha_bar[t])
    mean_difference = beta / (1 - alpha_bar) ** 0.5 * difference.double() / (1 - beta) ** 0.5
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean_difference, beta**0.5), torch.distributions.Normal(0.0, beta**0.5)
    )
    return float(kl.mean())


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_term_is_the_loop(dropout):
    denoiser, batch = small_denoiser(), digits_batch(dropout=dropout)
    penalty = Scripted(CONTEXT.class_frequency, SCHEDULE, strength=0.3, margin=0.004)
    penalty.other = (batch.y + 1) % (K - 1)
    with torch.no_grad():
        eps = denoiser(batch.xt, batch.t, batch.label)
        term = penalty(denoiser, batch, eps)
        difference = eps - denoiser(batch.xt, batch.t, penalty.other)
    hinges = [max(0.0, 0.004 - kl_per_dimension(int(t), d)) for t, d in zip(batch.t, difference, strict=True)]
    hinges = [0.0 if dropped else hinge for dropped, hinge in zip(batch.dropped, hinges, strict=True)]
    assert term.item() == pytest.approx(0.3 * sum(hinges) / len(hinges), rel=1e-3)
    assert any(hinges)
    assert not all(hinges)


def test_the_weight_over_time():
    weight = SCHEDULE.step_divergence(torch.arange(1000))
    assert weight[0].item() == pytest.approx(0.5, rel=1e-3)
    assert weight[-1].item() == pytest.approx(0.01, rel=0.03)


def test_the_other_class_is_another_one_by_frequency():
    penalty = DiffROP().term(CONTEXT)
    batches = [digits_batch(100, seed) for seed in range(20)]
    y, other = torch.cat([b.y for b in batches]), torch.cat([penalty.draw(b) for b in batches])
    assert torch.all(y != other)
    expected = torch.stack([COUNTS * (torch.arange(K) != c) / COUNTS[torch.arange(K) != c].sum() for c in y.tolist()])
    assert (torch.bincount(other, minlength=K) / len(other) - expected.mean(dim=0)).abs().max() < 0.04


def test_gradients_push_both_sides_inside_the_margin_only():
    denoiser = small_denoiser()
    weights = (denoiser.unet.conv_in.weight, denoiser.unet.class_embedding.weight)
    for margin, moves in ((10.0, True), (1e-12, False)):
        term = objective("diffrop", denoiser, diffrop=DiffROP(margin=margin))(denoiser, digits_batch())["diffrop"]
        assert [g > 0 for g in gradients(term, *weights)] == [moves, moves]
    batch, penalty = digits_batch(), Scripted(CONTEXT.class_frequency, SCHEDULE, 1.0, 10.0)
    penalty.other = (batch.y + 1) % (K - 1)
    eps = denoiser(batch.xt, batch.t, batch.y).detach().requires_grad_()
    embedding = denoiser.unet.class_embedding.weight
    assert all(g > 0 for g in gradients(penalty(denoiser, batch, eps), eps, embedding))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_ccua_s_form_is_the_loop(dropout, monkeypatch):
    """Different images, under labels of which "none" is one, without a further pass; both sides get gradients."""
    batch, output = digits_batch(dropout=dropout), torch.randn(16, 1, 8, 8).requires_grad_()
    term = DiffROP(form="ccua", strength=0.3).term(CONTEXT)
    monkeypatch.setattr(ImageOverlap, "draw", lambda self, b: (torch.arange(16) * 5 + 2) % 16)
    distance = torch.zeros((), dtype=torch.float64)
    for i, t in enumerate(batch.t.tolist()):
        j = (i * 5 + 2) % 16
        if batch.label[i] != batch.label[j]:
            distance = distance + (1 - t / 1000) * (output[i] - output[j]).double().square().mean() / 16
    expected = 0.3 / (1 + distance)
    ours = term(small_denoiser(), batch, output)
    assert term.passes == 0
    torch.testing.assert_close(ours.double(), expected)
    ((gradient,), (by_hand,)) = (torch.autograd.grad(loss, output) for loss in (ours, expected))
    torch.testing.assert_close(gradient, by_hand)


def test_ccua_s_form_draws_a_permutation_and_trains():
    batch, denoiser = digits_batch(), small_denoiser()
    drawn = [DiffROP(form="ccua").term(CONTEXT).draw(batch) for _ in range(2)]
    assert all(torch.equal(d.sort().values, torch.arange(16)) for d in drawn)
    assert not torch.equal(*drawn)
    method = objective("diffrop", denoiser, diffrop=DiffROP(form="ccua"))
    assert method.passes == 1
    loss = method(denoiser, batch)["diffrop"]
    assert 0 < loss.item() < 0.1
    assert gradients(loss, denoiser.unet.conv_in.weight)[0] > 0


def test_bad_options():
    with pytest.raises(UserError, match="conditional"):
        DiffROP().term(UNCONDITIONAL)
    with pytest.raises(UserError, match="at least two"):
        DiffROP().term(Context(torch.tensor([5, 0]), SCHEDULE, 2))
    with pytest.raises(UserError, match="did you mean 'ccua'"):
        misspelt(DiffROP(), "form", "ccuaa").__post_init__()
    with pytest.raises(UserError, match="margin"):
        DiffROP(margin=0.0)
