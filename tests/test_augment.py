"""The augmentation of which the network is told: its geometry, its draws, and what the training does with it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from t2h.data import DataConfig
from t2h.data.augment import _draw, augment
from t2h.device import make_accelerator
from t2h.network import UNetDenoiser, augmentation_embedding, build_network, network_config
from t2h.samples.draw import load_pipeline
from t2h.training import LearningConfig, MachineConfig, NetworkConfig, TrainConfig, train
from t2h.training.loop import draw_batch, save, take_step
from t2h.training.run import RunFolder
from t2h.training.same import as_begun
from t2h.training.setup import Training


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_images(n: int, height: int, width: int) -> torch.Tensor:
    noise = np.random.default_rng(0).normal(size=(n, 2, height, width))
    smooth = ndimage.gaussian_filter(noise, (0, 0, 2.5, 2.5), mode="mirror")
    return torch.from_numpy(smooth / np.abs(smooth).max()).float()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 20)])
def test_a_blob_moves_where_the_equation_sends_it(height, width):
    n = 100
    start = np.random.default_rng(1).uniform(-2, 2, (n, 2))  # (x, y) from the centre
    rows, columns = np.mgrid[:height, :width]
    x, y = columns - (width - 1) / 2, rows - (height - 1) / 2
    blobs = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / 2) for a, b in start]
    images = torch.from_numpy(np.stack(blobs)).float()[:, None] * 2 - 1
    out, told = augment(images, 1.0, draws(0))
    a = _draw(n, 1.0, draws(0)).double().numpy().T
    compared = 0
    for image, (a0, a1, a2, a3, a4, a5, a6, a7), p in zip(out, a, start, strict=True):
        p = p * (1 - 2 * np.array([a0, a1]))
        p = p * 2 ** (0.2 * a2)
        p = np.array([math.cos(a3) * p[0] - math.sin(a3) * p[1], math.sin(a3) * p[0] + math.cos(a3) * p[1]])
        along, across = np.array([math.cos(a4), math.sin(a4)]), np.array([-math.sin(a4), math.cos(a4)])
        p = along * (along @ p) * 2 ** (0.2 * a5) + across * (across @ p) * 2 ** (-0.2 * a5)
        p = p + np.array([a6 * width, a7 * height]) / 8
        if (np.abs(p) > np.array([width, height]) / 2 - 3).any():
            continue  # near the border, where its mirror image comes in
        place = [[p[1] + (height - 1) / 2], [p[0] + (width - 1) / 2]]
        assert ndimage.map_coordinates(image[0].numpy(), place, order=3, mode="mirror") > 0.6  # the peak
        compared += 1
    assert compared > 30
    cos, sin = np.cos(a), np.sin(a)
    told_of_it = [*a.T[:3], cos[:, 3] - 1, sin[:, 3], a[:, 5] * cos[:, 4], a[:, 5] * sin[:, 4], *a.T[6:]]
    np.testing.assert_allclose(told.numpy(), np.stack(told_of_it, axis=1), atol=1e-5)


def test_pixels_are_those_of_scipys_cubic_interpolation_also_beyond_the_border():
    images = smooth_images(200, 16, 16)
    out, _ = augment(images, 1.0, draws(5))
    a = _draw(200, 1.0, draws(5)).double().numpy().T
    for image, result, (a0, a1, a2, a3, a4, a5, a6, a7) in zip(images, out, a, strict=True):
        cos, sin, c, s = math.cos(a3), math.sin(a3), math.cos(a4), math.sin(a4)
        turn, axis = np.array([[cos, -sin], [sin, cos]]), np.array([[c, -s], [s, c]])
        forward = axis @ np.diag([2 ** (0.2 * a5), 2 ** (-0.2 * a5)]) @ axis.T @ turn * 2 ** (0.2 * a2)
        rows, columns = np.mgrid[:16, :16] - 7.5
        x, y = np.linalg.inv(forward) @ (np.stack([columns, rows]).reshape(2, -1) - np.array([[a6], [a7]]) * 2)
        place = np.stack([y * (1 - 2 * a1), x * (1 - 2 * a0)]).reshape(2, 16, 16) + 7.5
        expected = [ndimage.map_coordinates(channel.numpy(), place, order=3, mode="mirror") for channel in image]
        np.testing.assert_allclose(result.numpy(), np.stack(expected), atol=0.03)


def test_interpolation_leaves_no_pixel_beyond_the_range():
    hard = (torch.rand(20, 1, 8, 8, generator=draws(0)) < 0.5).float() * 2 - 1
    assert augment(hard, 1.0, draws(1))[0].abs().max() == 1


def test_without_chance_only_exact_mirrors_are_left():
    images = smooth_images(50, 8, 8)
    out, told = augment(images, 0.0, draws(0))
    assert told[:, 1:].abs().max() == 0
    mirrored = told[:, 0] == 1
    assert 15 < mirrored.sum() < 35
    assert torch.equal(out[mirrored], images[mirrored].flip(-1))
    assert torch.equal(out[~mirrored], images[~mirrored])


def test_each_transformation_comes_with_its_chance_and_on_its_own():
    _, told = augment(torch.zeros(20_000, 1, 2, 2), 0.12, draws(0))
    drawn = told != 0
    assert drawn[:, 0].double().mean() == pytest.approx(0.5, abs=0.02)
    assert drawn[:, 1].double().mean() == pytest.approx(0.06, abs=0.01)
    for column in range(2, 9):
        assert drawn[:, column].double().mean() == pytest.approx(0.12, abs=0.01)
    for pair in ((3, 4), (5, 6), (7, 8)):
        assert (drawn[:, pair[0]] != drawn[:, pair[1]]).sum() < 20  # cos a_3 may round to 1
    assert (drawn[:, 2] & drawn[:, 4]).double().mean() == pytest.approx(0.12**2, abs=0.005)
    for column in (2, 7, 8):
        assert told[drawn[:, column], column].std() == pytest.approx(1, abs=0.05)
    angle = torch.atan2(told[:, 4], told[:, 3] + 1)[drawn[:, 4]]
    assert angle.std() == pytest.approx(math.pi / 3**0.5, abs=0.1)


def test_the_network_is_told_and_zeros_tell_nothing():
    unet = build_network(network_config("digits", 3, 1, 8), seed=0)
    with torch.no_grad():  # a fresh network says nothing yet
        for parameter in unet.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draws(0)) * 0.05)
    denoiser = UNetDenoiser(unet, augmentation_embedding(unet, 9))
    x, t, y = torch.randn(4, 1, 8, 8, generator=draws(1)), torch.tensor([1, 10, 100, 900]), torch.tensor([0, 1, 2, 3])
    told = torch.randn(4, 9, generator=draws(2))
    with torch.no_grad():
        plain = denoiser(x, t, y)
        with denoiser.conditioned_on(torch.zeros(4, 9)):
            assert torch.equal(denoiser(x, t, y), plain)
        with denoiser.conditioned_on(told):
            with_it = denoiser(x, t, y)
        assert torch.equal(denoiser(x, t, y), plain)
    assert ((with_it - plain).abs().flatten(1).amax(dim=1) > 1e-3).all()


TINY = TrainConfig(
    data=DataConfig(imbalance=0.1),
    network=NetworkConfig(network="digits"),
    objective="t2h+cbdm",
    learning=LearningConfig(steps=6, batch_size=8, warmup_steps=2, ema_decay=0.9, flip="on", augment=0.5),
    machine=MachineConfig(device="cpu", log_every=2, save_every=3, keep=None, grid_every=None),
)


def test_training_tells_every_pass_and_resumes_exactly(tmp_path: Path):
    train(TINY, tmp_path / "whole", progress=False)
    whole = RunFolder(tmp_path / "whole").load()
    trainer = Training(TINY, make_accelerator("cpu", "no"))
    begun = trainer.denoiser.augmentation.weight.detach().clone()
    assert not torch.equal(whole["augmentation"]["weight"], begun)  # it is trained

    half = RunFolder(tmp_path / "half")
    half.begin(as_begun(half, TINY), trainer.table, 0)
    batches = trainer.stream.batches(0, trainer.share)
    for _ in range(3):
        take_step(trainer, batches)
    save(trainer, half)
    train(TINY, tmp_path / "half", progress=False)
    resumed = half.load()
    for part in ("unet", "ema", "augmentation"):
        for name, weight in whole[part].items():
            assert torch.equal(weight, resumed[part][name]), (part, name)
    # what is sampled is a plain network
    assert set(load_pipeline(tmp_path / "whole").unet.state_dict()) == set(whole["ema"])


def test_batches_are_augmented_instead_of_mirrored():
    trainer = Training(TINY, make_accelerator("cpu", "no"))
    x0, y = next(trainer.stream.batches(0, trainer.share))
    assert not trainer.stream.flip
    batch = draw_batch(trainer, x0, y)
    still = (batch.augmentation == 0).all(dim=1)
    assert torch.equal(batch.x0[still], x0[still])
    assert not torch.equal(batch.x0[~still], x0[~still])
    assert torch.equal(batch.reference_x0, batch.x0)
    assert torch.equal(draw_batch(trainer, x0, y).xt, batch.xt)
    off = dataclasses.replace(TINY, learning=dataclasses.replace(TINY.learning, augment=0.0))
    assert draw_batch(Training(off, make_accelerator("cpu", "no")), x0, y).augmentation is None
