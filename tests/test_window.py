"""The chance of a transfer by t, from the data alone: a loop, its meaning, and the command."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from t2h import NoiseSchedule, UserError
from t2h.cli import main
from t2h.methods.window import TransferChances, transfer_chances

SCHEDULE = NoiseSchedule()


class Data:
    """Random images with some of each class."""

    def __init__(self, *counts: int) -> None:
        self.counts, self.y = torch.tensor(counts), torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        self.generator = torch.Generator().manual_seed(0)
        self.x0 = torch.rand(len(self.y), 1, 4, 4, generator=self.generator) * 2 - 1

    def chances(self, references: int, rounds: int, points: int) -> TransferChances:
        return transfer_chances(self.draw, self.counts, SCHEDULE, references, rounds, points)

    def draw(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.randperm(len(self.y), generator=self.generator)[:n]
        return self.x0[rows], self.y[rows]


def test_chances_are_the_loop():
    """All images as references: the mean over them, in float64, with other noise; T2H's gate between the classes."""
    data, generator = Data(6, 3, 1), torch.Generator().manual_seed(7)
    ours = data.chances(10, rounds=200, points=5)
    x0, y, counts = data.x0.double().flatten(1), data.y.tolist(), [6, 3, 1]
    assert ours.t == (0, 200, 400, 600, 800)
    for k, t in enumerate(ours.t):
        sigma, within, across, rounds = float(SCHEDULE.sigma(torch.tensor([int(t)]))), 0.0, 0.0, 200
        for _ in range(rounds):
            noisy = x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=torch.float64)
            p = (torch.cdist(noisy, x0).square() / (-2 * sigma**2)).softmax(dim=1)
            for i in range(len(y)):
                for j in range(len(y)):
                    if i != j and counts[y[j]] >= counts[y[i]]:
                        share = float(p[i, j]) / (len(y) * rounds)
                        within, across = within + share * (y[i] == y[j]), across + share * (y[i] != y[j])
        assert ours.within[k] == pytest.approx(within, abs=0.02)
        assert ours.across[k] == pytest.approx(across, abs=0.02)
    assert ours.across[0] < 1e-6 < 0.1 < ours.across[-1]


def test_more_references_move_the_window_to_less_noise():
    few, many = (Data(60, 30, 10).chances(n, rounds=4, points=21) for n in (5, 100))
    assert many.window(0.02, 0.3)[0] < few.window(0.02, 0.3)[0]


def test_the_window_is_where_the_chance_lies_within_the_bounds():
    chances = TransferChances(8, (0.0, 250.0, 500.0, 750.0), (0.0,) * 4, (0.0, 0.1, 0.5, 0.9))
    assert chances.window(0.1, 0.5) == (250, 750)
    assert chances.window(0.05, 1.0) == (250, 1000)  # it never exceeds the upper bound
    assert chances.window(0.95, 1.0) == (1000, 1000)  # nor reaches the lower one


def test_the_command(tmp_path: Path, capsys):
    plot = tmp_path / "transfer.svg"
    command = ["inspect", "transfer", "--data", "digits", "--imbalance", "0.05", "--references", "16", "64"]
    assert main([*command, "--chance", "0.02", "0.2", "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    windows = re.findall(r"(\d+)  --t2h.t-min (\d+) --t2h.t-max (\d+)", printed)
    assert [window[0] for window in windows] == ["16", "64"]
    assert all(0 < int(low) < int(high) <= 1000 for _, low, high in windows)
    words = " ".join(ElementTree.parse(plot).getroot().itertext())
    assert "64 ≠" in words
    assert "chance that T2H aims at another image" in words


def test_mistakes(tmp_path: Path):
    with pytest.raises(UserError, match="at least 2"):
        Data(6, 3).chances(1, 1, 1)
    for options in (["--chance", "0.9", "0.1"], ["--plot", str(tmp_path / "a.png")]):
        assert main(["inspect", "transfer", "--data", "digits", *options]) != 0
