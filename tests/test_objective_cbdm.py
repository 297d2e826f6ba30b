"""CBDM: equal to a loop over the equation and to the official code; its stop-gradients stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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
from t2h.methods.cbdm import CBDM, ClassBalancing


def loop(eps, other, t, dropped, tau=1.0) -> float:
    """The equation, sample by sample and element by element, in float64; its mean over the batch."""
    values = []
    for i in range(len(t)):
        for a, b in zip(eps[i].flatten().tolist(), other[i].flatten().tolist(), strict=True):
            d = (a - b) ** 2
            values.append(0.0 if dropped[i] else tau * (t[i].item() / 1000) * (d + d / 4))
    return float(np.mean(values))


class Scripted(ClassBalancing):
    """Class balancing with given labels y'."""

    other: torch.Tensor

    def draw(self, batch):
        return self.other


@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
def test_the_term_is_the_loop(dropout):
    denoiser, batch = small_denoiser(), digits_batch(dropout=dropout)
    balancing = Scripted(COUNTS.double(), SCHEDULE, tau=0.7)
    balancing.other = torch.arange(len(batch.y)) % K
    with torch.no_grad():
        eps = denoiser(batch.xt, batch.t, batch.label)
        term = balancing(denoiser, batch, eps)
        other = denoiser(batch.xt, batch.t, balancing.other)
    expected = loop(eps.double(), other.double(), batch.t, batch.dropped, tau=0.7)
    assert term.item() == pytest.approx(expected, rel=1e-5)
    assert (expected > 1e-3) == (dropout < 1)


def test_the_first_part_moves_the_true_label_and_the_second_the_other():
    eps, other = torch.randn(4, 1, 2, 2, requires_grad=True), torch.randn(4, 1, 2, 2, requires_grad=True)
    t = torch.full((4,), 500)
    term = ClassBalancing(COUNTS.double(), SCHEDULE).equation(eps, other, t).sum()
    of_eps, of_other = torch.autograd.grad(term, (eps, other))
    difference = (eps - other).detach()
    torch.testing.assert_close(of_eps, 0.5 * 2 * difference)  # without sg it would be 5/4 of that
    torch.testing.assert_close(of_other, -0.5 * 2 * difference / 4)


def test_both_passes_reach_the_network_and_dropped_labels_none():
    denoiser = small_denoiser()
    weight = denoiser.unet.conv_in.weight
    embedding = denoiser.unet.class_embedding.weight
    for dropout, moves in ((0.0, True), (1.0, False)):
        terms = objective("cbdm", denoiser)(denoiser, digits_batch(dropout=dropout))
        assert [g > 0 for g in gradients(terms["cbdm"], weight, embedding)] == [moves, moves]


def drawn_shares(method: CBDM) -> torch.Tensor:
    balancing = method.term(CONTEXT)
    batches = [digits_batch(100, seed) for seed in range(20)]
    return torch.bincount(torch.cat([balancing.draw(b) for b in batches]), minlength=K) / 2000


def test_other_labels_follow_training_or_are_uniform():
    assert (drawn_shares(CBDM()) - CONTEXT.class_frequency).abs().max() < 0.04
    assert drawn_shares(CBDM())[9] == 0  # a class without images
    assert (drawn_shares(CBDM(labels="uniform")) - 1 / K).abs().max() < 0.03


def test_the_draw_comes_from_the_generator_of_the_batch():
    balancing = CBDM().term(CONTEXT)
    first = balancing.draw(digits_batch(seed=3))
    torch.manual_seed(5)
    assert torch.equal(balancing.draw(digits_batch(seed=3)), first)


def test_bad_options():
    with pytest.raises(UserError, match="did you mean 'uniform'"):
        misspelt(CBDM(), "labels", "unifrom").__post_init__()
    with pytest.raises(UserError, match="at least 0"):
        CBDM(tau=-1.0)
    with pytest.raises(UserError, match="conditional"):
        CBDM().term(UNCONDITIONAL)


@pytest.mark.parametrize("form", ["train", "finetune"])
def test_the_term_is_the_official_one(golden_full: Path, form):
    convert = pytest.importorskip("t2h.convert")
    from t2h.network import UNetDenoiser

    denoiser = UNetDenoiser(convert.from_official(golden_full / "official_ckpt_conditional.pt").unet.eval())
    with np.load(golden_full / f"cbdm_{form}.npz") as file:
        official = {key: torch.from_numpy(file[key]) for key in file.files}
    t, noise = official["t"], official["noise"]
    xt = CONTEXT.process.add_noise(official["x0"], noise, t)
    balancing = ClassBalancing(official["class_frequency"], SCHEDULE, tau=float(official["tau"]))
    with torch.no_grad():
        eps = denoiser(xt, t, official["y"])
        ours = balancing.equation(eps, denoiser(xt, t, official["y_bal"]), t)
    torch.testing.assert_close((eps - noise).square(), official["loss"], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ours, official["regulariser"], rtol=1e-3, atol=1e-5)
    assert official["regulariser"].abs().max() > 1e-3
