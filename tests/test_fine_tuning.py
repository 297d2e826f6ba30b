"""`--init`: a run that begins with the weights of another."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from PIL import Image

from t2h import T2HPipeline, UserError
from t2h.cli import main
from t2h.convert import from_official
from t2h.data import DataConfig, load
from t2h.device import make_accelerator
from t2h.network import build_network, network_config
from t2h.process import NoiseSchedule
from t2h.training import LearningConfig, MachineConfig, NetworkConfig, ProcessConfig, TrainConfig, train
from t2h.training.initial import initial_network
from t2h.training.run import RunFolder
from t2h.training.setup import Training

NAMES = ("one", "two", "three")


def random_unet(classes: int | None, channels: int = 1) -> UNet2DModel:
    unet = build_network(network_config("digits", classes, channels, 8), seed=5)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
        if classes:
            unet.class_embedding.weight[classes] = 0
    return unet


def save(folder: Path, unet: UNet2DModel, names: tuple[str, ...] | None, **schedule: float) -> Path:
    scheduler = NoiseSchedule(**schedule).ddim_scheduler()
    T2HPipeline(unet, scheduler, class_names=names, method="ddpm", images_seen=1000).save_pretrained(folder)
    return folder


def images(folder: Path, names: tuple[str, ...], channels: int = 1) -> DataConfig:
    for k, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(3):
            Image.new("L" if channels == 1 else "RGB", (8, 8), color=k * 40 + i).save(folder / name / f"{i}.png")
    return DataConfig(data=str(folder), image_size=8)


def config(data: DataConfig, init: Path, **network: object) -> TrainConfig:
    return TrainConfig(
        data=data,
        network=NetworkConfig(init=str(init), **network),
        objective="ddpm",
        learning=LearningConfig(steps=2, batch_size=4, warmup_steps=0),
        machine=MachineConfig(device="cpu", grid_every=None),
    )


def made(given: TrainConfig) -> Training:
    return Training(given, make_accelerator("cpu", "no"))


def test_every_weight_is_taken_over_and_classes_by_their_names(tmp_path: Path):
    source = random_unet(3)
    init = save(tmp_path / "pipeline", source, NAMES)
    given = config(images(tmp_path / "images", ("four", "three", "one", "zero")), init)
    table = load(given.data)
    assert table.class_names == ("four", "one", "three", "zero")
    unet = initial_network(given, table)[0]
    theirs, mine = source.state_dict(), unet.state_dict()
    for name, weight in theirs.items():
        if name != "class_embedding.weight":
            assert torch.equal(mine[name], weight), name
    rows, before = mine["class_embedding.weight"], theirs["class_embedding.weight"]
    assert torch.equal(rows[1], before[0])
    assert torch.equal(rows[2], before[2])
    assert rows[4].abs().max() == 0
    for fresh in (rows[0], rows[3]):
        assert fresh.std() > 0.5
        assert not any(torch.equal(fresh, row) for row in before)
    trainer = Training(given, make_accelerator("cpu", "no"))
    assert f"begins with {init} (ddpm, 1,000 images seen; knows 2 of 4 classes)" in trainer.summary()
    for name, weight in trainer.average.unet.state_dict().items():  # the moving average begins there too
        assert torch.equal(weight, mine[name])


def test_an_unconditional_network_may_learn_classes_and_the_other_way_round(tmp_path: Path):
    data = images(tmp_path / "images", NAMES)
    plain = save(tmp_path / "plain", random_unet(None), None)
    unet = initial_network(config(data, plain), load(data))[0]
    assert unet.class_embedding.num_embeddings == 4
    assert torch.equal(unet.conv_in.weight, random_unet(None).conv_in.weight)
    labelled = save(tmp_path / "labelled", random_unet(3), NAMES)
    unet = initial_network(config(data, labelled, conditional=False), load(data))[0]
    assert unet.class_embedding is None
    assert torch.equal(unet.conv_out.weight, random_unet(3).conv_out.weight)


def test_an_official_checkpoint_has_numbers_for_names(golden_full: Path, tmp_path: Path):
    path = golden_full / "official_ckpt_conditional.pt"
    folder = tmp_path / "images"
    for k in range(5):
        (folder / f"c{k}").mkdir(parents=True)
        Image.new("RGB", (16, 16), color=k).save(folder / f"c{k}" / "0.png")
    given = config(DataConfig(data=str(folder), image_size=16), path, dropout=0.3)
    process = ProcessConfig(num_timesteps=from_official(path).scheduler.config["num_train_timesteps"])
    unet = initial_network(dataclasses.replace(given, process=process), load(given.data))[0]
    for name, weight in from_official(path).unet.state_dict().items():
        assert torch.equal(unet.state_dict()[name], weight), name
    assert unet.config["dropout"] == 0.3


def test_what_does_not_fit_is_told(tmp_path: Path):
    data = images(tmp_path / "images", NAMES)
    init = save(tmp_path / "pipeline", random_unet(3), NAMES)
    with pytest.raises(UserError, match="leave out --network"):
        made(config(data, init, network="digits"))
    with pytest.raises(UserError, match="does not exist; give the folder of a run"):
        made(config(data, tmp_path / "nothing"))
    colour = save(tmp_path / "colour", random_unet(3, channels=3), NAMES)
    with pytest.raises(UserError, match=r"3 channel\(s\), and .* has 1"):
        made(config(data, colour))
    other = save(tmp_path / "other", random_unet(3), NAMES, beta_end=0.01)
    with pytest.raises(UserError, match="another noise schedule"):
        made(config(data, other))
    odd = dataclasses.replace(data, image_size=7)
    with pytest.raises(UserError, match="--image-size"):
        made(config(odd, init))


def test_from_run_to_run_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    short = ["--steps", "2", "--batch-size", "4", "--device", "cpu", "--grid-every", "None"]
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert main(["train", "--objective", "ddpm", "--network", "digits", "--out", first, *short]) == 0
    fine = ["train", "--objective", "cbdm", "--cbdm.labels", "uniform", "--init", first, "--out", second, *short]
    assert main(fine) == 0
    assert "knows 10 of 10 classes" in capsys.readouterr().out
    assert main(fine) == 0  # finished
    card = (tmp_path / "second" / "pipeline" / "README.md").read_text()
    assert "| Fine-tuned from | first |" in card


def test_a_run_goes_on_without_the_one_that_it_began_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    data = images(tmp_path / "images", NAMES)
    init = save(tmp_path / "pipeline", random_unet(3), NAMES)
    given = config(data, init)
    train(given, tmp_path / "whole", progress=False)
    half = dataclasses.replace(given, learning=dataclasses.replace(given.learning, steps=1))
    train(half, tmp_path / "halved", progress=False)
    shutil.rmtree(init)
    assert train(given, tmp_path / "halved", extend=True).status == "finished"
    assert "begins with" not in capsys.readouterr().out
    whole, halved = (RunFolder(tmp_path / name).load()["unet"] for name in ("whole", "halved"))
    for name, weight in whole.items():
        assert torch.equal(halved[name], weight), name
    with pytest.raises(UserError, match="does not exist"):
        train(given, tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()
