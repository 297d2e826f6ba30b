"""What the network is taught: every prediction is the same denoiser, and schedulers draw the same images from it."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from objective_tools import misspelt
from t2h.errors import UserError
from t2h.process import NoiseSchedule, Prediction, Process, RectifiedFlow

PREDICTIONS = get_args(Prediction)
DIGITS = torch.tensor(load_digits().images[:6] / 8 - 1).unsqueeze(1)  # float64


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ideal(process: Process, xt: Tensor, t: Tensor, data: Tensor = DIGITS) -> Tensor:
    """The output of the best possible network of these images: that of the posterior mean, from Bayes' rule alone."""
    alpha_bar = NoiseSchedule().alpha_bar[t].reshape(-1, 1, 1, 1, 1)
    square = (xt.unsqueeze(1) - alpha_bar.sqrt() * data).square().sum(dim=(2, 3, 4))
    weight = (-square / (2 * (1 - alpha_bar.reshape(-1, 1)))).softmax(dim=1)
    x0 = (weight @ data.flatten(1)).view_as(xt)
    a, b = alpha_bar[:, 0].sqrt(), (1 - alpha_bar[:, 0]).sqrt()
    eps = (xt - a * x0) / b
    return {"epsilon": eps, "sample": x0, "v_prediction": a * eps - b * x0}[process.prediction]


def drawn(prediction: Prediction, name: str, steps: int, n: int = 8) -> Tensor:
    process = NoiseSchedule(prediction=prediction)
    scheduler, generator = process.scheduler(name), draws(1)
    scheduler.set_timesteps(steps)
    xt = torch.randn(n, 1, 8, 8, dtype=torch.float64, generator=draws(0)) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        extra = {"generator": generator} if name.startswith("ddpm") else {}
        output = ideal(process, scheduler.scale_model_input(xt, t), t.long().expand(n))
        xt = scheduler.step(output, t, xt, **extra).prev_sample
    return xt


@pytest.mark.parametrize(("name", "steps"), [("ddim", 100), ("ddpm", 1000), ("ddpm-small", 1000)])
def test_every_prediction_of_the_ideal_denoiser_draws_the_same_images_which_are_the_data(name, steps):
    images = {prediction: drawn(prediction, name, steps) for prediction in PREDICTIONS}
    for prediction, image in images.items():
        torch.testing.assert_close(image, images["epsilon"], rtol=0, atol=1e-4, msg=prediction)
        nearest = (image.unsqueeze(1) - DIGITS).flatten(2).square().mean(dim=2).sqrt().min(dim=1)
        # DDIM's last step changes nothing and leaves the noise of t = 0, 1 %; ancestral sampling ends on the image
        assert nearest.values.max() < (0.03 if name == "ddim" else 1e-3)
        assert len(nearest.indices.unique()) > 2


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "EulerDiscreteScheduler"])
def test_other_schedulers_read_the_prediction(name):
    images = [drawn(prediction, name, 30, n=4) for prediction in PREDICTIONS]
    for image in images:
        torch.testing.assert_close(image, images[0], rtol=0, atol=2e-2)
        assert (image.unsqueeze(1) - DIGITS).flatten(2).square().mean(dim=2).sqrt().min(dim=1).values.max() < 0.1


def loop_target(prediction: str, x0: Tensor, eps: Tensor, t: Tensor, aim: Tensor) -> Tensor:
    """The output that leads from the given x_t to the aim, sample by sample, from the definitions in float64."""
    rows = []
    for i in range(len(t)):
        a = float(NoiseSchedule().alpha_bar[t[i]]) ** 0.5
        b = (1 - a**2) ** 0.5
        xt = a * x0[i].double() + b * eps[i].double()
        x = aim[i].double()
        e = (xt - a * x) / b
        rows.append({"epsilon": e, "sample": x, "v_prediction": a * e - b * x}[prediction])
    return torch.stack(rows)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x0, eps, aim = (torch.randn(6, 3, 4, 5, generator=draws(seed), dtype=dtype) for seed in range(3))
    return x0, eps, torch.tensor([0, 1, 10, 500, 998, 999]), aim


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_targets_are_the_loop(prediction):
    process, (x0, eps, t, aim) = NoiseSchedule(prediction=prediction), batch()
    torch.testing.assert_close(process.target(x0, eps, t, aim), loop_target(prediction, x0, eps, t, aim))
    torch.testing.assert_close(process.target(x0, eps, t), loop_target(prediction, x0, eps, t, x0))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_in_float32_little_noise_loses_nothing(prediction):
    """An aim that is nearly the image: the form (x_t - a aim)/b would lose half of the digits at t = 0."""
    x0, eps, t, _ = batch(torch.float32)
    aim = x0 + 1e-3 * torch.randn(x0.shape, generator=draws(9))
    ours = NoiseSchedule(prediction=prediction).target(x0, eps, t, aim)
    torch.testing.assert_close(ours.double(), loop_target(prediction, x0, eps, t, aim), rtol=1e-6, atol=2e-6)


