"""The chance of a transfer by t, from the data alone: a loop, its meaning, the window in training, and the command."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from t2h import NoiseSchedule, UserError
from t2h.cli import main
from t2h.methods.base import Batch, Context
from t2h.methods.t2h import T2H
from t2h.methods.window import TransferChances, transfer_chances
from t2h.process import Process, RectifiedFlow

SCHEDULE = NoiseSchedule()


class Data:
    """Images with some of each class; a batch is noised, and looks at the references, which are the images."""

    def __init__(self, *counts: int, images: torch.Tensor | None = None, process: Process = SCHEDULE) -> None:
        self.counts, self.y = torch.tensor(counts), torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        self.generator = torch.Generator().manual_seed(0)
        random = torch.rand(len(self.y), 1, 4, 4, generator=self.generator) * 2 - 1
        self.x0, self.process = random if images is None else images[: len(self.y)], process
        self.context = Context(self.counts, process, len(counts))

    def batch(self, references: int | None = None, noised: int = 70) -> Batch:
        """Of some images, each as often as ``noised`` need it; the images are the references."""
        rows = torch.randperm(len(self.y), generator=self.generator)[:references]
        own = torch.arange(noised) % len(rows)
        x0, y = self.x0[rows], self.y[rows]
        b = Batch.noised(self.process, x0[own], y[own], self.generator, len(self.counts), 0.3)
        return replace(b, reference_x0=x0, reference_y=y, own=own)

    def chances(self, batches: list[Batch], **options: object) -> TransferChances:
        return transfer_chances(T2H(**options).aim(self.context).mass, batches, self.process.num_timesteps)

    def loop(self, t: float, beta: float = 0.0, rounds: int = 200) -> tuple[float, float]:
        """All images as references: the mean chances, in float64, with noise of its own; T2H's gate."""
        x0, n = self.x0.double().flatten(1), self.counts[self.y]
        moves = (n >= n.unsqueeze(1)) & ~torch.eye(len(n), dtype=torch.bool)
        same = self.y == self.y.unsqueeze(1)
        sigma, generator = float(self.process.sigma(torch.tensor([t]))), torch.Generator().manual_seed(7)
        prior = beta * (self.counts.double() / self.counts.sum()).log()[self.y]
        within = across = 0.0
        for _ in range(rounds):
            noisy = x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=torch.float64)
            p = (torch.cdist(noisy, x0).square() / (-2 * sigma**2) + prior).softmax(dim=1)
            within += float(p[moves & same].sum()) / (len(n) * rounds)
            across += float(p[moves & ~same].sum()) / (len(n) * rounds)
        return within, across


@pytest.mark.parametrize("beta", [None, -1.0])
@pytest.mark.parametrize("process", [SCHEDULE, RectifiedFlow()], ids=["ddpm", "flow"])
def test_chances_are_the_loop(process, beta):
    """Also of samples whose label is dropped: it is the chance with a label that counts."""
    data = Data(6, 3, 1, process=process)
    ours = data.chances([data.batch(noised=2000)], beta=beta, gate="hard", dropped_target="plain")
    assert ours.t[:2] == (20, 60)
    for k in (3, 10, 15, 20, 24):
        within, across = data.loop(ours.t[k], beta or 0.0)
        assert ours.within[k] == pytest.approx(within, abs=0.02)
        assert ours.across[k] == pytest.approx(across, abs=0.02)
    assert ours.across[0] < 1e-6 < 0.1 < ours.across[-1]


def test_more_references_move_the_window_to_less_noise():
    data = Data(60, 30, 10)
    few, many = (data.chances([data.batch(n, noised=200) for _ in range(4)]) for n in (5, 100))
    assert many.window(0.02, 0.3)[0] < few.window(0.02, 0.3)[0]


def test_the_window_is_where_the_chance_lies_within_the_bounds():
    chances = TransferChances(1000, (0.0, 250.0, 500.0, 750.0), (0.0,) * 4, (0.0, 0.1, 0.5, 0.9))
    assert chances.window(0.1, 0.5) == (250, 500)
    assert chances.window(0.2, 0.7) == (358, 643)  # 250 + 250 log 2 / log 5, 500 + 250 log 1.4 / log 1.8
    assert chances.window(0.0, 1.0) == (0, 1000)  # it never reaches the upper bound
    with pytest.raises(UserError, match=r"0\.9 at most, below the window's 0\.95"):
        chances.window(0.95, 1.0)


