"""The noise schedule: its closed form, its inverse, and the diffusers schedulers that match it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, EulerDiscreteScheduler

from t2h.errors import UserError
from t2h.process import NoiseSchedule


@pytest.fixture(scope="module")
def schedule() -> NoiseSchedule:
    return NoiseSchedule()


@pytest.fixture
def t() -> torch.Tensor:
    return torch.tensor([0, 1, 10, 500, 998, 999])


def images(count: int, seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, 3, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_alpha_bar_is_the_product(schedule: NoiseSchedule) -> None:
    product, expected = 1.0, []
    for beta in np.linspace(np.float32(1e-4), np.float32(0.02), 1000):
        product *= 1 - beta
        expected.append(product)
    assert schedule.alpha_bar.dtype == torch.float64
    assert schedule.alpha_bar.shape == (1000,)
    np.testing.assert_allclose(schedule.alpha_bar.numpy(), expected, rtol=1e-6)


def test_tables_are_those_of_the_official_code(schedule: NoiseSchedule, golden, t: torch.Tensor) -> None:  # type: ignore[no-untyped-def]
    with np.load(golden / "transfer_targets.npz") as file:
        np.testing.assert_allclose(schedule.alpha_bar.numpy(), file["alphas_bar"], rtol=1e-12)
        np.testing.assert_allclose(schedule.sigma(torch.arange(1000)).numpy(), file["sigma_t"], rtol=1e-12)
    assert schedule.sigma(t).dtype == torch.float64


def test_add_noise_as_diffusers(schedule: NoiseSchedule, t: torch.Tensor) -> None:
    x0, eps = images(6, 0), images(6, 1)
    theirs = DDPMScheduler(1000, 1e-4, 0.02, "linear").add_noise(x0, eps, t)
    torch.testing.assert_close(schedule.add_noise(x0, eps, t), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-3)])
def test_x0_and_eps_lead_back(schedule: NoiseSchedule, t: torch.Tensor, dtype: torch.dtype, tolerance: float) -> None:
    x0, eps = images(6, 0, dtype), images(6, 1, dtype)
    xt = schedule.add_noise(x0, eps, t)
    assert xt.dtype == dtype
    torch.testing.assert_close(schedule.x0_from_output(eps, xt, t), x0, rtol=0, atol=tolerance)
    torch.testing.assert_close(schedule.output_from_x0(x0, xt, t), eps, rtol=0, atol=tolerance)


def test_half_precision_images_keep_their_type(schedule: NoiseSchedule, t: torch.Tensor) -> None:
    x0, eps = images(6, 0), images(6, 1)
    half = schedule.add_noise(x0.half(), eps.half(), t)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), schedule.add_noise(x0, eps, t), rtol=2e-3, atol=2e-3)
    assert schedule.alpha_bar.dtype == torch.float64


@pytest.mark.parametrize("schedule", [NoiseSchedule(), NoiseSchedule(50, 1e-3, 0.3)], ids=["default", "other"])
def test_schedulers_have_the_same_tables(schedule: NoiseSchedule) -> None:
    for scheduler in (schedule.ddim_scheduler(), schedule.ddpm_scheduler()):
        torch.testing.assert_close(scheduler.alphas_cumprod.double(), schedule.alpha_bar, rtol=2e-5, atol=0)
        assert not scheduler.config["clip_sample"]
        again = NoiseSchedule.of(scheduler)
        assert torch.equal(again.alpha_bar, schedule.alpha_bar)
    other = EulerDiscreteScheduler.from_config(schedule.ddpm_scheduler().config)
    assert torch.equal(NoiseSchedule.of(other).alpha_bar, schedule.alpha_bar)


def test_another_kind_of_schedule_is_refused() -> None:
    with pytest.raises(UserError, match="'squaredcos_cap_v2'"):
        NoiseSchedule.of(DDPMScheduler(beta_schedule="squaredcos_cap_v2"))


def test_official_ddim_steps(schedule: NoiseSchedule) -> None:
    scheduler = schedule.ddim_scheduler()
    scheduler.set_timesteps(100)
    assert scheduler.timesteps.tolist() == list(range(990, -1, -10))
    x, eps = images(2, 0), images(2, 1)
    last = scheduler.step(eps, 0, x).prev_sample
    torch.testing.assert_close(last, x, rtol=0, atol=1e-6)
    # a step before it follows the closed form of Song et al. 2021, equation 12 with η = 0
    t, before = torch.tensor([500, 500]), torch.tensor([490, 490])
    x0 = schedule.x0_from_output(eps, x, t)
    expected = schedule.add_noise(x0, eps, before)
    torch.testing.assert_close(scheduler.step(eps, 500, x).prev_sample, expected, rtol=0, atol=2e-5)


def test_ddpm_variances(schedule: NoiseSchedule) -> None:
    beta, alpha_bar = 1 - schedule.alpha_bar[500] / schedule.alpha_bar[499], schedule.alpha_bar
    large = schedule.ddpm_scheduler()._get_variance(500)
    small = schedule.ddpm_scheduler("fixed_small")._get_variance(500)
    assert large.item() == pytest.approx(beta.item(), rel=1e-4)
    assert small.item() == pytest.approx((beta * (1 - alpha_bar[499]) / (1 - alpha_bar[500])).item(), rel=1e-4)


@pytest.mark.parametrize("given", [(0, 1e-4, 0.02), (10, 0.0, 0.02), (10, 0.1, 0.02), (10, 0.1, 1.0)])
def test_impossible_schedules(given: tuple[int, float, float]) -> None:
    with pytest.raises(UserError):
        NoiseSchedule(*given)
