"""Methods with weights of their own, in a run: they resume; average and pipeline are of the merged network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from t2h import T2HPipeline
from t2h.data import DataConfig
from t2h.device import make_accelerator
from t2h.training import LearningConfig, MachineConfig, NetworkConfig, TrainConfig, train
from t2h.training.loop import take_step
from t2h.training.run import RunFolder
from t2h.training.setup import Training

CONFIG = TrainConfig(
    data=DataConfig(imbalance=0.1),
    network=NetworkConfig(network="digits", dropout=0.1),
    objective="t2h+cm+coral",
    learning=LearningConfig(steps=4, batch_size=8, warmup_steps=0, ema_decay=0.5, ema_rampup=0.0, lr=1e-3),
    machine=MachineConfig(device="cpu", log_every=2, save_every=2, keep=None, grid_every=None),
)


def test_a_run_resumes_exactly_and_exports_a_plain_network(tmp_path: Path):
    whole = RunFolder(tmp_path / "whole")
    train(CONFIG, whole.path, progress=False)
    (resumed := RunFolder(tmp_path / "resumed")).path.mkdir()
    for file in ("config.yaml", "classes.json", "metrics.jsonl", "checkpoints/step_00000002.pt"):
        target = resumed.path / file
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((whole.path / file).read_bytes())
    train(CONFIG, resumed.path, progress=False)
    assert [line["cm"] for line in resumed.metrics()] == [line["cm"] for line in whole.metrics()]
    first, second = whole.load(), resumed.load()
    assert first is not None
    assert second is not None
    for part in ("unet", "ema", "objective"):
        assert all(torch.equal(first[part][key], second[part][key]) for key in first[part])

    experts = [key for key in first["objective"] if "experts" in key and key.endswith(".b")]
    assert experts
    assert all(first["objective"][key].abs().max() > 0 for key in experts)  # they have learned
    plain = T2HPipeline.from_pretrained(whole.pipeline_folder).unet.state_dict()
    assert plain.keys() == first["unet"].keys()
    assert all(torch.equal(plain[key], first["ema"][key]) for key in plain)


@pytest.mark.parametrize("objective", ["cm", "ddpm"])
def test_the_average_is_of_the_merged_weights(tmp_path: Path, objective: str):
    trainer = Training(replace(CONFIG, objective=objective), make_accelerator("cpu", "no"))
    batches = trainer.stream.batches(0, trainer.share)
    average = [weight.clone() for weight in trainer.unet.parameters()]
    for _ in range(3):
        take_step(trainer, batches)
        merged = trainer.objective.merged(trainer.unet)
        average = [(a + m.detach()) / 2 for a, m in zip(average, merged, strict=True)]
    for ours, expected in zip(trainer.average.unet.parameters(), average, strict=True):
        torch.testing.assert_close(ours, expected)
    moved = [not torch.equal(m, w) for m, w in zip(merged, trainer.unet.parameters(), strict=True)]
    assert any(moved) == (objective == "cm")
