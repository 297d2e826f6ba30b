"""Official checkpoints compute here what they compute there, and nothing else is taken for one."""

from __future__ import annotations

import lzma
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from t2h.cli import main
from t2h.convert import from_official, read_official, save_pipeline, to_official
from t2h.errors import UserError
from t2h.network import UNetDenoiser, build_network, network_config
from t2h.pipeline import T2HPipeline
from t2h.process import NoiseSchedule
from t2h.sampling import Sampling


@pytest.fixture(scope="module")
def trained(golden: Path) -> Path:
    return golden / "official_ckpt_trained.pt.xz"


@pytest.fixture(scope="module")
def samplers(golden: Path) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in np.load(golden / "samplers.npz").items()}


@pytest.fixture(scope="module")
def pipeline(trained: Path) -> T2HPipeline:
    pipeline = from_official(trained)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def content(trained: Path) -> dict[str, Any]:
    with lzma.open(trained) as file:
        return torch.load(file, weights_only=True)


@torch.no_grad()
def _predict(pipeline: T2HPipeline, given: dict[str, Tensor], labelled: bool) -> Tensor:
    """In float64, so that what is left is the rounding of the official float32, whatever the processor."""
    k = pipeline.num_classes
    label = None if k is None else given["y"] if labelled else torch.full_like(given["t"], k)
    return deepcopy(pipeline.unet).double()(given["x"].double(), given["t"], label, return_dict=False)[0].float()


def test_the_network_computes_what_the_official_one_does(pipeline: T2HPipeline, samplers: dict[str, Tensor]) -> None:
    # The file's net_model is all zeros: only the EMA's weights give this.
    for labelled, expected in ((True, samplers["out"]), (False, samplers["out_no_label"])):
        torch.testing.assert_close(_predict(pipeline, samplers, labelled), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["conditional", "conditional_augm", "unconditional"])
