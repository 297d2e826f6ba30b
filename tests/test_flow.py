"""Rectified flow: its targets, T2H's posterior, diffusers' samplers, and a whole run."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
import yaml
from sklearn.datasets import load_digits
from torch import Tensor

from objective_tools import COUNTS, K, small_denoiser
from t2h import NoiseSchedule, RectifiedFlow, T2HPipeline, UserError, reference_posterior
from t2h.cli import main
from t2h.methods import MethodOptions, build_objective
from t2h.methods.base import Context
from t2h.process import Process
from t2h.samples.draw import load_pipeline
from t2h.training import ProcessConfig, TrainConfig

FLOW = RectifiedFlow()
DIGITS = torch.tensor(load_digits().images[:6] / 8 - 1).unsqueeze(1)  # float64
TIMES = torch.tensor([1.0, 2.5, 300.0, 500.25, 990.0, 999.0])


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    x0, eps, aim = (torch.randn(6, 3, 4, 5, generator=draws(seed), dtype=dtype) for seed in range(3))
    return x0, eps, aim


def loop_target(x0: Tensor, eps: Tensor, t: Tensor, aim: Tensor) -> Tensor:
    """The velocity of the straight line from the aim through the given x_t, sample by sample, in float64."""
    rows = []
    for i in range(len(t)):
        s = float(t[i]) / 1000
        xt = (1 - s) * x0[i].double() + s * eps[i].double()
        rows.append((xt - aim[i].double()) / s)
    return torch.stack(rows)


def test_targets_are_the_loop():
    x0, eps, aim = batch()
    torch.testing.assert_close(FLOW.target(x0, eps, TIMES, aim), loop_target(x0, eps, TIMES, aim))
    torch.testing.assert_close(FLOW.target(x0, eps, TIMES), loop_target(x0, eps, TIMES, x0))
    x0, eps, aim = batch(torch.float32)
    aim = x0 + 1e-3 * aim
    ours = FLOW.target(x0, eps, TIMES, aim).double()
    torch.testing.assert_close(ours, loop_target(x0, eps, TIMES, aim), rtol=1e-5, atol=1e-4)
    assert torch.equal(FLOW.target(x0, eps, TIMES), eps - x0)
    assert torch.equal(FLOW.target(x0, eps, TIMES, x0), eps - x0)


def test_an_output_and_the_image_that_it_implies():
    x0, eps, aim = batch()
    xt, output = FLOW.add_noise(x0, eps, TIMES), FLOW.target(x0, eps, TIMES, aim)
    torch.testing.assert_close(FLOW.x0_from_output(output, xt, TIMES), aim)
    torch.testing.assert_close(FLOW.output_from_x0(aim, xt, TIMES), output)
    last = torch.full((6,), 1000.0)  # where sampling begins, a is 0
    torch.testing.assert_close(FLOW.x0_from_output(eps - x0, eps, last), x0)
    torch.testing.assert_close(FLOW.output_from_x0(x0, eps, last), eps - x0)


def test_noise_and_times_are_those_of_diffusers():
    scheduler = FLOW.scheduler("flow")
    assert scheduler.config["shift"] == 1
    torch.testing.assert_close(FLOW.numbers(scheduler.timesteps)[1], scheduler.sigmas.double(), rtol=1e-6, atol=0)
    scheduler.set_timesteps(7)
    times = scheduler.timesteps
    torch.testing.assert_close(FLOW.numbers(times)[1], scheduler.sigmas[:-1].double(), rtol=1e-6, atol=0)
    x0, eps, _ = batch(torch.float32)
    torch.testing.assert_close(FLOW.add_noise(x0, eps, times[1:]), scheduler.scale_noise(x0, times[1:], eps))
    assert Process.of(scheduler) == RectifiedFlow("logit-normal") == FLOW != NoiseSchedule()


def test_how_times_are_drawn():
    device = torch.device("cpu")
    uniform = FLOW.draw_t(20_000, draws(0), device)
    share = FLOW.time_share(uniform).double()
    assert 1 <= uniform.min() < uniform.max() <= 999
    assert torch.histc(share, 10, 0, 1) == pytest.approx(2_000, abs=150)
    mid = RectifiedFlow("logit-normal").draw_t(20_000, draws(0), device)
    logits = FLOW.time_share(mid).double().logit()
    assert (logits.mean().item(), logits.std().item()) == (pytest.approx(0, abs=0.03), pytest.approx(1, abs=0.03))
    assert (FLOW.sigma(mid) > 0).all()
    assert FLOW.sigma(mid).isfinite().all()


def test_t2h_s_posterior_is_bayes_rule_on_the_line():
    """p(x_0^j | x_t) ∝ N(x_t; (1-s) x_0^j, s² I), term by term in float64."""
    x0, eps = DIGITS, torch.randn(DIGITS.shape, dtype=torch.float64, generator=draws(0))
    ours = reference_posterior(x0, eps, DIGITS, TIMES, FLOW)
    for i in range(6):
        s = float(TIMES[i]) / 1000
        xt = (1 - s) * x0[i] + s * eps[i]
        logs = [-(((xt - (1 - s) * x) / s) ** 2).sum().item() / 2 for x in DIGITS]
        weights = [math.exp(log - max(logs)) for log in logs]
        expected = torch.tensor([weight / sum(weights) for weight in weights], dtype=torch.float64)
        torch.testing.assert_close(ours[i], expected, rtol=1e-8, atol=1e-12)
    assert ours[0, 0] == 1
    assert ours[-1].max() < 0.9


def ideal(process: Process, xt: Tensor, t: Tensor) -> Tensor:
    """The output of the best possible network of the digits: that of the posterior mean, from Bayes' rule alone."""
    a, b, _, _ = (number.reshape(-1, 1) for number in process.numbers(t))
    square = (xt.double().unsqueeze(1) - a.reshape(-1, 1, 1, 1, 1) * DIGITS).square().sum(dim=(2, 3, 4))
    x0 = ((-square / (2 * b.square())).softmax(dim=1) @ DIGITS.flatten(1)).view(xt.shape)
    return process.output_from_x0(x0, xt.double(), t)


