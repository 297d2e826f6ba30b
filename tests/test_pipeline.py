"""The pipeline and its networks: guidance, labels, batches, schedulers, folders, and the null label."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from t2h.backbones import null_label
from t2h.errors import UserError
from t2h.network import PRESETS, UNetDenoiser, build_network, network_config
from t2h.pipeline import T2HPipeline
from t2h.process import NoiseSchedule
from t2h.sampling import Sampling

NAMES = ("ant", "bee", "cat")


def awake(unet: Any, seed: int = 0) -> Any:
    """The network with all weights but the null row drawn anew: a fresh one gives almost zero whatever it is told."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in unet.named_parameters():
            if p.ndim > 1 and name != "class_embedding.weight":
                p.copy_(torch.randn(p.shape, generator=draws) / (p[0].numel() ** 0.5))
    return unet.eval()


def make(conditional: bool = True) -> T2HPipeline:
    unet = awake(build_network(network_config("digits", len(NAMES) if conditional else None, 3, 8)))
    pipeline = T2HPipeline(
        unet,
        NoiseSchedule().ddim_scheduler(),
        class_names=NAMES,
        class_counts=[50, 20, 3],
        method="t2h",
        w=0.8,
        images_seen=1234,
        training={"Seed": 7},
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def pipeline() -> T2HPipeline:
    return make()


@pytest.fixture(scope="module")
def unconditional() -> T2HPipeline:
    return make(conditional=False)


def noise(count: int) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def draw(pipeline: T2HPipeline, labels: Any, **options: Any) -> Tensor:
    options = {"num_inference_steps": 3, "output_type": "pt", "generator": torch.Generator().manual_seed(0)} | options
    return pipeline(labels, **options).images


@torch.no_grad()
def by_hand(pipeline: T2HPipeline, labels: Tensor, scale: float, steps: int, xt: Tensor) -> Tensor:
    """DDIM with two passes a step, from the equations, in float64 between the passes."""
    schedule, xt = NoiseSchedule(), xt.double()
    null = torch.full_like(labels, len(NAMES))
    for t in range((steps - 1) * (1000 // steps), -1, -(1000 // steps)):
        time = torch.full_like(labels, t)
        eps, free = (pipeline.unet(xt.float(), time, y, return_dict=False)[0].double() for y in (labels, null))
        eps = free + scale * (eps - free)
        before = torch.full_like(labels, max(t - 1000 // steps, 0))
        xt = schedule.add_noise(schedule.x0_from_output(eps, xt, time), eps, before)
    return (xt / 2 + 0.5).clamp(0, 1).float()


@pytest.mark.parametrize("scale", [1.0, 2.5, 0.0])
def test_guidance_is_that_of_two_passes(pipeline: T2HPipeline, scale: float) -> None:
    labels = torch.tensor([0, 1, 2])
    ours = draw(pipeline, labels, guidance_scale=scale, num_inference_steps=5, latents=noise(3) * 0.1)
    torch.testing.assert_close(ours, by_hand(pipeline, labels, scale, 5, noise(3) * 0.1), rtol=0, atol=1e-4)


def test_guidance_matters(pipeline: T2HPipeline) -> None:
    a, b = (draw(pipeline, [0, 1, 2], guidance_scale=scale) for scale in (1.0, 2.5))
    assert (a - b).abs().max() > 1e-2


def test_ids_names_and_arrays_mean_the_same(pipeline: T2HPipeline) -> None:
    expected = draw(pipeline, [2, 0])
    for labels in (["cat", "ant"], [2, "ant"], torch.tensor([2, 0]), np.array([2, 0])):
        assert torch.equal(draw(pipeline, labels), expected)
    assert pipeline.class_ids("bee") == [1]
    assert pipeline.class_ids(np.int64(2)) == [2]
    assert pipeline.class_ids([np.int64(1), 2]) == [1, 2]


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm"])
def test_an_image_is_the_same_whatever_the_batch(pipeline: T2HPipeline, scheduler: str) -> None:
    other = T2HPipeline(pipeline.unet, getattr(NoiseSchedule(), f"{scheduler}_scheduler")(), NAMES)
    other.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed) for seed in range(4)]
    together = draw(other, [0, 1, 2, 1], generator=generators)
    for i, label in enumerate([0, 1, 2, 1]):
        alone = draw(other, [label], generator=[torch.Generator().manual_seed(i)])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-4)
    one = draw(other, [0, 1, 2, 1], generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(
        one[:2], draw(other, [0, 1], generator=torch.Generator().manual_seed(5)), rtol=0, atol=1e-4
    )
    assert (one[1] - one[3]).abs().max() > 1e-2


@pytest.mark.parametrize(
    "name",
    [
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "HeunDiscreteScheduler",
        "PNDMScheduler",
    ],
)
def test_other_schedulers(pipeline: T2HPipeline, name: str) -> None:
    scheduler = getattr(diffusers, name).from_config(NoiseSchedule().ddpm_scheduler().config)
    other = T2HPipeline(pipeline.unet, scheduler, NAMES)
    other.set_progress_bar_config(disable=True)
    images = draw(other, [0, 1], num_inference_steps=6)
    assert images.shape == (2, 3, 8, 8)
    assert torch.isfinite(images).all()
    assert torch.equal(images, draw(other, [0, 1], num_inference_steps=6))


def test_deterministic_solvers_agree(golden: Path) -> None:
    """Of a trained network, every solver of the same equation draws almost the same images."""
    from t2h.convert import from_official

    pipeline = from_official(golden / "official_ckpt_trained.pt.xz")
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = draw(pipeline, [0, 3], guidance_scale=1.0, num_inference_steps=100, latents=latents)
    for name in ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "EulerDiscreteScheduler"):
        pipeline.scheduler = getattr(diffusers, name).from_config(NoiseSchedule().ddpm_scheduler().config)
        start = latents
        images = draw(pipeline, [0, 3], guidance_scale=1.0, num_inference_steps=30, latents=start)
        assert (images - expected).abs().mean() < 0.04, name


def test_output_types(pipeline: T2HPipeline) -> None:
    arrays = draw(pipeline, [0, 1], output_type="np")
    assert arrays.shape == (2, 8, 8, 3)
    assert 0 <= arrays.min() <= arrays.max() <= 1
    pictures = draw(pipeline, [0, 1], output_type="pil")
    assert isinstance(pictures[0], Image.Image)
    assert np.abs(np.asarray(pictures[1]) - arrays[1] * 255).max() <= 0.51
    plain = pipeline([0], num_inference_steps=1, return_dict=False)
    assert isinstance(plain, tuple)


def test_no_label(pipeline: T2HPipeline, unconditional: T2HPipeline) -> None:
    assert unconditional.num_classes is None
    assert draw(unconditional, None, batch_size=3).shape == (3, 3, 8, 8)
    free = draw(pipeline, None, batch_size=2, latents=noise(2))
    null = torch.full((2,), 3)
    torch.testing.assert_close(free, by_hand(pipeline, null, 1.0, 3, noise(2)), rtol=0, atol=1e-4)


def test_folder_round_trip(pipeline: T2HPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    loaded = T2HPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    for key in ("class_names", "class_counts", "method", "images_seen", "training", "sampling"):
        assert loaded.config[key] == pipeline.config[key]
    assert torch.equal(draw(loaded, ["cat"]), draw(pipeline, ["cat"]))
    card = (tmp_path / "README.md").read_text("utf-8")
    for text in (
        "| Method | t2h |",
        "8×8, RGB",
        "w = 0.8, that is guidance_scale = 1.8",
        "1,234",
        "| cat | 3 |",
        "| Seed | 7 |",
    ):
        assert text in card
    (tmp_path / "README.md").write_text("my own words")
    pipeline.save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my own words"


def test_a_pipeline_is_drawn_as_it_carries(tmp_path: Path) -> None:
    own = Sampling(w=0.5, scheduler="ddpm-small", steps=4, clip_sample=True)
    made = make()
    scheduler = NoiseSchedule().ddpm_scheduler("fixed_small")
    T2HPipeline(made.unet, scheduler, NAMES, sampling=asdict(own)).save_pretrained(tmp_path)
    loaded = T2HPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.sampling == own
    assert loaded.scheduler.config["variance_type"] == "fixed_small"
    by_hand = {"guidance_scale": 1.5, "num_inference_steps": 4, "clip_sample": True}

    def images(**options: Any) -> Tensor:
        return loaded(["cat"], output_type="pt", generator=torch.Generator().manual_seed(0), **options).images

    assert torch.equal(images(), images(**by_hand))
    assert not torch.equal(images(), images(**by_hand | {"guidance_scale": 2.5}))
    loaded.scheduler = NoiseSchedule().ddim_scheduler()  # another scheduler takes its place
    assert not torch.equal(images(eta=1.0), images())
    assert "ddpm-small, 4 steps" in (tmp_path / "README.md").read_text("utf-8")


def test_a_folder_of_version_0_1_is_drawn_as_the_papers_do(pipeline: T2HPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    del index["sampling"]
    (tmp_path / "model_index.json").write_text(json.dumps(index | {"w": 0.8}))
    assert T2HPipeline.from_pretrained(tmp_path).sampling == Sampling(w=0.8)


def test_names_of_classes_are_no_markup_in_the_card(tmp_path: Path, pipeline: T2HPipeline) -> None:
    pipeline.save_pretrained(tmp_path / "p")
    mine = T2HPipeline.from_pretrained(tmp_path / "p")
    mine.register_to_config(class_names=("<script>x</script>", "a|b", "[c](d)"))
    mine.save_pretrained(tmp_path)
    table = (tmp_path / "README.md").read_text("utf-8").rpartition("## Training images")[2]
    assert "<script>" not in table
    assert all(line.replace(r"\|", "").count("|") == 3 for line in table.splitlines()[2:])
    assert r"\[c\](d)" in table


def test_unconditional_folder_round_trip(unconditional: T2HPipeline, tmp_path: Path) -> None:
    unconditional.save_pretrained(tmp_path)
    loaded = T2HPipeline.from_pretrained(tmp_path)
    assert loaded.num_classes is None
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "none (unconditional)" in card
    assert "pipeline(batch_size=4," in card
    assert "| cat | 3 |" in card


def test_mistakes(pipeline: T2HPipeline, unconditional: T2HPipeline) -> None:
    cases: list[tuple[T2HPipeline, Any, dict[str, Any], str]] = [
        (pipeline, [3], {}, "class id 3 is out of range; this network has classes 0 ... 2"),
        (pipeline, [-1], {}, "class id -1 is out of range"),
        (pipeline, np.array([1.7]), {}, "class id 1.7 is no whole number"),
        (pipeline, [0], {"num_inference_steps": 1001}, "steps is 1001; DDIMScheduler takes 1 to 1000"),
        (pipeline, ["cut"], {}, "unknown class 'cut'; did you mean 'cat'"),
        (pipeline, [], {}, "class_labels is empty"),
        (pipeline, [0, 1], {"latents": noise(3)}, r"latents have shape \(3, 3, 8, 8\); \(2, 3, 8, 8\)"),
        (pipeline, [0, 1], {"generator": [torch.Generator()]}, "1 generators for 2 images"),
        (pipeline, [0], {"output_type": "jpg"}, "unknown output_type 'jpg'"),
        (unconditional, [0], {}, "unconditional"),
    ]
    for given, labels, options, message in cases:
        with pytest.raises(UserError, match=message):
            draw(given, labels, **options)
    with pytest.raises(UserError, match="2 class names for a network of 3 classes"):
        T2HPipeline(pipeline.unet, pipeline.scheduler, ["a", "b"])


LARGE = ("cifar", "tiny-imagenet", "dit-s/2")


# --- networks -------------------------------------------------------------------------------------------------------


def test_the_null_row_stays_zero() -> None:
    unet = build_network(network_config("digits", 3, 1, 8))
    null = null_label(unet)
    assert null == 3
    optimizer = torch.optim.Adam(unet.parameters(), lr=0.1)
    before = unet.class_embedding.weight.detach().clone()
    for label in (3, 1):
        x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(label))
        out = UNetDenoiser(unet)(x, torch.tensor([1, 200, 500, 900]), torch.tensor([label, 3, 0, 1]))
        (out - 1).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    after = unet.class_embedding.weight
    assert torch.equal(after[3], torch.zeros_like(after[3]))
    assert not torch.equal(after[:2], before[:2])


@pytest.mark.parametrize("preset", [name for name in PRESETS if name not in LARGE])
def test_the_output_depends_on_t_and_y(preset: str) -> None:
    _depends(preset)


@pytest.mark.slow
@pytest.mark.parametrize("preset", LARGE)
def test_the_output_of_the_large_ones_depends_on_t_and_y(preset: str) -> None:
    _depends(preset)


@torch.no_grad()
def _depends(preset: str) -> None:
    unet = awake(build_network(network_config(preset, 3, 1, 16)))
    x = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1, -1)
    t, y = torch.tensor([100, 800, 100, 100]), torch.tensor([0, 0, 1, 3])
    out = UNetDenoiser(unet)(x, t, y)
    for other in (1, 2, 3):
        assert (out[0] - out[other]).abs().max() > 1e-2 * out[0].std()


def test_parameters_of_the_papers_network() -> None:
    with torch.device("meta"):
        unet = diffusers.UNet2DModel(**network_config("cifar", 10, 3, 32))
    # the null row is ours
    assert sum(p.numel() for p in unet.parameters()) == 35_751_939


def test_a_network_follows_from_its_seed() -> None:
    config = network_config("digits", 3, 1, 8)
    a, b, c = (build_network(config, seed).conv_in.weight for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_bottleneck() -> None:
    unet = build_network(network_config("digits", 3, 1, 8))
    denoiser = UNetDenoiser(unet)
    assert len(unet.mid_block._forward_hooks) == 1
    out, bottleneck = denoiser.with_bottleneck(torch.zeros(2, 1, 8, 8), torch.tensor([1, 2]), torch.tensor([0, 3]))
    assert out.shape == (2, 1, 8, 8)
    assert bottleneck.shape == (2, 64, 4, 4)
    denoiser(torch.zeros(2, 1, 8, 8), torch.tensor([1, 2]), torch.tensor([0, 3]))
    assert denoiser._bottleneck is None  # kept only where it is asked for: it holds on to the pass
    assert (
        len(unet.mid_block._forward_hooks) == 1
    )  # made once: a compiled network would not see one that comes and goes


def test_networks_that_cannot_be() -> None:
    with pytest.raises(UserError, match="choose an image size that 8 divides, such as --image-size 32"):
        network_config("cifar", 10, 3, 30)
    with pytest.raises(UserError, match="unknown network 'cifer'; did you mean 'cifar'"):
        network_config("cifer", 10, 3, 32)


def test_a_configuration_of_ones_own(tmp_path: Path) -> None:
    build_network(network_config("digits", 3, 1, 8)).save_config(tmp_path)
    config = network_config(str(tmp_path / "config.json"), 5, 3, 16, dropout=0.3)
    again = network_config((tmp_path / "config.json").read_text(), 5, 3, 16, dropout=0.3)
    assert config == again
    assert (config["num_class_embeds"], config["dropout"], config["sample_size"]) == (6, 0.3, 16)
    assert build_network(config).config["in_channels"] == 3


class Clipping(diffusers.DDIMScheduler):
    """diffusers' own clipping, with ε taken from the clipped x_0."""

    def step(self, *args: Any, **kwargs: Any) -> Any:
        return super().step(*args, **kwargs, use_clipped_model_output=True)


@pytest.mark.parametrize("w", [0.0, 4.0])
def test_clip_sample_is_that_of_diffusers_ddim(w):
    pipeline, ours = make(), make()
    pipeline.scheduler = Clipping.from_config(NoiseSchedule().ddim_scheduler().config, clip_sample=True)
    drawn = {"guidance_scale": 1 + w, "num_inference_steps": 12, "output_type": "pt"}
    theirs = pipeline([0, 1, 2], latents=noise(3), **drawn).images
    clipped = ours([0, 1, 2], latents=noise(3), clip_sample=True, **drawn).images
    torch.testing.assert_close(clipped, theirs, rtol=0, atol=2e-5)
    assert (ours([0, 1, 2], latents=noise(3), **drawn).images - theirs).abs().max() > 0.05


@pytest.mark.slow
def test_clip_sample_is_that_of_diffusers_ddpm():
    pipeline, ours = make(), make()
    config = NoiseSchedule().ddpm_scheduler().config
    pipeline.scheduler = diffusers.DDPMScheduler.from_config(config, clip_sample=True)
    ours.scheduler = diffusers.DDPMScheduler.from_config(config)

    def images(of: T2HPipeline, **more: bool) -> Tensor:
        drawn = {"num_inference_steps": 1000, "output_type": "pt", "latents": noise(1)}
        return of(["bee"], generator=torch.Generator().manual_seed(2), **drawn, **more).images

    torch.testing.assert_close(images(ours, clip_sample=True), images(pipeline), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverMultistepScheduler"])
def test_clip_sample_stays_in_range_with_any_scheduler(name):
    """The network's x_0 lies far outside [-1, 1]; clipped, the image that comes out cannot, before the last clamp."""
    pipeline, seen = make(), []
    pipeline.scheduler = getattr(diffusers, name).from_config(NoiseSchedule().ddpm_scheduler().config)
    step = pipeline.scheduler.step

    def watched(*args: Any, **kwargs: Any) -> Any:
        output = step(*args, **kwargs)
        seen.append(output.prev_sample)
        return output

    pipeline.scheduler.step = watched
    for clip in (False, True):
        pipeline([0, 2], guidance_scale=8.0, num_inference_steps=10, latents=noise(2), clip_sample=clip)
        assert (seen[-1].abs().max() < 1.001) == clip


def test_autocast_changes_the_passes_and_no_more(pipeline):
    """Guidance and the scheduler's sums keep the precision of the noise."""
    kinds = set()
    step = pipeline.scheduler.step
    pipeline.scheduler.step = lambda eps, t, xt, **more: (kinds.add((eps.dtype, xt.dtype)), step(eps, t, xt, **more))[1]
    try:
        plain = pipeline([0, 1], num_inference_steps=10, latents=noise(2), output_type="pt").images
        with torch.autocast("cpu", torch.bfloat16):
            half = pipeline([0, 1], num_inference_steps=10, latents=noise(2), output_type="pt").images
    finally:
        pipeline.scheduler.step = step
    assert kinds == {(torch.float32, torch.float32)}
    assert 0 < (half - plain).abs().mean() < 0.02
