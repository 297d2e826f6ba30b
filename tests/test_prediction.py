"""--prediction: every method, the pipeline and a whole run work alike with networks that predict ε, x_0 or v."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from objective_tools import COUNTS, K, digits_batch, objective, small_denoiser
from t2h import NoiseSchedule, T2HPipeline, UserError
from t2h.cli import main
from t2h.convert import to_official
from t2h.methods import METHODS, MethodOptions, build_objective
from t2h.methods.base import Context
from t2h.methods.diffrop import DiffROP
from t2h.methods.t2h import T2H
from t2h.network import build_network, network_config
from t2h.process import Process
from t2h.training import TrainConfig

OTHERS = ("sample", "v_prediction")
EPSILON = NoiseSchedule()


def translated(denoiser, process: Process):
    """The same network, saying what ``process`` wants it to predict in place of ε."""

    def call(xt, t, class_labels):
        x0 = EPSILON.x0_from_output(denoiser(xt, t, class_labels), xt, t)
        return process.output_from_x0(x0, xt, t)

    return call


def method(name: str, process: Process, denoiser=None, **options: object):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_objective(name, MethodOptions(**options), Context(COUNTS, process, K), denoiser)


@pytest.mark.parametrize("prediction", OTHERS)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns(name, prediction):
    denoiser, process = small_denoiser(), NoiseSchedule(prediction=prediction)
    learned = method(name, process, denoiser)
    weights = [*denoiser.parameters(), *learned.parameters()]
    optimiser = torch.optim.Adam(weights, lr=1e-3)
    totals = []
    for _ in range(4):
        optimiser.zero_grad()
        total = torch.stack(list(learned(denoiser, digits_batch(dropout=0.3)).values())).sum()
        total.backward()
        optimiser.step()
        totals.append(total.item())
    assert totals[-1] < totals[0]


@pytest.mark.parametrize("prediction", OTHERS)
@pytest.mark.parametrize("options", [T2H(), T2H(estimate="expectation")])
def test_t2h_aims_at_the_same_images_whatever_is_predicted(prediction, options):
    """Given the network's x_0, the errors differ by the known factor (c - d a/b)² of the process alone."""
    process, denoiser = NoiseSchedule(prediction=prediction), small_denoiser()
    t = torch.full((16,), 600)
    batch = replace(digits_batch(), t=t, xt=EPSILON.add_noise(digits_batch().x0, digits_batch().eps, t))
    draws = [replace(batch, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    with torch.no_grad():
        ours = method("t2h", process, t2h=options)(translated(denoiser, process), draws[0])["mse"]
        plain = method("t2h", EPSILON, t2h=options)(denoiser, draws[1])["mse"]
    alpha_bar = float(EPSILON.alpha_bar[600])
    factor = {"sample": (1 - alpha_bar) / alpha_bar, "v_prediction": 1 / alpha_bar}[prediction]
    assert ours.item() == pytest.approx(factor * plain.item(), rel=1e-4)


@pytest.mark.parametrize("prediction", OTHERS)
def test_diffrop_means_the_same_whatever_is_predicted(prediction):
    process, denoiser, options = NoiseSchedule(prediction=prediction), small_denoiser(), DiffROP(margin=0.004)
    with torch.no_grad():
        ours = method("diffrop", process, diffrop=options)(translated(denoiser, process), digits_batch())["diffrop"]
        plain = objective("diffrop", denoiser, diffrop=options)(denoiser, digits_batch())["diffrop"]
    assert 0 < ours.item() == pytest.approx(plain.item(), rel=1e-3)


@pytest.mark.parametrize("prediction", OTHERS)
@pytest.mark.parametrize("clip_sample", [False, True])
@pytest.mark.parametrize("name", ["ddim", "ddpm-small", "EulerDiscreteScheduler"])
def test_the_pipeline_draws_the_same_images_guided_and_clipped(prediction, clip_sample, name):
    images, process = [], NoiseSchedule(prediction=prediction)
    network = translated(small_denoiser(), process)
    for of in (EPSILON, process):
        unet = small_denoiser().unet
        if of is process:
            unet.forward = lambda xt, t, label, return_dict: (network(xt, t, label),)
        pipeline = T2HPipeline(unet, of.scheduler(name))
        pipeline.set_progress_bar_config(disable=True)
        latents = 0.1 * torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        drawn = {"latents": latents, "generator": torch.Generator().manual_seed(1), "output_type": "pt"}
        images.append(pipeline([0, 1, 2], 2.5, 8, clip_sample=clip_sample, **drawn).images)
    torch.testing.assert_close(images[1], images[0], rtol=0, atol=2e-3)
    assert images[0].std() > 0.1


SHORT = ["--steps", "2", "--batch-size", "4", "--device", "cpu", "--grid-every", "None", "--network", "digits"]


def test_a_run_carries_its_prediction_from_training_to_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = tmp_path / "run"
    train = ["train", "--data", "digits", "--objective", "t2h", "--prediction", "v_prediction", *SHORT]
    assert main([*train, "--out", str(run)]) == 0
    assert yaml.safe_load((run / "config.yaml").read_text())["process"]["prediction"] == "v_prediction"
    pipeline = T2HPipeline.from_pretrained(run / "pipeline")
    assert Process.of(pipeline.scheduler) == NoiseSchedule(prediction="v_prediction")
    assert "| Prediction | v_prediction |" in (run / "pipeline" / "README.md").read_text()
    sample = ["sample", str(run), "--per-class", "1", "--steps", "2"]
    for scheduler in ("ddim", "unipc"):
        assert main([*sample, "--scheduler", scheduler, "--out", str(tmp_path / scheduler)]) == 0
    capsys.readouterr()

    fine = ["train", "--data", "digits", "--objective", "ddpm", *SHORT[:-2], "--init", str(run)]
    assert main([*fine, "--out", str(tmp_path / "other")]) == 2
    assert "--prediction v_prediction" in capsys.readouterr().err
    assert main([*fine, "--prediction", "v_prediction", "--out", str(tmp_path / "fine")]) == 0

    again = [*train, "--out", str(run)]
    again[again.index("v_prediction")] = "sample"
    assert main(again) == 2
    assert "process.prediction: v_prediction -> sample" in capsys.readouterr().err


def test_official_checkpoints_predict_epsilon(tmp_path: Path):
    unet = build_network(network_config("cifar", 3, 3, 8))
    with pytest.raises(UserError, match="predicts v_prediction"):
        to_official(T2HPipeline(unet, NoiseSchedule(prediction="v_prediction").ddim_scheduler()), tmp_path / "x.pt")
    assert not (tmp_path / "x.pt").exists()


def test_a_configuration_of_version_0_1():
    """It calls the process a schedule and knows no prediction."""
    old = "objective: t2h\nschedule: {num_timesteps: 500, beta_start: 0.0001, beta_end: 0.02}\n"
    assert TrainConfig.from_yaml(old).process.make() == NoiseSchedule(500)
