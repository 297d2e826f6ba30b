"""Training on the latents of an autoencoder that has learned the digits."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from PIL import Image
from sklearn.datasets import load_digits

from t2h import T2HPipeline, UserError
from t2h.cli import main
from t2h.convert import to_official
from t2h.data import DataConfig, load
from t2h.data.batches import BatchStream, Share
from t2h.device import make_accelerator
from t2h.evaluation.nearest import training_images
from t2h.methods import MethodOptions
from t2h.methods.t2h import T2H
from t2h.pipeline.autoencoder import decode, encode, load_autoencoder
from t2h.samples.draw import Wanted, draw_array, load_pipeline
from t2h.samples.store import facts_of
from t2h.sampling import SamplingFlags
from t2h.training import LearningConfig, MachineConfig, NetworkConfig, TrainConfig, latents, setup, train
from t2h.training.draw import draw_batch
from t2h.training.latents import encoded
from t2h.training.run import RunFolder
from t2h.training.setup import Training

DIGITS = torch.tensor(load_digits().images, dtype=torch.float32).unsqueeze(1) / 8 - 1
CPU = torch.device("cpu")
MACHINE = MachineConfig(device="cpu", log_every=2, save_every=0, grid_every=None)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An autoencoder of 8×8 digits, whose 2×4×4 latents have mean 0 and standard deviation 1."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    small = {
        "block_out_channels": (8, 16),
        "latent_channels": 2,
        "norm_num_groups": 2,
        "mid_block_add_attention": False,
    }
    draws = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = AutoencoderKL(1, 1, **blocks, **small, use_quant_conv=False, use_post_quant_conv=False)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3, fused=True)
    for _ in range(150):
        x = DIGITS[torch.randint(len(DIGITS), (16,), generator=draws)]
        x = torch.cat([x, x[:4].flip(-1)])
        z = network.encode(x).latent_dist.mean
        noisy = z + 0.05 * torch.randn(z.shape, generator=draws)
        loss = (network.decode(noisy).sample - x).square().mean() + 1e-3 * z.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        z = network.encode(DIGITS).latent_dist.mean
    network.register_to_config(scaling_factor=1 / float(z.std()), shift_factor=float(z.mean()))
    path = tmp_path_factory.mktemp("autoencoder")
    network.save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("T2H_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "latents"


def config(folder: Path | str, t2h: T2H | None = None, **learning: object) -> TrainConfig:
    settings = {"steps": 4, "batch_size": 8, "warmup_steps": 0, "flip": "on", "seed": 1} | learning
    return TrainConfig(
        data=DataConfig(imbalance=0.1),
        network=NetworkConfig(network="digits", autoencoder=str(folder)),
        learning=LearningConfig(**settings),
        methods=MethodOptions(t2h=t2h or T2H()),
        machine=MACHINE,
    )


def test_the_autoencoder_knows_the_digits(folder):
    network = load_autoencoder(str(folder))
    z = encode(network, DIGITS)
    assert z.shape == (1797, 2, 4, 4)
    assert (abs(float(z.mean())), float(z.std())) == (pytest.approx(0, abs=1e-4), pytest.approx(1, abs=1e-3))
    assert (decode(network, z) - DIGITS).square().mean() < 0.15 * DIGITS.var()


def test_latents_are_scaled_as_the_configuration_says(folder):
    network = load_autoencoder(str(folder))
    shift, scale = network.config["shift_factor"], network.config["scaling_factor"]
    x = DIGITS[:3]
    z = encode(network, x)
    torch.testing.assert_close(z, (network.encode(x).latent_dist.mean - shift) * scale)
    decoded = network.decode(z / scale + shift).sample
    torch.testing.assert_close(decode(network, z), decoded)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(decode(network, z), decoded)


def test_the_tiny_kind(tmp_path):
    torch.manual_seed(0)
    kind = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), scaling_factor=2.0,
    )  # fmt: skip
    kind.save_pretrained(tmp_path)
    network, x = load_autoencoder(str(tmp_path)), torch.rand(2, 3, 8, 8) * 2 - 1
    z = encode(network, x)
    torch.testing.assert_close(z, 2 * network.encoder(x))
    assert z.shape == (2, 4, 4, 4)
    torch.testing.assert_close(decode(network, z), network.decoder(z / 2))


def test_images_are_encoded_once_each_way_and_kept_by_content(folder, cache, monkeypatch):
    table, network = load(DataConfig(imbalance=0.1)), load_autoencoder(str(folder))
    found = encoded(table, network, True, CPU)
    pixels = torch.from_numpy(table.images).float() / 127.5 - 1
    assert found.images.dtype == np.float16
    assert (found.channels, found.image_size, len(found)) == (2, (4, 4), len(table))
    for way, x in enumerate((pixels, pixels.flip(-1))):
        np.testing.assert_allclose(found.images[:, way], encode(network, x).numpy(), atol=4e-3)
    assert found.class_counts.tolist() == table.class_counts.tolist()
    plain = encoded(table, network, False, CPU)
    np.testing.assert_array_equal(plain.images[:, 0], found.images[:, 0])
    assert len(list(cache.iterdir())) == 2
    with monkeypatch.context() as patch:
        patch.setattr(latents, "encode", lambda *_: pytest.fail("it is kept"))
        np.testing.assert_array_equal(encoded(table, network, True, CPU).images, found.images)
    network.register_to_config(scaling_factor=1.0)
    assert not np.array_equal(encoded(table, network, True, CPU).images, found.images)
    network.decoder.conv_out.bias.data += 1
    encoded(table, network, True, CPU)
    encoded(table.select(range(9, 0, -1)), network, True, CPU)
    assert len(list(cache.iterdir())) == 5


@pytest.mark.parametrize("resident_bytes", [1 << 20, 0])
def test_a_flip_picks_the_latent_of_the_mirrored_image(folder, resident_bytes):
    table = encoded(load(DataConfig(imbalance=0.1)), load_autoencoder(str(folder)), True, CPU)
    z, n = torch.from_numpy(table.images).float(), len(table)
    stream = BatchStream(table, CPU, 3, flip=True, resident_bytes=resident_bytes, workers=0)
    assert stream.bytes == table.images.nbytes
    x0, y = next(stream.batches(40, Share(20)))
    rows = stream.order.rows(40, 20)
    at = torch.from_numpy(rows)
    mirrored = (x0 == z[at, 1]).flatten(1).all(dim=1)
    assert 0 < mirrored.sum() < 20
    assert torch.equal(x0, z[at, mirrored.long()])
    assert torch.equal(y, torch.from_numpy(table.labels)[at])
    if resident_bytes:
        everything, labels = stream.everything()
        assert torch.equal(everything, torch.cat([z[:, 0], z[:, 1]]))
        assert torch.equal(everything[stream.own(40, Share(20))], x0)
        assert labels.tolist() == table.labels.tolist() * 2
        with pytest.raises(UserError, match="--resident-gib"):
            BatchStream(table, CPU, 3, resident_bytes=4 * 2 * n * 32 - 1).everything()


def test_the_posterior_in_latent_space_is_the_float64_loop(folder):
    made = Training(config(folder, T2H(references="all", estimate="expectation")), make_accelerator("cpu", "no"))
    made.step = 2
    b = draw_batch(made, *next(made.stream.batches(16, made.share)))
    b = dataclasses.replace(b, t=torch.arange(300, 700, 50))
    z = made.table.images.astype(np.float64)
    z, labels = np.concatenate([z[:, 0], z[:, 1]]), np.tile(made.table.labels, 2)
    counts, sigma, aim = made.table.class_counts, made.process.sigma(b.t).numpy(), made.objective.aim(b)
    moved = 0.0
    for i in range(8):
        x0, eps = b.x0[i].double().numpy(), b.eps[i].double().numpy()
        log_p = -((x0 + sigma[i] * eps - z) ** 2).sum(axis=(1, 2, 3)) / (2 * sigma[i] ** 2)
        p = np.exp(log_p - log_p.max())
        p = p / p.sum() * (counts[labels] >= counts[int(b.y[i])])
        expected = (p[:, None, None, None] * z).sum(axis=0) + (1 - p.sum()) * x0
        assert np.abs(aim[i].numpy() - expected).max() < 1e-4
        moved = max(moved, np.abs(expected - x0).max())
    assert moved > 0.05


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("latents") / "run"
    train(config(folder), out, progress=False)
    return RunFolder(out)


def test_a_run_draws_through_the_decoder(whole, folder, monkeypatch):
    pipeline = T2HPipeline.from_pretrained(whole.pipeline_folder)
    assert (pipeline.image_shape, pipeline.noise_shape) == ((1, 8, 8), (2, 4, 4))
    assert not pipeline.sampling.clip_sample
    assert "8×8, grey" in (whole.pipeline_folder / "README.md").read_text("utf-8")
    before = load_autoencoder(str(folder)).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in pipeline.vae.state_dict().items())
    drawn = []
    monkeypatch.setattr("t2h.pipeline.decode", lambda vae, z: drawn.append(decode(vae, z)) or drawn[-1])
    images = pipeline(["3", 4], output_type="pt", generator=torch.manual_seed(0), num_inference_steps=3).images
    torch.testing.assert_close(images, (drawn[0] / 2 + 0.5).clamp(0, 1))
    few = dataclasses.replace(pipeline.sampling, steps=3)
    batch = draw_array(load_pipeline(whole.path), Wanted.per_class([1, 2], 2), few, progress=False)
    assert (batch.shape, batch.dtype) == ((4, 8, 8, 1), np.uint8)
    alone = draw_array(load_pipeline(whole.path), Wanted.per_class([2], 1), few, progress=False)
    np.testing.assert_allclose(batch[2].astype(int), alone[0].astype(int), atol=1)
    with pytest.raises(UserError, match="clip_sample"):
        pipeline(1, clip_sample=True)


def test_a_run_resumes_to_the_last_bit_without_the_autoencoder_that_it_began_with(whole, folder, cache, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    train(config(copy, steps=2), tmp_path / "parts", progress=False)
    shutil.rmtree(copy)
    shutil.rmtree(cache)
    train(config(copy), tmp_path / "parts", progress=False, extend=True)
    ours, theirs = whole.load(), RunFolder(tmp_path / "parts").load()
    for part in ("unet", "ema"):
        assert all(torch.equal(value, theirs[part][name]) for name, value in ours[part].items())
    assert load_pipeline(tmp_path / "parts").vae is not None


def test_training_images_of_the_judge_stay_pixels(whole):
    images, _ = training_images(whole.config().to_dict())
    assert images.dtype == np.uint8


def test_from_the_command_line_and_on_from_its_weights(folder, tmp_path, capsys):
    run, words = tmp_path / "run", ["train", "--data", "digits", "--steps", "2", "--batch-size", "4", "--device", "cpu"]
    words += ["--sampling.steps", "2"]
    assert main([*words, "--network", "digits", "--autoencoder", str(folder), "--out", str(run)]) == 0
    assert f"latents     2 channels, of {folder}" in capsys.readouterr().out
    with Image.open(run / "grids" / "step_00000002.png") as grid:
        assert min(grid.size) > 100
    assert main(["sample", str(run), "--per-class", "1", "--out", str(tmp_path / "samples")]) == 0
    fine = [*words, "--init", str(run), "--grid-every", "None", "--out", str(tmp_path / "fine")]
    capsys.readouterr()
    assert main(fine) == 2
    own = run / "pipeline" / "vae"
    assert f"draws latents; give --autoencoder {own}" in capsys.readouterr().err
    assert main([*fine, "--autoencoder", str(own)]) == 0
    assert load_pipeline(tmp_path / "fine").image_shape == (1, 8, 8)
    assert main([*words, "--network", "digits", "--grid-every", "None", "--out", str(tmp_path / "pixels")]) == 0
    fine = [*words, "--init", str(tmp_path / "pixels"), "--autoencoder", str(own), "--out", str(tmp_path / "no")]
    assert main(fine) == 2
    assert "draws images; leave out --autoencoder" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--augment", "0.1"], "leave them out with --autoencoder"),
        (["--sampling.clip-sample", "True"], "leave them out with --autoencoder"),
        (["--channels", "3"], "give --channels 1"),
        (["--image-size", "7"], "Give --image-size 8"),
        (["--autoencoder", "nowhere"], "nowhere is no folder with a config.json"),
        (["--autoencoder", "unet"], "no autoencoder of diffusers, or a damaged one (its class is UNet2DModel)"),
        (["--autoencoder", "pickled"], "no autoencoder of diffusers"),
        (["--autoencoder", "cut"], "no autoencoder of diffusers"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(words, says, folder, whole, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole.pipeline_folder / "unet", "unet")
    for name in ("pickled", "cut"):
        weights = Path(shutil.copytree(folder, name)) / "diffusion_pytorch_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    Path("pickled/diffusion_pytorch_model.safetensors").unlink()
    torch.save(load_autoencoder(str(folder)).state_dict(), "pickled/diffusion_pytorch_model.bin")
    given = [] if words[0] == "--autoencoder" else ["--autoencoder", str(folder)]
    assert main(["train", "--data", "digits", "--steps", "2", "--out", "run", *given, *words]) == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert error.count("\n") == 0
    assert not Path("run").exists()


def test_the_decoder_is_part_of_what_decides_the_images(whole, tmp_path):
    pipeline = load_pipeline(whole.path)
    facts = facts_of(pipeline, pipeline.sampling)
    pipeline.vae.decoder.conv_out.bias.data += 1
    assert facts_of(pipeline, pipeline.sampling)["weights_sha256"] != facts["weights_sha256"]
    with pytest.raises(UserError, match="draws latents"):
        to_official(pipeline, tmp_path / "x.pt")


def test_a_pipeline_folder_chooses_no_other_class_of_autoencoder(whole, tmp_path):
    copy = shutil.copytree(whole.pipeline_folder, tmp_path / "copy")
    index = copy / "model_index.json"
    index.write_text(index.read_text("utf-8").replace("AutoencoderKL", "UNet2DModel"))
    with pytest.raises(UserError, match=r"its vae is diffusers\.UNet2DModel"):
        load_pipeline(copy)


def test_a_step_does_not_hold_the_autoencoder(folder, tmp_path, monkeypatch):
    """What trains has no autoencoder among its objects: it is read again for a checkpoint and for a grid."""
    read = []
    monkeypatch.setattr(setup, "load_autoencoder", lambda source: read.append(source) or load_autoencoder(source))
    grids = MachineConfig(device="cpu", save_every=0, grid_every=0)
    given = dataclasses.replace(config(folder), machine=grids, sampling=SamplingFlags(steps=1))
    train(given, tmp_path / "run", progress=False)
    own = str(tmp_path / "run" / "pipeline" / "vae")
    assert read == [str(folder), str(folder), own]  # to encode, for the pipeline folder, for the grid
    train(dataclasses.replace(given, machine=MACHINE), tmp_path / "run", progress=False)
    assert read[3:] == [own]


@pytest.mark.slow
def test_digits_drawn_through_the_decoder_show_their_label(folder, tmp_path):
    learn = {"steps": 1000, "batch_size": 32, "lr": 2e-3, "flip": "off", "warmup_steps": 50}
    train(dataclasses.replace(config(folder, **learn), data=DataConfig()), tmp_path / "run", progress=False)
    pipeline = load_pipeline(tmp_path / "run")
    wanted = Wanted.per_class(range(10), 20)
    drawn = draw_array(pipeline, wanted, pipeline.sampling, progress=False).reshape(200, 64)
    real = load(DataConfig(split="all"))
    nearest = torch.cdist(torch.from_numpy(drawn).float(), torch.from_numpy(real.images).float().flatten(1)).argmin(1)
    assert (real.labels[nearest.numpy()] == wanted.labels).mean() > 0.9


@pytest.mark.slow
def test_a_name_on_the_hub_is_taken_from_its_cache_here(folder, tmp_path):
    """In a process of its own, for the Hub's client reads the environment when it is imported."""
    cached, commit = tmp_path / "models--somebody--diffusion", "a" * 40
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    shutil.copytree(folder, cached / "snapshots" / commit / "vae")
    code = "import sys; from t2h.pipeline.autoencoder import load_autoencoder as load; print(load(sys.argv[1]).config)"
    offline = os.environ | {"HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    there, missing = (
        subprocess.run([sys.executable, "-c", code, name], env=offline, capture_output=True, text=True)
        for name in ("hub:somebody/diffusion/vae", "hub:somebody/other")
    )
    assert str(load_autoencoder(str(folder)).config["scaling_factor"]) in there.stdout
    assert "comes from the Hub" in there.stderr
    assert "UserError: hub:somebody/other is no autoencoder" in missing.stderr