def digits(size: int, process: Process = SCHEDULE) -> Data:
    """Real digits of three classes, enlarged."""
    data = load_digits()
    rows = np.concatenate([np.flatnonzero(data.target == c)[:n] for c, n in ((0, 40), (6, 20), (8, 10))])
    images = torch.tensor(data.images[rows] / 8 - 1, dtype=torch.float32).unsqueeze(1)
    return Data(40, 20, 10, images=torch.nn.functional.interpolate(images, size=size), process=process)


@pytest.mark.parametrize(("size", "flow"), [(8, False), (32, False), (8, True)])
def test_a_window_means_the_same_at_every_size(size, flow):
    """The bounds are met at its ends, as the float64 loop finds them; and the times are others for each size."""
    data, bounds = digits(size, RectifiedFlow() if flow else SCHEDULE), (0.05, 0.25)
    aim, asked = T2H(window=bounds).aim(data.context), []
    aim.calibrate(lambda images: asked.append(images) or [data.batch(noised=images)], lambda x: x)
    t_min, t_max = aim.gate.window.times.tolist()
    assert asked == [512]
    for t, chance in ((t_min, bounds[0]), (t_max, bounds[1])):
        assert data.loop(t, rounds=6)[1] == pytest.approx(chance, abs=0.025)
    if not flow:  # the more pixels, the more noise
        assert (t_min, t_max) == pytest.approx({8: (318, 556), 32: (581, 779)}[size], abs=40)
    late, early = (replace(data.batch(), t=torch.full((70,), t), dropped=data.y < 0) for t in (t_max, t_min - 1))
    inside = replace(late, t=torch.full((70,), t_max - 1))
    assert torch.equal(aim(late), late.x0)
    assert torch.equal(aim(early), early.x0)
    assert not torch.equal(aim(inside), inside.x0)
    assert (
        aim.gate.window.extra_repr()
        == f"{t_min} <= t < {t_max}, where the chance to aim at another class is 0.05 … 0.25"
    )


def test_a_window_is_state_and_without_bounds_is_none():
    data = digits(8)
    aim, other = (T2H(window=(0.05, 0.25)).aim(data.context) for _ in range(2))
    aim.calibrate(lambda images: [data.batch()], lambda x: x)
    other.load_state_dict(aim.state_dict())
    assert other.gate.window.times.tolist() == aim.gate.window.times.tolist() != [0, 1000]
    plain = T2H(t_min=100, t_max=300).aim(data.context)
    plain.calibrate(lambda images: pytest.fail("no batch is needed"), lambda x: x)
    assert plain.gate.window.times.tolist() == [100, 300]
    assert not any("window" in name for name in plain.state_dict())  # checkpoints from before have none


def test_the_command(tmp_path: Path, capsys):
    plot, examples = tmp_path / "transfer.svg", tmp_path / "examples.png"
    command = ["inspect", "transfer", "--data", "digits", "--imbalance", "0.05", "--references", "16", "64"]
    options = ["--t2h.window", "0.02", "0.2", "--plot", str(plot), "--examples", str(examples)]
    assert main([*command, *options]) == 0
    printed = capsys.readouterr().out
    windows = re.findall(r"(\d+) +--t2h.t-min (\d+) --t2h.t-max (\d+)", printed)
    assert [window[0] for window in windows] == ["16", "64"]
    assert all(0 < int(low) < int(high) <= 1000 for _, low, high in windows)
    words = " ".join(ElementTree.parse(plot).getroot().itertext())
    assert "64 ≠" in words
    assert "chance that T2H aims at another image" in words
    picture = np.asarray(Image.open(examples))
    assert picture.shape[0] == 5 * 48 + 4 * 6
    own, drawn = picture[:, -96:-48], picture[:, -48:]  # of an image of the rarest class
    assert np.array_equal(own[:48], drawn[:48])
    assert not np.array_equal(own[-48:], drawn[-48:])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--t2h.window", "0.9", "0.1"], "the lower one first"),
        (["--t2h.window", "0.1", "0.2", "--t2h.t-min", "3"], "in place of t_min"),
        (["--plot", "a.png"], ".svg"),
        (["--references", "1"], "at least 2"),
    ],
)
def test_mistakes(options, says, capsys):
    assert main(["inspect", "transfer", "--data", "digits", *options]) == 2
    assert says in capsys.readouterr().err
