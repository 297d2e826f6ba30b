"""CORAL: equal to a loop over the equation, in both forms; skips what has no label."""

from __future__ import annotations

import math

import pytest
import torch

from objective_tools import SCHEDULE, K, digits_batch, gradients, misspelt, objective, small_denoiser
from t2h import UserError
from t2h.methods.coral import CORAL, ContrastiveBottleneck, supcon


def loop(z, y, kept, temperature) -> list[float]:
    """The equation, sample by sample, in float64."""
    z, y, kept = z.double().tolist(), y.tolist(), kept.tolist()
    losses = []
    for i in range(len(y)):
        others = [a for a in range(len(y)) if a != i and kept[a]]
        positives = [p for p in others if y[p] == y[i]]
        if not kept[i] or not positives:
            losses.append(0.0)
            continue
        e = {a: math.exp(sum(p * q for p, q in zip(z[i], z[a], strict=True)) / temperature) for a in others}
        losses.append(-sum(math.log(e[p] / sum(e.values())) for p in positives) / len(positives))
    return losses


def vectors(n: int, seed: int = 0) -> torch.Tensor:
    z = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    return z / z.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("dropout", [0.0, 0.4, 1.0])
def test_supcon_is_the_loop(dropout):
    batch = digits_batch(14, dropout=dropout)
    y = batch.y.clone()
    y[0] = K - 1  # alone in its class
    z = vectors(14)
    ours = supcon(z, y, ~batch.dropped, 0.1)
    torch.testing.assert_close(
        ours.double(), torch.tensor(loop(z, y, ~batch.dropped, 0.1)).double(), rtol=1e-4, atol=1e-5
    )
    assert ours[0] == 0
    assert (ours.sum() > 1) == (dropout < 1)


def test_the_strength_in_both_forms():
    batch, z = digits_batch(14, dropout=0.2), vectors(14)
    losses = loop(z, batch.y, ~batch.dropped, 0.2)
    strength = [0.7 * math.exp((1 - t / 1000) / 0.4) for t in batch.t.tolist()]
    options = {"weight": 0.7, "decay": 0.4, "temperature": 0.2}
    code = ContrastiveBottleneck(SCHEDULE, CORAL(**options)).equation(z, batch)
    paper = ContrastiveBottleneck(SCHEDULE, CORAL(**options, form="paper")).equation(z, batch)
    counted = sum(loss > 0 for loss in losses)
    assert 0 < counted < 14
    assert code.item() == pytest.approx(sum(strength) / 14 * 0.2 * sum(losses) / counted, rel=1e-4)
    weighed = sum(s * e for s, e in zip(strength, losses, strict=True))
    assert paper.item() == pytest.approx(weighed / counted, rel=1e-4)


def test_one_class_has_no_contrast():
    batch, z = digits_batch(8), vectors(8)
    batch.y.fill_(3)
    assert ContrastiveBottleneck(SCHEDULE, CORAL()).equation(z, batch) == 0


def test_the_head_reads_the_pooled_bottleneck():
    denoiser, batch = small_denoiser(), digits_batch()
    coral = objective("coral", denoiser)
    (term,) = coral.terms
    with torch.no_grad():
        eps, bottleneck = denoiser.with_bottleneck(batch.xt, batch.t, batch.label)
        z = term.head(bottleneck.flatten(2).mean(dim=2))
        expected = term.equation(z / z.norm(dim=1, keepdim=True), batch)
        terms = coral(denoiser, batch)
    assert z.shape == (16, 128)
    torch.testing.assert_close(terms["coral"], expected)
    torch.testing.assert_close(terms["mse"], (eps - batch.eps).square().mean())


def test_gradients_reach_head_and_bottleneck_but_not_the_up_path():
    denoiser = small_denoiser()
    coral = objective("coral", denoiser)
    weights = (
        coral.terms[0].head.weight,
        denoiser.unet.conv_in.weight,
        denoiser.unet.mid_block.resnets[-1].conv2.weight,
        denoiser.unet.conv_out.weight,
        denoiser.unet.up_blocks[0].resnets[0].conv1.weight,
    )
    term = coral(denoiser, digits_batch())["coral"]
    assert [g > 0 for g in gradients(term, *weights)] == [True, True, True, False, False]
    dropped = coral(denoiser, digits_batch(dropout=1.0))["coral"]
    assert gradients(dropped, *weights) == [0.0] * 5
    assert dropped.requires_grad  # the head takes part, so that processes agree on who has gradients


def test_bad_options():
    with pytest.raises(UserError, match="above 0"):
        CORAL(temperature=0.0)
    with pytest.raises(UserError, match="did you mean 'paper'"):
        misspelt(CORAL(), "form", "papers").__post_init__()