@pytest.mark.parametrize(
    ("process", "name", "steps"),
    [
        (FLOW, "flow", 50),
        (FLOW, "flow", 500),
        (FLOW, "FlowMatchHeunDiscreteScheduler", 50),
        (NoiseSchedule(), "ddpm-small", 1000),
        (NoiseSchedule(), "ddim", 100),
    ],
)
def test_samples_of_the_closed_form_denoiser_are_the_data(process, name, steps):
    scheduler, generator = process.scheduler(name), draws(1)
    scheduler.set_timesteps(steps)
    xt = torch.randn(16, 1, 8, 8, generator=draws(0))
    for t in scheduler.timesteps:
        extra = {"generator": generator} if name.startswith("ddpm") else {}
        xt = scheduler.step(ideal(process, xt, t.expand(16)).float(), t, xt, **extra).prev_sample
    distance, nearest = (xt.unsqueeze(1) - DIGITS).flatten(2).square().mean(dim=2).sqrt().min(dim=1)
    assert distance.max() < (0.03 if name == "ddim" else 2e-3)  # DDIM leaves the noise of t = 0
    assert len(nearest.unique()) > 2


def test_the_pipeline_draws_flows_guided_and_clipped(tmp_path: Path):
    unet = small_denoiser().unet
    pipeline = T2HPipeline(unet, FLOW.scheduler("flow"))
    pipeline.set_progress_bar_config(disable=True)
    assert (pipeline.sampling.scheduler, pipeline.sampling.steps) == ("flow", 50)
    latents = torch.randn(3, 1, 8, 8, generator=draws(0))
    label, null = torch.tensor([0, 1, 2]), torch.full((3,), K)
    xt, sigmas = latents, [*(1 - i * 0.999 / 7 for i in range(8)), 0.0]
    with torch.no_grad():
        for here, there in itertools.pairwise(sigmas):
            t = torch.full((3,), 1000 * here)
            plain = unet(xt, t, null).sample
            output = plain + 2.5 * (unet(xt, t, label).sample - plain)
            x0 = (xt - here * output).clamp(-1, 1)
            xt = x0 if there == 0 else xt + (there - here) * (xt - x0) / here
    drawn = pipeline([0, 1, 2], 2.5, 8, latents=latents, output_type="pt", clip_sample=True).images
    torch.testing.assert_close(drawn, xt / 2 + 0.5, rtol=0, atol=1e-4)
    pipeline.save_pretrained(tmp_path)
    again = load_pipeline(tmp_path)
    again.set_progress_bar_config(disable=True)
    both = [p([0, 1, 2], 2.5, latents=latents, output_type="pt").images for p in (pipeline, again)]
    assert torch.equal(*both)
    assert "| Prediction | velocity |" in (tmp_path / "README.md").read_text()