def test_without_an_aim_the_target_is_the_definition_bit_for_bit():
    x0, eps, t, _ = batch(torch.float32)
    assert torch.equal(NoiseSchedule().target(x0, eps, t), eps)
    assert torch.equal(NoiseSchedule(prediction="sample").target(x0, eps, t), x0)
    for prediction in PREDICTIONS:
        process = NoiseSchedule(prediction=prediction)
        assert torch.equal(process.target(x0, eps, t, x0), process.target(x0, eps, t))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_an_output_and_the_image_that_it_implies(prediction):
    process, (x0, eps, t, aim) = NoiseSchedule(prediction=prediction), batch()
    xt = process.add_noise(x0, eps, t)
    output = process.target(x0, eps, t, aim)
    torch.testing.assert_close(process.x0_from_output(output, xt, t), aim)
    torch.testing.assert_close(process.output_from_x0(aim, xt, t), output)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_between_whole_times_sigma_is_that_of_diffusers(prediction):
    process = NoiseSchedule(prediction=prediction)
    scheduler = process.scheduler("EulerDiscreteScheduler")
    scheduler.set_timesteps(7)
    assert (scheduler.timesteps % 1 > 0).any()
    torch.testing.assert_close(process.sigma(scheduler.timesteps), scheduler.sigmas[:-1].double(), rtol=1e-4, atol=1e-5)
    whole = torch.tensor([0, 3, 999])
    for ours, expected in zip(process.numbers(whole.double()), process.numbers(whole), strict=True):
        torch.testing.assert_close(ours, expected)


def test_the_divergence_of_two_steps_does_not_depend_on_the_prediction():
    x0, eps, t, aim = batch()
    divergences = []
    for prediction in PREDICTIONS:
        process = NoiseSchedule(prediction=prediction)
        xt = process.add_noise(x0, eps, t)
        difference = process.output_from_x0(aim, xt, t) - process.output_from_x0(x0, xt, t)
        divergences.append(process.step_divergence(t) * difference.square().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(divergences[1], divergences[0])
    torch.testing.assert_close(divergences[2], divergences[0])


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_schedulers_carry_the_prediction(prediction):
    process = NoiseSchedule(500, 1e-3, 0.03, prediction)
    for name in ("ddim", "ddpm", "ddpm-small", "DPMSolverMultistepScheduler"):
        scheduler = process.scheduler(name)
        assert scheduler.config["prediction_type"] == prediction
        assert Process.of(scheduler) == process


def test_a_scheduler_that_cannot_follow_is_refused():
    for name in ("PNDMScheduler", "HeunDiscreteScheduler", "EulerAncestralDiscreteScheduler"):
        with pytest.raises(UserError, match="sample network"):
            NoiseSchedule(prediction="sample").scheduler(name)
        assert NoiseSchedule(prediction="v_prediction").scheduler(name).config["prediction_type"] == "v_prediction"
    with pytest.raises(UserError, match="of this noise schedule"):  # would draw noise, silently
        NoiseSchedule().scheduler("EDMEulerScheduler")
    with pytest.raises(UserError, match="unknown scheduler 'dddim'; did you mean 'ddim'"):
        NoiseSchedule().scheduler("dddim")


def test_another_prediction_is_refused():
    with pytest.raises(UserError, match=r"unknown process\.prediction 'flow_prediction'"):
        misspelt(NoiseSchedule(), "prediction", "flow_prediction").__post_init__()
    with pytest.raises(UserError, match=r"unknown process\.times 'logit'; did you mean 'logit-normal'"):
        misspelt(RectifiedFlow(), "times", "logit").__post_init__()


def test_times_are_drawn_uniformly_from_all():
    t = NoiseSchedule(50).draw_t(5000, draws(0), torch.device("cpu"))
    assert torch.bincount(t, minlength=50).min() > 50
    share = NoiseSchedule(50).time_share(t)
    assert 0 == share.min() < share.max() == pytest.approx(0.98)
