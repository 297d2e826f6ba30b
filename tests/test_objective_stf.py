"""STF: the expected noise over the references, in a loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from objective_tools import CONTEXT, SCHEDULE, digits_batch
from t2h.methods.stf import STF

AIM = STF().aim(CONTEXT)


def taught(batch) -> torch.Tensor:
    """What a network that predicts noise is taught."""
    return SCHEDULE.target(batch.x0, batch.eps, batch.t, AIM(batch))


def loop(batch) -> np.ndarray:
    """The equation, term by term, in float64."""
    xt, references = batch.xt.double().numpy(), batch.reference_x0.double().numpy()
    targets = np.empty_like(xt)
    for i in range(len(xt)):
        a = float(SCHEDULE.alpha_bar[batch.t[i]])
        exponent = np.array([-((xt[i] / a**0.5 - r) ** 2).sum() / (2 * (1 / a - 1)) for r in references])
        p = np.exp(exponent - exponent.max())
        expected = sum(w * r for w, r in zip(p / p.sum(), references, strict=True))
        targets[i] = (xt[i] - a**0.5 * expected) / (1 - a) ** 0.5
    return targets


def test_the_target_is_the_loop():
    batch = digits_batch(12)
    ours = taught(batch)
    np.testing.assert_allclose(ours, loop(batch), atol=2e-3)
    assert (ours - batch.eps).abs().max() > 0.01


def test_more_references_than_the_batch():
    batch, others = digits_batch(6), digits_batch(20, seed=50)
    x0, y = torch.cat([others.x0, batch.x0]), torch.cat([others.y, batch.y])
    wider = replace(batch, reference_x0=x0, reference_y=y, own=batch.own + 20)
    np.testing.assert_allclose(taught(wider), loop(wider), atol=2e-3)


def test_at_little_noise_the_target_is_the_noise():
    batch = digits_batch(8)
    batch.t.fill_(0)
    torch.testing.assert_close(taught(batch), batch.eps)


def test_where_many_references_fit_the_aims_vary_less():
    batch = digits_batch(64)
    t = torch.full_like(batch.t, 900)
    batch = replace(batch, t=t, xt=SCHEDULE.add_noise(batch.x0, batch.eps, t))
    aimed = SCHEDULE.x0_from_output(taught(batch), batch.xt, t)
    assert aimed.var(dim=0).mean() < 0.5 * batch.x0.var(dim=0).mean()
