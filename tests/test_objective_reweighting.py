"""Re-weighting: the weights of a loop, mean 1 over the training images, on the squared error alone."""

from __future__ import annotations

import pytest
import torch

from objective_tools import CONTEXT, COUNTS, digits_batch, misspelt, objective, small_denoiser
from t2h import UserError
from t2h.methods.reweighting import Reweighting


@pytest.mark.parametrize("method", [Reweighting(), Reweighting("effective", 0.99), Reweighting("effective", 0.0)])
def test_weights_are_the_loop(method):
    ours = method.class_weight(CONTEXT)
    counts = COUNTS.tolist()
    raw = [
        0.0 if n == 0 else 1 / n if method.rule == "inverse" else (1 - method.beta) / (1 - method.beta**n)
        for n in counts
    ]
    mean = sum(w * n for w, n in zip(raw, counts, strict=True)) / sum(counts)
    assert ours.tolist() == pytest.approx([w / mean for w in raw], rel=1e-6)
    assert float((ours * COUNTS).sum() / COUNTS.sum()) == pytest.approx(1)


def test_limits():
    torch.testing.assert_close(Reweighting("effective", 0.0).class_weight(CONTEXT)[:9], torch.ones(9))
    inverse = Reweighting("inverse").class_weight(CONTEXT)
    torch.testing.assert_close(Reweighting("effective", 1 - 1e-9).class_weight(CONTEXT), inverse)


def test_the_error_of_each_sample_is_weighed():
    denoiser, batch = small_denoiser(), digits_batch(dropout=0.3)
    weight = Reweighting().class_weight(CONTEXT)
    with torch.no_grad():
        terms = objective("cbdm+reweighting")(denoiser, batch)
        error = (denoiser(batch.xt, batch.t, batch.label) - batch.eps).square()
        plain = objective("cbdm")(denoiser, digits_batch(dropout=0.3))
    expected = sum(float(weight[y]) * float(e.mean()) for y, e in zip(batch.y, error, strict=True)) / len(batch.y)
    assert terms["mse"].item() == pytest.approx(expected, rel=1e-5)
    assert terms["mse"].item() != pytest.approx(plain["mse"].item(), rel=1e-3)
    torch.testing.assert_close(terms["cbdm"], plain["cbdm"])


def test_bad_options():
    with pytest.raises(UserError, match="did you mean 'inverse'"):
        misspelt(Reweighting(), "rule", "invers").__post_init__()
    with pytest.raises(UserError, match=r"in \[0, 1\)"):
        Reweighting("effective", beta=1.0)