def test_schedulers_of_another_process_are_refused():
    for name in ("ddim", "dpm-solver++", "EDMEulerScheduler"):
        with pytest.raises(UserError, match="cannot draw from a flow; flow, "):
            FLOW.scheduler(name)
    with pytest.raises(UserError, match="flow cannot draw from a epsilon network"):
        NoiseSchedule().scheduler("flow")


def test_diffrop_needs_random_steps():
    with pytest.raises(UserError, match="reverse steps are not random"):
        build_objective("diffrop", MethodOptions(), Context(COUNTS, FLOW, K))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (ProcessConfig("flow", beta_end=0.01, prediction="sample"), "--beta-end, --prediction: not of --process flow"),
        (ProcessConfig("ddpm", times="logit-normal"), "--times: not of --process ddpm"),
    ],
)
def test_options_of_the_other_process_are_refused(config, says):
    with pytest.raises(UserError, match=says):
        TrainConfig(process=config)


def test_configurations_without_a_kind_are_ddpm_s():
    old = TrainConfig.from_yaml("process: {num_timesteps: 500, prediction: sample}\n")
    assert old.process.make() == NoiseSchedule(500, prediction="sample")
    flow = TrainConfig(process=ProcessConfig("flow", times="logit-normal"))
    assert flow.to_dict()["process"] == {"kind": "flow", "times": "logit-normal"}
    assert TrainConfig.from_yaml(flow.to_yaml()) == flow


SHORT = ["--steps", "2", "--batch-size", "4", "--device", "cpu", "--network", "digits"]


def test_a_run_carries_its_flow_from_training_to_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    train = ["train", "--data", "digits", "--objective", "t2h", "--process", "flow", *SHORT, "--out", str(run)]
    assert main([*train, "--grid-every", "1"]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["process"] == {"kind": "flow", "times": "uniform"}
    assert len(list((run / "grids").iterdir())) == 2
    pipeline = load_pipeline(run)
    assert Process.of(pipeline.scheduler) == FLOW
    assert (pipeline.sampling.scheduler, pipeline.sampling.steps) == ("flow", 50)
    sample = ["sample", str(run), "--per-class", "1", "--steps", "2"]
    assert main([*sample, "--out", str(tmp_path / "samples")]) == 0
    capsys.readouterr()
    assert main([*sample, "--scheduler", "ddim"]) == 2
    assert "ddim cannot draw from a flow; flow" in capsys.readouterr().err

    fine = ["train", "--data", "digits", "--objective", "ddpm", *SHORT[:-2], "--grid-every", "None", "--init", str(run)]
    assert main([*fine, "--out", str(tmp_path / "other")]) == 2
    assert "give --process flow" in capsys.readouterr().err
    assert main([*fine, "--process", "flow", "--times", "logit-normal", "--out", str(tmp_path / "fine")]) == 0
    assert main([word for word in train if word not in ("--process", "flow")]) == 2
    assert "process.kind: flow -> ddpm" in capsys.readouterr().err