def test_other_architectures(golden_full: Path, kind: str) -> None:
    path = golden_full / f"official_ckpt_{kind}.pt"
    given = {name: torch.from_numpy(array) for name, array in np.load(golden_full / f"unet_{kind}.npz").items()}
    pipeline = from_official(path)
    assert pipeline.num_classes == (None if kind == "unconditional" else 5)
    for labelled, expected in ((True, given["out"]), (False, given["out_no_label"])):
        torch.testing.assert_close(_predict(pipeline, given, labelled), expected, rtol=0, atol=1e-5)
    if kind == "conditional_augm":
        with torch.no_grad():
            augmentation = read_official(path).augmentation
            assert augmentation is not None
            embedding = torch.nn.Linear(augmentation.shape[1], augmentation.shape[0], bias=False)
            embedding.weight.copy_(augmentation)
            unet = UNetDenoiser(pipeline.unet, embedding).eval()
            with unet.conditioned_on(given["augm"]):
                out = unet(given["x"], given["t"], given["y"])
            torch.testing.assert_close(out, given["out_augm"], rtol=0, atol=1e-5)
            torch.testing.assert_close(unet(given["x"], given["t"], given["y"]), given["out"], rtol=0, atol=1e-5)
            with unet.conditioned_on(torch.zeros_like(given["augm"])):
                out = unet(given["x"], given["t"], given["y"])
            torch.testing.assert_close(out, given["out"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("w", [0.0, 1.5])
@pytest.mark.parametrize("steps", [20, 100])
def test_ddim_images(pipeline: T2HPipeline, samplers: dict[str, Tensor], steps: int, w: float) -> None:
    images = pipeline(
        samplers["y_T"],
        guidance_scale=1 + w,
        num_inference_steps=steps,
        latents=samplers["x_T"],
        output_type="pt",
    ).images
    torch.testing.assert_close(images * 2 - 1, samplers[f"ddim{steps}_w{w}"], rtol=0, atol=5e-4)


@pytest.mark.parametrize("t", [0, 1, 10, 500, 999])
@torch.no_grad()
def test_one_ancestral_step(pipeline: T2HPipeline, samplers: dict[str, Tensor], t: int) -> None:
    x, scheduler = samplers["x"], NoiseSchedule().ddpm_scheduler("fixed_large")
    null = torch.full_like(samplers["y"], 5)
    time = torch.full_like(samplers["y"], t)
    eps, free = (pipeline.unet(x, time, label, return_dict=False)[0] for label in (samplers["y"], null))
    guided = eps + 1.5 * (eps - free)
    after = scheduler.step(guided, t, x, generator=torch.Generator().manual_seed(0)).prev_sample
    mean, log_variance = samplers[f"ddpm_mean_t{t}_w1.5"], samplers[f"ddpm_logvar_t{t}"]
    if t > 0:  # the official sampler adds no noise at t = 0 either
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        variance = scheduler._get_variance(t)
        after = after - variance.sqrt() * noise
        # diffusers takes β_t from float32 products, which at small t leaves four digits
        torch.testing.assert_close(variance.log().expand_as(log_variance), log_variance, rtol=0, atol=5e-4)
    torch.testing.assert_close(after, mean, rtol=1e-5, atol=5e-4)


def test_what_is_recorded(pipeline: T2HPipeline) -> None:
    config = pipeline.config
    assert config["method"] == "official"
    assert config["images_seen"] == 200_000 * 128
    assert config["training"]["Training steps"] == 200_000
    assert pipeline.image_shape == (3, 16, 16)
    assert pipeline.unet.config["block_out_channels"] == (32, 64)
    assert pipeline.unet.config["down_block_types"] == ("DownBlock2D", "AttnDownBlock2D")
    assert pipeline.unet.class_embedding.weight[5].abs().max() == 0


def test_class_names_and_data_parallel_prefix(content: dict[str, Any], tmp_path: Path) -> None:
    content["ema_model"] = {f"module.{name}": weight for name, weight in content["ema_model"].items()}
    content["net_model"] = content["sched"] = content["optim"] = {}
    del content["fixed_x_T"]
    torch.save(content, tmp_path / "ckpt_1.pt")
    with pytest.raises(UserError, match="--image-size"):
        from_official(tmp_path / "ckpt_1.pt")
    with pytest.raises(UserError, match="3 class names for a network of 5"):
        from_official(tmp_path / "ckpt_1.pt", image_size=16, class_names=["a", "b", "c"])
    pipeline = from_official(tmp_path / "ckpt_1.pt", image_size=16, class_names=list("abcde"))
    assert pipeline.class_ids(["e", "a"]) == [4, 0]


def test_round_trip(pipeline: T2HPipeline, trained: Path, tmp_path: Path) -> None:
    to_official(pipeline, tmp_path / "back" / "ckpt_7.pt", step=7)
    before, after = read_official(trained), read_official(tmp_path / "back" / "ckpt_7.pt")
    assert after.config == before.config
    assert (after.step, after.image_size) == (7, (16, 16))
    assert after.weights.keys() == before.weights.keys()
    for name, weight in before.weights.items():  # the file's time table is rounded to bfloat16, like its weights
        torch.testing.assert_close(after.weights[name], weight, rtol=0, atol=4e-3 if weight.shape[0] == 1000 else 0)
    for a, b in zip(
        pipeline.unet.state_dict().values(),
        from_official(tmp_path / "back" / "ckpt_7.pt").unet.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(a, b)
    assert [p.name for p in (tmp_path / "back").iterdir()] == ["ckpt_7.pt"]


def test_what_the_official_network_cannot_be(tmp_path: Path) -> None:
    unet = build_network(network_config("digits", 10, channels=3, image_size=8))
    with pytest.raises(UserError, match="norm_num_groups is 32, not 8"):
        to_official(T2HPipeline(unet, NoiseSchedule().ddim_scheduler()), tmp_path / "x.pt")
    assert not (tmp_path / "x.pt").exists()


def _bomb(path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (path.with_name("exploded"),)

    torch.save({"ema_model": Bomb()}, path)


def _broken(change: str):  # type: ignore[no-untyped-def]
    def write(path: Path, content: dict[str, Any]) -> None:
        ema = content["ema_model"]
        if change == "lacks":
            del ema["downblocks.0.block2.3.weight"]
        elif change == "has unknown":
            ema["surplus.weight"] = torch.zeros(1)
        elif change == "no ends":
            del ema["head.weight"]
        elif change == "other time table":
            ema["time_embedding.timembedding.0.weight"] = torch.zeros(1000, 32)
        elif change == "no ema":
            del content["ema_model"]
        torch.save(content, path)

    return write


BAD = {
    "nothing": (lambda path, content: None, "there is no file"),
    "text": (lambda path, content: path.write_text("not a checkpoint, but a text"), "bad.pt"),
    "empty": (lambda path, content: path.write_bytes(b""), "cannot be read"),
    "pickle": (lambda path, content: path.write_bytes(pickle.dumps({"a": 1})), "bad.pt"),
    "malicious": (lambda path, content: _bomb(path), "is code and was not run"),
    "list": (lambda path, content: torch.save([1, 2], path), "holds list"),
    "state dict": (lambda path, content: torch.save(content["ema_model"], path), "is no official checkpoint"),
    "ours": (
        lambda path, content: torch.save({"unet": content["ema_model"], "config": {}, "images_seen": 3}, path),
        "it holds unet, config, images_seen",
    ),
    "other network": (
        lambda path, content: torch.save({"ema_model": {"w": torch.zeros(2)}, "step": 1}, path),
        "not the weights of the official U-Net",
    ),
    "lacks": (_broken("lacks"), r"lack downblocks.0.block2.3.weight \(1 such\)"),
    "has unknown": (_broken("has unknown"), "have unknown surplus.weight"),
    "no ends": (_broken("no ends"), "'head.weight'"),
    "other time table": (_broken("other time table"), "time table"),
    "no ema": (_broken("no ema"), "is no official checkpoint"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_official_checkpoint(kind: str, content: dict[str, Any], tmp_path: Path) -> None:
    write, message = BAD[kind]
    write(tmp_path / "bad.pt", content)
    with pytest.raises(UserError, match=message) as caught:
        from_official(tmp_path / "bad.pt")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_file(compressed: bool, trained: Path, content: dict[str, Any], tmp_path: Path) -> None:
    bad = tmp_path / "bad.pt"
    if compressed:
        bad.write_bytes(trained.read_bytes()[:-1000])
    else:
        torch.save(content, bad)
        bad.write_bytes(bad.read_bytes()[: bad.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged, cut short"):
        from_official(bad)


def test_command(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "pipeline"
    names = ["zero", "one", "two", "three", "four"]
    command = ["convert", "official", str(trained), str(out), "--class-names", *names]
    assert main([*command, "--num-classes", "10"]) == 2
    assert "has 5 classes, not the 10" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, "--num-classes", "5", "--w", "0.8"]) == 0
    assert "classes     5" in capsys.readouterr().out
    loaded = T2HPipeline.from_pretrained(out)
    assert loaded.config["class_names"] == names
    assert loaded.sampling.w == 0.8
    assert [p.name for p in out.parent.iterdir()] == ["pipeline"]

    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert T2HPipeline.from_pretrained(out).sampling == Sampling()

    back = tmp_path / "ckpt_3.pt"
    assert main(["convert", "to-official", str(out), str(back), "--step", "3"]) == 0
    assert read_official(back).step == 3
    assert main(["convert", "to-official", str(out), str(back)]) == 2


def test_what_is_no_pipeline_is_never_replaced(pipeline: T2HPipeline, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="is no pipeline folder"):
            save_pipeline(pipeline, tmp_path, overwrite)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
