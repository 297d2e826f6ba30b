"""CCUA: equal to a loop over the equation; both passes get gradients."""

from __future__ import annotations

import math

import pytest
import torch

from objective_tools import UNCONDITIONAL, K, digits_batch, gradients, objective, small_denoiser
from t2h import UserError
from t2h.methods.ccua import CCUA, info_nce
from t2h.network import UNetDenoiser


def loop(eps, unconditional, h, t, dropped, options: CCUA) -> float:
    """The equation, sample by sample, in float64."""
    h = [(v / v.norm()) for v in h.double().flatten(1)]
    total = 0.0
    for i in range(len(h)):
        e = [math.exp(float(h[i] @ other) / options.temperature) for other in h]
        contrast = -math.log(e[i] / sum(e))
        align = 0.0 if dropped[i] else float((eps[i].double() - unconditional[i].double()).square().mean())
        total += t[i].item() / 1000 * (options.alpha * contrast + options.gamma * align)
    return total / len(h)


@pytest.mark.parametrize("options", [CCUA(), CCUA(alpha=0.3, gamma=0.0), CCUA(alpha=0.0, gamma=0.7, temperature=0.5)])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_term_is_the_loop(options, dropout):
    denoiser, batch = small_denoiser(), digits_batch(dropout=dropout)
    with torch.no_grad():
        term = objective("ccua", denoiser, ccua=options)(denoiser, batch)["ccua"]
        eps = denoiser(batch.xt, batch.t, batch.label)
        unconditional, h = denoiser.with_bottleneck(batch.xt, batch.t, torch.full_like(batch.y, K))
    expected = loop(eps, unconditional, h, batch.t, batch.dropped, options)
    assert term.item() == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-4


def test_contrast_is_least_where_images_differ():
    assert info_nce(torch.eye(8), 0.1).max() < 0.01
    torch.testing.assert_close(info_nce(torch.ones(8, 3), 0.1), torch.full((8,), math.log(8)))


class Unsteady(UNetDenoiser):
    """A denoiser whose passes differ, as those of a network with dropout."""

    def forward(self, xt, t, class_labels):
        return super().forward(xt, t, class_labels) + torch.randn_like(xt)


def test_dropped_labels_are_not_aligned():
    denoiser = Unsteady(small_denoiser().unet)
    method = objective("ccua", denoiser, ccua=CCUA(alpha=0.0))
    assert method(denoiser, digits_batch(dropout=1.0))["ccua"] == 0
    assert method(denoiser, digits_batch(dropout=0.0))["ccua"] > 0.1


def test_the_contrast_keeps_full_precision():
    h = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = info_nce(h, 0.1)
    assert torch.equal(mixed, info_nce(h, 0.1))


def test_both_passes_get_gradients():
    """The alignment moves the class embedding; the contrast, which is unconditional, does not."""
    denoiser = small_denoiser()
    embedding, middle = denoiser.unet.class_embedding.weight, denoiser.unet.mid_block.resnets[-1].conv2.weight
    for options, moves in ((CCUA(gamma=0.0), [False, True]), (CCUA(alpha=0.0), [True, True])):
        term = objective("ccua", denoiser, ccua=options)(denoiser, digits_batch())["ccua"]
        assert [g > 0 for g in gradients(term, embedding, middle)] == moves


def test_no_stop_gradient_in_the_alignment():
    """Its gradient is that of the loop in which nothing is detached."""
    denoiser, batch = small_denoiser(), digits_batch()
    weight = denoiser.unet.conv_out.weight
    term = objective("ccua", denoiser, ccua=CCUA(alpha=0.0))(denoiser, batch)["ccua"]
    eps = denoiser(batch.xt, batch.t, batch.y)
    other = denoiser(batch.xt, batch.t, torch.full_like(batch.y, K))
    by_hand = ((batch.t / 1000).reshape(-1, 1, 1, 1) * (eps - other).square()).mean()
    for ours, theirs in zip(torch.autograd.grad(term, weight), torch.autograd.grad(by_hand, weight), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_bad_options():
    with pytest.raises(UserError, match="conditional"):
        CCUA().term(UNCONDITIONAL)
    with pytest.raises(UserError, match="temperature"):
        CCUA(temperature=0.0)
