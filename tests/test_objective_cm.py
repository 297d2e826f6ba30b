"""CM: the weights of the equation; the network with its parts is the network with merged weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from objective_tools import COUNTS, digits_batch, gradients, objective, small_denoiser
from t2h import UserError
from t2h.methods.cm import CM, LowRank, capacity_weights
from t2h.methods.objective import Objective
from t2h.network import UNetDenoiser


def with_experts(**options: object) -> tuple[Objective, UNetDenoiser]:
    """CM on a network, with parts that are not zero."""
    denoiser = small_denoiser()
    cm = objective("cm", denoiser, cm=CM(**options))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for expert in cm.terms[0].experts:
            expert.b.copy_(0.2 * torch.randn(expert.b.shape, generator=generator))
    return cm, denoiser


def test_class_weights_are_the_equation():
    counts, ours = COUNTS.tolist(), capacity_weights(COUNTS, 1.0, 0.2)
    there = [n for n in counts if n]
    for n, weight in zip(counts, ours.tolist(), strict=True):
        con = len(counts) * n / sum(counts)
        div = len(counts) / (n * sum(1 / m for m in there)) if n else 0.0
        assert weight == pytest.approx(con - 0.2 * div)
    assert ours[0] > 0 > ours[8]
    assert ours[9] == 0


def test_the_network_with_its_parts_is_the_merged_network():
    cm, denoiser = with_experts()
    plain, batch = small_denoiser(seed=1), digits_batch()
    with torch.no_grad():
        for weight, merged in zip(plain.unet.parameters(), cm.merged(denoiser.unet), strict=True):
            weight.copy_(merged)
        ours = denoiser(batch.xt, batch.t, batch.label)
        torch.testing.assert_close(plain(batch.xt, batch.t, batch.label), ours, rtol=1e-4, atol=1e-5)
        with cm.terms[0].general_part():
            general = denoiser(batch.xt, batch.t, batch.label)
        untouched = small_denoiser()(batch.xt, batch.t, batch.label)
    torch.testing.assert_close(general, untouched, rtol=0, atol=0)
    assert (ours - general).abs().max() > 0.1
    assert [p.shape for p in cm.merged(denoiser.unet)] == [p.shape for p in denoiser.unet.parameters()]


def test_a_fresh_part_changes_nothing_and_the_network_keeps_its_names():
    denoiser, batch = small_denoiser(), digits_batch()
    objective("cm", denoiser)
    fresh = small_denoiser()
    assert list(denoiser.state_dict()) == list(fresh.state_dict())
    with torch.no_grad():
        assert torch.equal(denoiser(batch.xt, batch.t, batch.y), fresh(batch.xt, batch.t, batch.y))


def test_the_parts_stand_beside_the_3x3_convolutions_with_the_released_shape():
    for ratio in (0.1, 1.0):
        cm, denoiser = with_experts(rank_ratio=ratio)
        convolutions = [
            module
            for name, module in denoiser.unet.up_blocks.named_modules()
            if name.endswith(("conv1", "conv2", "upsamplers.0.conv"))
        ]
        experts = cm.terms[0].experts
        assert len(experts) == len(convolutions) > 5
        for conv, expert in zip(convolutions, experts, strict=True):
            rank = max(1, int(ratio * min(conv.out_channels, conv.in_channels)))
            assert expert.a.shape == (3 * rank, 3 * conv.in_channels)
            assert expert.b.shape == (3 * conv.out_channels, 3 * rank)
            product = (expert.b @ expert.a).flatten()
            assert torch.equal(expert.weight().flatten(), product)


def test_a_begins_as_the_released_one():
    """Standard deviation 1/√(3 in k)."""
    conv = nn.Conv2d(200, 300, 3)
    assert LowRank(conv, 0.5).a.std().item() == pytest.approx((3 * 200 * 3) ** -0.5, rel=0.01)
    assert LowRank(conv, 0.001).a.shape == (3, 600)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_term_is_the_loop(dropout):
    cm, denoiser = with_experts(strength=0.6)
    batch = digits_batch(dropout=dropout)
    with torch.no_grad():
        term = cm(denoiser, batch)["cm"]
        whole, general = (d(batch.xt, batch.t, batch.label) for d in (denoiser, small_denoiser()))
    weights, total = capacity_weights(COUNTS, 1.0, 0.2).tolist(), 0.0
    for i, y in enumerate(batch.y.tolist()):
        total += 0.6 * weights[y] * float((whole[i].double() - general[i].double()).square().mean())
    assert term.item() == pytest.approx(total / len(batch.y), rel=1e-4)


def test_gradients_reach_general_and_expert_parts():
    cm, denoiser = with_experts()
    expert, conv = cm.terms[0].experts[3], denoiser.unet.up_blocks[0].resnets[0].conv1
    terms = cm(denoiser, digits_batch())
    assert all(g > 0 for g in gradients(terms["cm"], expert.a, expert.b, conv.weight, denoiser.unet.conv_in.weight))
    assert all(g > 0 for g in gradients(terms["mse"], expert.a, expert.b, conv.weight))
    with cm.terms[0].general_part():
        general = denoiser(digits_batch().xt, digits_batch().t, digits_batch().y).sum()
    assert gradients(general, expert.a, expert.b) == [0.0, 0.0]


def test_no_stop_gradient():
    """The gradient is that of the equation with nothing detached."""
    cm, denoiser = with_experts()
    batch, conv = digits_batch(), denoiser.unet.up_blocks[0].resnets[0].conv1
    weights = capacity_weights(COUNTS, 1.0, 0.2).float()[batch.y].reshape(-1, 1, 1, 1)
    whole = denoiser(batch.xt, batch.t, batch.label)
    with cm.terms[0].general_part():
        general = denoiser(batch.xt, batch.t, batch.label)
    by_hand = torch.autograd.grad((weights * (whole - general).square()).mean(), conv.weight)
    torch.testing.assert_close(torch.autograd.grad(cm(denoiser, batch)["cm"], conv.weight), by_hand)


def test_head_classes_leave_the_expert_part_and_tail_classes_enter_it():
    cm, denoiser = with_experts()
    b = cm.terms[0].experts[3].b
    for y, sign in ((0, 1), (8, -1)):
        batch = digits_batch()
        batch.y.fill_(y)
        term = cm(denoiser, batch)["cm"]
        assert term.item() * sign > 0
        (gradient,) = torch.autograd.grad(term, b)
        assert gradient.norm() > 0


def test_its_own_weights_are_saved_and_loaded():
    cm, denoiser = with_experts()
    other_denoiser = small_denoiser()
    other = objective("cm", other_denoiser)
    other.load_state_dict(cm.state_dict())
    batch = digits_batch()
    with torch.no_grad():
        torch.testing.assert_close(
            other_denoiser(batch.xt, batch.t, batch.y), denoiser(batch.xt, batch.t, batch.y), rtol=0, atol=0
        )
    assert all("experts" in name for name in cm.state_dict())


def test_mistakes():
    with pytest.raises(UserError, match="up_blocks"):
        objective("cm").attach(nn.Conv2d(1, 1, 3))
    with pytest.raises(RuntimeError, match="attach"):
        objective("cm")(small_denoiser(), digits_batch())
    with pytest.raises(UserError, match="rank_ratio"):
        CM(rank_ratio=0.0)
    with pytest.raises(UserError, match="at least 0"):
        CM(w_div=-1.0)
