"""A pushed folder: its card, and that it draws the same images where t2h cannot be imported."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from huggingface_hub import ModelCard
from PIL import Image

from report_inputs import make_result, make_run
from t2h.cli import main
from t2h.files import write_json
from t2h.network import build_network, network_config
from t2h.pipeline import T2HPipeline, standalone
from t2h.process import NoiseSchedule, Process, RectifiedFlow
from t2h.sampling import Sampling
from test_pipeline import awake

NAMES = ("ant", "bee", "cat")
GROUPS = {"w_table": {"cat": 3.0}, "w_power": 0.5, "w_interval": (0.1, 0.8)}
CASES: dict[str, tuple[Process, Sampling, bool]] = {
    "ddim": (NoiseSchedule(), Sampling(steps=4), True),
    "ddim, eta": (NoiseSchedule(), Sampling(steps=4, eta=0.7, w=0.0), True),
    "ancestral, clipped, by class": (
        NoiseSchedule(),
        Sampling(scheduler="ddpm-small", steps=4, clip_sample=True, **GROUPS),
        True,
    ),
    "v, clipped": (NoiseSchedule(prediction="v_prediction"), Sampling(steps=4, clip_sample=True), True),
    "x0, clipped": (NoiseSchedule(prediction="sample"), Sampling(steps=4, clip_sample=True), True),
    "between the times": (
        NoiseSchedule(),
        Sampling(scheduler="EulerDiscreteScheduler", steps=7, clip_sample=True),
        True,
    ),
    "flow, clipped": (RectifiedFlow(), Sampling(scheduler="flow", steps=4, clip_sample=True), True),
    "unconditional": (NoiseSchedule(), Sampling(steps=4), False),
    "latents": (NoiseSchedule(), Sampling(steps=4), True),
}
ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "t2h":
            raise ImportError("t2h is not here")

sys.meta_path.insert(0, Blocked())
import numpy as np
import torch
from diffusers import DiffusionPipeline

torch.set_num_threads(1)
for folder in sys.argv[1:]:
    pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    labels = ["cat", 0, 1] if pipeline.config["class_names"] else None
    draw = lambda **given: pipeline(labels, output_type="np", batch_size=3, **given).images
    one = draw(generator=torch.manual_seed(5))
    many = draw(generator=[torch.Generator().manual_seed(i) for i in range(3)], guidance_scale=2, num_inference_steps=3)
    pil = np.asarray(pipeline(labels and [0]).images[0])
    np.savez(folder + ".npz", one=one, many=many, pil=pil)
    try:
        pipeline(["dog"])
    except ValueError as error:
        assert "no class" in str(error), error
assert not [name for name in sys.modules if name.split(".")[0] == "t2h"]
"""


def pipeline_of(process: Process, sampling: Sampling, conditional: bool, latents: bool = False) -> T2HPipeline:
    unet = awake(build_network(network_config("digits", len(NAMES) if conditional else None, 3, 8)))
    classes: dict[str, Any] = {"class_names": NAMES, "class_counts": [50, 20, 3]} if conditional else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKL(3, 3, block_out_channels=(8,), latent_channels=3, norm_num_groups=2) if latents else None
    if vae is not None:
        vae.register_to_config(scaling_factor=0.7, shift_factor=0.2)
    scheduler, drawn = process.scheduler(sampling.scheduler), sampling.plain()
    pipeline = T2HPipeline(unet, scheduler, **classes, method="t2h", sampling=drawn, vae=vae)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_a_pushed_folder_draws_the_same_images_without_us(tmp_path: Path) -> None:
    folders = {name: tmp_path / f"pushed{i}" for i, name in enumerate(CASES)}
    for name, case in CASES.items():
        pipeline_of(*case, name == "latents").save_pretrained(folders[name])
        shutil.copyfile(standalone.__file__, folders[name] / "pipeline.py")  # what `t2h push` does
    ran = subprocess.run([sys.executable, "-c", ALONE, *map(str, folders.values())], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for name, (process, sampling, conditional) in CASES.items():
        ours = pipeline_of(process, sampling, conditional, name == "latents")
        alone = np.load(f"{folders[name]}.npz")
        ours.unet.to(memory_format=torch.channels_last)
        labels = ["cat", 0, 1] if conditional else None
        one = ours(labels, output_type="np", batch_size=3, generator=torch.manual_seed(5)).images
        generators = [torch.Generator().manual_seed(i) for i in range(3)]
        many = ours(labels, 2.0, 3, generators, output_type="np", batch_size=3).images
        np.testing.assert_allclose(alone["one"], one, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(alone["many"], many, atol=1e-4, err_msg=name)
        assert one.std() > 0.05
        assert alone["pil"].shape == (8, 8, 3)


def test_the_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = make_run(tmp_path / "t2h"), tmp_path / "out"
    pipeline_of(*CASES["ddim"]).save_pretrained(run / "pipeline")
    result = make_result("t2h") | {"name": "T2H | here"}
    write_json(run / "results" / "evaluation.json", result)
    words = ["push", str(run), "me/long-tail", "--dry-run", str(out)]
    assert main([*words, "--license", "cc-by-4.0"]) == 0
    assert "this is what would be pushed to me/long-tail" in capsys.readouterr().out
    card = ModelCard.load(out / "README.md")
    assert (card.data.license, card.data.library_name, card.data.model_name) == ("cc-by-4.0", "diffusers", "long-tail")
    values = {found.metric_type: found for found in card.data.eval_results}
    assert values["fid"].metric_value == result["points"][3]["metrics"]["fid"]["value"]
    assert values["fid"].metric_name == "FID at w = 1.5, 1,000 samples"
    assert "is" not in values  # it is absent
    for text in (
        "| cat | 3 |",
        "![Samples",
        "custom_pipeline=repository",
        "## Limits",
        "Protocol",
        "T2H \\| here",
        "ddim, 4 steps",
    ):
        assert text in card.content
    assert (out / "pipeline.py").read_bytes() == Path(standalone.__file__).read_bytes()
    assert Image.open(out / "samples.png").width > 100
    everything = "".join(file.read_text("utf-8") for file in out.rglob("*") if file.suffix in (".md", ".json", ".py"))
    assert str(tmp_path) not in everything
    assert main(words) == 0  # an older push is replaced
    assert ModelCard.load(out / "README.md").data.license is None
    (out / "pipeline.py").unlink()
    assert main(words) == 2
    assert "holds nothing that was to be pushed" in capsys.readouterr().err


def test_what_cannot_be_pushed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline_of(NoiseSchedule(), Sampling(guide="runs/bad"), True).save_pretrained(tmp_path / "guided")
    for source, says in (("guided", "guided by another network"), ("nowhere", "does not exist")):
        assert main(["push", str(tmp_path / source), "me/mine", "--dry-run", str(tmp_path / "out")]) == 2
        assert says in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_a_refusal_of_the_hub_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline_of(*CASES["ddim"]).save_pretrained(tmp_path / "pipeline")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(["push", str(tmp_path / "pipeline"), "me/a"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("t2h: me/a: the Hub did not take it")
    assert len(error.splitlines()) == 1
