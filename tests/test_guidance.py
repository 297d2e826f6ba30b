"""Guidance by class, in an interval, and by another network: against loops in float64 from the equations."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from sklearn.datasets import load_digits
from torch import Tensor

from t2h import NoiseSchedule, T2HPipeline, UserError
from t2h.cli import main
from t2h.network import build_network, network_config
from t2h.process import RectifiedFlow
from t2h.samples.draw import Wanted, draw_array, load_pipeline
from t2h.samples.store import facts_of, weights_sha256, write_samples
from t2h.sampling import Sampling, SamplingFlags, read_table

NAMES, COUNTS = ("ant", "bee", "cat"), [60, 25, 5]
LABELS = [0, 1, 2, 1]


def make(seed: int = 0, sampling: Sampling | None = None, classes: int = 3, dtype: Any = torch.float64) -> T2HPipeline:
    small = {"block_out_channels": (16, 32), "norm_num_groups": 4}
    unet = build_network(network_config("digits", classes, 1, 8) | small, seed)
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in unet.named_parameters():
            if p.ndim > 1 and name != "class_embedding.weight":
                p.copy_(torch.randn(p.shape, generator=draws) / (p[0].numel() ** 0.5))
    pipeline = T2HPipeline(
        (unet.double() if dtype == torch.float64 else unet).eval(),
        NoiseSchedule().ddim_scheduler(),
        NAMES[:classes],
        COUNTS[:classes],
        sampling=(sampling or Sampling(steps=4)).plain(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("guide")
    make(seed=1).save_pretrained(folder / "pipeline")
    return str(folder)


@torch.no_grad()
def loop(own: Any, other: Any, weights: list[float], interval: tuple[float, float], latents: Tensor) -> Tensor:
    """DDIM in 4 steps, image by image and pass by pass; ``other`` is the guide, or None for the null label."""
    images = []
    for i, label in enumerate(LABELS):
        x, y = latents[i : i + 1], torch.tensor([label])
        for t in (750, 500, 250, 0):
            f = own(x, torch.tensor([t]), y).sample
            if interval[0] <= t / 1000 <= interval[1]:
                g = own(x, torch.tensor([t]), torch.tensor([3])).sample if other is None else None
                g = other(x, torch.tensor([t]), y).sample if g is None else g
                f = f + weights[label] * (f - g)
            here, there = NoiseSchedule().alpha_bar[t], NoiseSchedule().alpha_bar[max(t - 250, 0)]
            x = there.sqrt() * (x - (1 - here).sqrt() * f) / here.sqrt() + (1 - there).sqrt() * f
        images.append((x / 2 + 0.5).clamp(0, 1))
    return torch.cat(images)


@pytest.mark.parametrize(
    ("change", "weights"),
    [
        ({"w": 0.7}, [0.7, 0.7, 0.7]),
        ({"w": 0.5, "w_power": 0.5}, [0.5 * (30 / n) ** 0.5 for n in COUNTS]),
        ({"w": 0.5, "w_table": {"cat": 2.0, "ant": 0.0}}, [0.0, 0.5, 2.0]),
        ({"w": 0.5, "w_power": 1.0, "w_table": {"cat": -0.3}}, [0.25, 0.6, -0.3]),
        ({"w": 1.2, "w_interval": (0.25, 0.5)}, [1.2, 1.2, 1.2]),
        ({"w": 0.9, "guide": True}, [0.9, 0.9, 0.9]),
        ({"w": 0.5, "w_power": -0.5, "w_table": {"bee": 0.1}, "w_interval": (0.3, 1.0), "guide": True}, None),
    ],
)
def test_guidance_is_the_loop(guide: str, change: dict[str, Any], weights: list[float] | None) -> None:
    weights = weights or [0.5 * (30 / 60) ** -0.5, 0.1, 0.5 * (30 / 5) ** -0.5]
    change = {**change, "guide": guide} if "guide" in change else change
    pipeline = make(sampling=Sampling(steps=4, **change))
    latents = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 0.3
    drawn = pipeline(LABELS, latents=latents, output_type="pt").images
    other = load_pipeline(Path(guide)).unet.double() if "guide" in change else None
    expected = loop(pipeline.unet, other, weights, change.get("w_interval", (0, 1)), latents)
    torch.testing.assert_close(drawn, expected.float(), rtol=0, atol=1e-6)
    plain = make()
    options = {key: value for key, value in change.items() if key in ("w_interval", "guide")}
    scales = [1 + weights[label] for label in LABELS]
    by_call = plain(LABELS, scales, latents=latents, output_type="pt", **options).images
    torch.testing.assert_close(by_call, drawn, rtol=0, atol=1e-7)
    assert (drawn - plain(LABELS, 1.0, latents=latents, output_type="pt").images).abs().max() > 1e-2


def test_one_w_for_all_is_as_before_bit_for_bit() -> None:
    pipeline = make(dtype=torch.float32)
    latents, scheduler = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(3)), pipeline.scheduler
    xt, label, null = latents, torch.tensor(LABELS), torch.full((4,), 3)
    scheduler.set_timesteps(4)
    with torch.no_grad():
        for t in scheduler.timesteps:
            both = pipeline.unet(torch.cat([xt, xt]), t.expand(8), torch.cat([label, null])).sample
            conditional, free = both.chunk(2)
            xt = scheduler.step(free + 2.5 * (conditional - free), t, xt).prev_sample
    for scale in (None, 2.5, [2.5] * 4):
        drawn = pipeline(LABELS, scale, latents=latents, output_type="pt").images
        assert torch.equal(drawn, (xt / 2 + 0.5).clamp(0, 1))


@pytest.mark.parametrize(
    ("scale", "options", "passes"),
    [
        ([1.0, 2.0, 1.0, 3.0], {}, [8] * 4),
        ([1.0] * 4, {}, [4] * 4),
        (1.0, {"guide": "here"}, [4] * 4),
        (2.5, {"w_interval": (0.2, 0.6)}, [4, 8, 8, 4]),
        (2.5, {"w_interval": (0.2, 0.6), "guide": "here"}, [4] * 4),
    ],
)
def test_what_guidance_costs(guide: str, scale: Any, options: dict[str, Any], passes: list[int]) -> None:
    pipeline, seen, others = make(), [], []
    options = {**options, "guide": guide} if "guide" in options else options
    pipeline.unet.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    other = pipeline.guide(guide)
    assert other is not None
    other.register_forward_pre_hook(lambda _module, inputs: others.append(len(inputs[0])))
    pipeline(LABELS, scale, output_type="pt", **options)
    assert seen == passes
    assert others == ([4] * 2 if len(options) == 2 else [])


def test_a_guide_guides_images_without_label() -> None:
    pipeline, other = make(), make(seed=1)
    latents = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    pipeline._guides["other"] = other.unet
    drawn = pipeline(None, 2.5, latents=latents, output_type="pt", num_inference_steps=1, guide="other").images
    with torch.no_grad():
        f, g = (p.unet(latents, torch.tensor([0]), torch.tensor([3])).sample for p in (pipeline, other))
    a = NoiseSchedule().alpha_bar[0]
    clean = (latents - (1 - a).sqrt() * (g + 2.5 * (f - g))) / a.sqrt()
    expected = a.sqrt() * clean + (1 - a).sqrt() * (g + 2.5 * (f - g))
    torch.testing.assert_close(drawn, (expected / 2 + 0.5).clamp(0, 1).float(), rtol=0, atol=1e-6)


class Ideal(ModelMixin, ConfigMixin):
    """The closed-form denoiser of a few digits: for a label of its images, for label K of all of them."""

    @register_to_config
    def __init__(
        self, flow: bool = False, num_class_embeds: int = 4, sample_size: int = 8, in_channels: int = 1
    ) -> None:
        super().__init__()
        data = load_digits()
        keep = np.concatenate([np.flatnonzero(data.target == c)[:3] for c in range(3)])
        self.register_buffer("images", torch.tensor(data.images[keep] / 8 - 1).unsqueeze(1).float())
        self.register_buffer("labels", torch.tensor(data.target[keep]))

    def forward(self, xt: Tensor, t: Tensor, y: Tensor, return_dict: bool = True) -> tuple[Tensor]:
        process = RectifiedFlow() if self.config["flow"] else NoiseSchedule()
        a, b, _, _ = (number.reshape(-1, 1) for number in process.numbers(t.cpu()))
        square = (xt.unsqueeze(1) - a.reshape(-1, 1, 1, 1, 1) * self.images).square().sum(dim=(2, 3, 4))
        allowed = (self.labels == y.unsqueeze(1)) | (y == 3).unsqueeze(1)
        weight = (-square / (2 * b.square())).masked_fill(~allowed, -torch.inf).softmax(dim=1)
        x0 = (weight @ self.images.flatten(1).double()).view_as(xt)
        return (process.output_from_x0(x0, xt.double(), t).to(xt.dtype),)


@pytest.mark.parametrize("flow", [False, True])
def test_the_closed_form_denoiser_in_an_interval(flow: bool) -> None:
    """w = -1 is the output without label: early alone it leaves images of the class, always it draws all the data."""
    process, network, labels = RectifiedFlow() if flow else NoiseSchedule(), Ideal(flow=flow), [0, 1, 2] * 3
    pipeline = T2HPipeline(network, process.scheduler("flow" if flow else "ddpm-small"), NAMES)
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def classes(w_interval: tuple[float, float]) -> list[int]:
        options = {"num_inference_steps": 40, "latents": latents, "output_type": "pt", "w_interval": w_interval}
        drawn = pipeline(labels, 0.0, generator=torch.Generator().manual_seed(0), **options).images * 2 - 1
        distance = (drawn.unsqueeze(1) - network.images).flatten(2).square().mean(dim=2).sqrt().min(dim=1)
        assert distance.values.max() < 0.02
        return network.labels[distance.indices].tolist()

    assert classes((0.6, 1.0)) == labels
    assert classes((0.0, 1.0)) != labels


def test_a_table_draws_each_class_as_its_w_does() -> None:
    pipeline = make(dtype=torch.float32)
    wanted = Wanted.per_class(range(3), 2)

    def images(**options: Any) -> np.ndarray:
        return draw_array(pipeline, wanted, Sampling(steps=3, **options), progress=False)

    mixed = images(w=1.0, w_table={"ant": 0.0, "cat": 2.0})
    for c, w in enumerate((0.0, 1.0, 2.0)):
        rows = slice(2 * c, 2 * c + 2)
        assert np.abs(mixed[rows].astype(int) - images(w=w)[rows].astype(int)).max() <= 1
    assert np.abs(mixed.astype(int) - images(w=1.0).astype(int)).max() > 3


def test_what_a_pipeline_carries_is_stored_and_written_beside_its_samples(guide: str, tmp_path: Path) -> None:
    own = Sampling(
        w=0.5, w_power=0.5, w_table={"cat": 1.0}, w_interval=(0.1, 0.9), guide=guide, scheduler="ddpm-small", steps=2
    )
    make(sampling=own, dtype=torch.float32).save_pretrained(tmp_path / "run")
    loaded = load_pipeline(tmp_path / "run")
    assert loaded.sampling == own
    card = (tmp_path / "run" / "README.md").read_text("utf-8")
    assert "by class and time: w (n̄/n)^0.5, cat 1, t/T 0.1 to 0.9, autoguidance |" in card
    wanted, out = Wanted.per_class(range(3), 1), tmp_path / "samples"
    assert write_samples(loaded, wanted, own, out, progress=False) == 3
    note = json.loads((out / "samples.json").read_text())
    assert Sampling.of(note) == own
    assert note["guide_sha256"] == weights_sha256(load_pipeline(Path(guide)).unet)
    assert write_samples(loaded, wanted, own, out, progress=False) == 0
    for change in ({"w_table": {}}, {"w_interval": (0.0, 0.9)}, {"guide": ""}, {"w_power": 0.0}):
        with pytest.raises(UserError, match=f"drawn otherwise .*{next(iter(change))}: "):
            write_samples(loaded, wanted, dataclasses.replace(own, **change), out, progress=False)


def test_samples_and_pipelines_of_before_are_read(tmp_path: Path) -> None:
    pipeline, wanted = make(dtype=torch.float32), Wanted.per_class([0], 1)
    write_samples(pipeline, wanted, pipeline.sampling, tmp_path / "s", progress=False)
    new = ("w_power", "w_table", "w_interval", "guide", "guide_sha256")
    note = {key: v for key, v in json.loads((tmp_path / "s" / "samples.json").read_text()).items() if key not in new}
    (tmp_path / "s" / "samples.json").write_text(json.dumps(note))
    assert write_samples(pipeline, wanted, pipeline.sampling, tmp_path / "s", progress=False) == 0
    old = {key: value for key, value in pipeline.sampling.plain().items() if key not in new}
    assert T2HPipeline(pipeline.unet, pipeline.scheduler, NAMES, sampling=old).sampling == pipeline.sampling


def test_a_checkpoint_of_a_run_is_a_guide(tmp_path: Path) -> None:
    make(dtype=torch.float32).save_pretrained(tmp_path / "run" / "pipeline")
    early = make(seed=2, dtype=torch.float32).unet
    (tmp_path / "run" / "checkpoints").mkdir()
    file = tmp_path / "run" / "checkpoints" / "step_00000010.pt"
    torch.save({"format": "t2h-checkpoint", "images_seen": 10, "ema": early.state_dict()}, file)
    facts = facts_of(make(), Sampling(guide=str(file)))
    assert facts["guide_sha256"] == weights_sha256(early.double())
    file.write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        make().guide(str(file))


def test_mistakes(tmp_path: Path, guide: str) -> None:
    for say, given in {
        "w_interval is 0.5 to 0.2": {"w_interval": (0.5, 0.2)},
        "w_interval is -1 to 1": {"w_interval": (-1.0, 1.0)},
    }.items():
        with pytest.raises(UserError, match=say):
            Sampling(**given)
    pipeline = make()
    unknown = T2HPipeline(pipeline.unet, pipeline.scheduler, NAMES)
    with pytest.raises(UserError, match="w_power needs training images of every class"):
        unknown.guidance_scales(Sampling(w_power=1.0), [0])
    with pytest.raises(UserError, match="w_power needs"):
        Sampling(w_power=1.0).weights(["a", "b"], [3, 0])
    with pytest.raises(UserError, match="unknown class in w_table 'cut'; did you mean 'cat'"):
        pipeline.guidance_scales(Sampling(w_table={"cut": 1.0}), [0])
    with pytest.raises(UserError, match="2 guidance scales for 3 images"):
        pipeline([0, 1, 2], [1.0, 2.0])
    with pytest.raises(UserError, match="is no run, no pipeline folder and no checkpoint"):
        pipeline([0], guide=str(tmp_path))
    make(classes=2).save_pretrained(tmp_path / "two")
    with pytest.raises(UserError, match=r"other classes than the network: \['ant', 'bee'\], not "):
        pipeline([0], guide=str(tmp_path / "two"))
    other = T2HPipeline(pipeline.unet, RectifiedFlow().scheduler("flow"), NAMES)
    with pytest.raises(UserError, match="other process than the network"):
        other([0], guide=guide)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(dtype=torch.float32).save_pretrained(tmp_path / "run")
    (tmp_path / "found.json").write_text(json.dumps({"w_table": {"ant": 0, "bee": 0.5}}))
    run = ["sample", str(tmp_path / "run"), "--per-class", "1", "--steps", "2", "--out", str(tmp_path / "s")]
    flags = ["--w-table", str(tmp_path / "found.json"), "bee=2", "--w-power", "0.5", "--w-interval", "0.2", "0.8"]
    assert main([*run, *flags]) == 0
    note = json.loads((tmp_path / "s" / "samples.json").read_text())
    assert (note["w_table"], note["w_power"], note["w_interval"]) == ({"ant": 0.0, "bee": 2.0}, 0.5, [0.2, 0.8])
    capsys.readouterr()
    assert main([*run, "--w-table", "cut=1"]) == 2
    assert "unknown class in w_table 'cut'" in capsys.readouterr().err
    for words in (["cat"], ["cat=much"], [str(tmp_path / "none.json")], [str(tmp_path / "s" / "samples.json"), "="]):
        with pytest.raises((UserError, FileNotFoundError), match=r"NAME=W|a number is needed|none\.json"):
            read_table(words)
    own = Sampling(w_table={"cat": 1.0})
    assert own.overridden(SamplingFlags(w_table={})).w_table == {}
    assert hash(SamplingFlags(w_table={"cat": 1.0})) == hash(
        SamplingFlags()
    )  # plans keep configurations in dictionaries
