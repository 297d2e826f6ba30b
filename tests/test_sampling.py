"""Image k of class c is the same whatever is drawn beside it, and drawing goes on where it stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from t2h import NoiseSchedule, T2HPipeline, UserError
from t2h.cli import main
from t2h.network import build_network, network_config
from t2h.process import SCHEDULERS, RectifiedFlow
from t2h.randomness import derive_seed
from t2h.samples.draw import Wanted, draw_array, draw_grid, load_pipeline
from t2h.samples.store import weights_sha256, write_samples
from t2h.sampling import OF_SHORT, CurveFlags, Sampling, SamplingFlags, own_sampling

FAST = Sampling(steps=3)


def network(num_classes: int | None = 4, seed: int = 0) -> T2HPipeline:
    """A network with random weights, also in the last layer, which starts at all but zero."""
    unet = build_network(network_config("digits", num_classes, 1, 8), seed)
    torch.nn.init.normal_(unet.conv_out.weight, std=0.1, generator=torch.Generator().manual_seed(seed))
    counts = None if num_classes is None else [50, 20, 5, 1]
    names = None if num_classes is None else ["cat", "sea lion", "a/b", "élan"]
    pipeline = T2HPipeline(unet.eval(), NoiseSchedule().ddim_scheduler(), names, counts, method="t2h", images_seen=7)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def pipeline() -> T2HPipeline:
    return network()


def same_images(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to one 8-bit level: sums of another order of addition may round to the other side."""
    return np.abs(a.astype(int) - b.astype(int)).max() <= 1


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "euler-ancestral"])
def test_an_image_depends_on_its_class_and_index_alone(pipeline, scheduler):
    sampling = Sampling(steps=3, scheduler=scheduler, seed=5)
    wanted = Wanted.per_class(range(4), 3)
    all_at_once = draw_array(pipeline, wanted, sampling, progress=False)
    assert same_images(draw_array(pipeline, wanted, sampling, batch_size=5, progress=False), all_at_once)
    alone = draw_array(pipeline, Wanted(np.array([2]), np.array([1])), sampling, progress=False)
    assert same_images(alone[0], all_at_once[2 * 3 + 1])
    assert not same_images(all_at_once[0], all_at_once[1])
    other = draw_array(pipeline, wanted, Sampling(steps=3, scheduler=scheduler, seed=6), progress=False)
    assert not same_images(other, all_at_once)


def test_drawing_leaves_the_pipeline_as_it_was(pipeline):
    scheduler = pipeline.scheduler
    pipeline.unet.train()
    draw_array(pipeline, Wanted.per_class([0], 1), Sampling(steps=2, scheduler="heun"), progress=False)
    assert pipeline.scheduler is scheduler
    assert pipeline.unet.training
    pipeline.unet.eval()


@pytest.mark.parametrize("name", [*SCHEDULERS, "LCMScheduler"])
def test_every_scheduler_draws(pipeline, name):
    process = RectifiedFlow() if name == "flow" else NoiseSchedule()
    own = T2HPipeline(pipeline.unet, process.scheduler("flow" if name == "flow" else "ddim"))
    images = draw_array(own, Wanted.per_class([1], 2), Sampling(steps=5, scheduler=name), progress=False)
    assert images.shape == (2, 8, 8, 1)
    if name == "flow":
        with pytest.raises(UserError, match="noise schedule; ddim can"):
            NoiseSchedule().scheduler(name)
    else:
        assert NoiseSchedule().scheduler(name).config["beta_end"] == 0.02


def test_unknown_scheduler():
    with pytest.raises(UserError, match="did you mean 'unipc'"):
        NoiseSchedule().scheduler("unipcc")
    with pytest.raises(UserError, match="unknown scheduler"):
        NoiseSchedule().scheduler("UNet2DModel")
    assert isinstance(NoiseSchedule().scheduler("ddpm"), diffusers.DDPMScheduler)


@pytest.mark.parametrize("change", [{"clip_sample": True}, {"mixed_precision": "bf16"}])
def test_options_that_change_the_images_are_written_down(pipeline, tmp_path, change):
    wanted, plain, other = Wanted.per_class([0, 1], 2), FAST, dataclasses.replace(FAST, **change)
    images = draw_array(pipeline, wanted, plain, progress=False)
    assert (draw_array(pipeline, wanted, other, progress=False) != images).any()
    write_samples(pipeline, wanted, other, tmp_path, progress=False)
    (name, value), *_ = change.items()
    note = json.loads((tmp_path / "samples.json").read_text())
    assert note[name] == value
    with pytest.raises(UserError, match=f"{name}: {value} -> "):
        write_samples(pipeline, wanted, plain, tmp_path, progress=False)


def test_samples_of_a_version_without_these_options_go_on(pipeline, tmp_path):
    write_samples(pipeline, Wanted.per_class([0], 1), FAST, tmp_path, progress=False)
    note = json.loads((tmp_path / "samples.json").read_text())
    del note["clip_sample"], note["mixed_precision"]
    (tmp_path / "samples.json").write_text(json.dumps(note))
    assert write_samples(pipeline, Wanted.per_class([0], 2), FAST, tmp_path, progress=False) == 1


def test_half_precision_needs_cuda(pipeline):
    with pytest.raises(UserError, match="fp16 needs a CUDA device; on others use bf16"):
        draw_array(pipeline, Wanted.per_class([0], 1), dataclasses.replace(FAST, mixed_precision="fp16"))


def test_labels_in_any_order_get_the_images_of_their_class(pipeline):
    by_label = Wanted.of_labels(np.array([3, 0, 3, 1]))
    assert by_label.index.tolist() == [0, 0, 1, 0]
    images = draw_array(pipeline, by_label, FAST, progress=False)
    per_class = draw_array(pipeline, Wanted.per_class([3], 2), FAST, progress=False)
    assert same_images(images[[0, 2]], per_class)


def test_folder_of_classes_goes_on_where_it_stopped(pipeline, tmp_path):
    out, wanted = tmp_path / "samples", Wanted.per_class(range(4), 3)
    assert write_samples(pipeline, wanted, FAST, out, progress=False) == 12
    assert sorted(path.name for path in out.iterdir()) == ["0_cat", "1_sea-lion", "2_a-b", "3_élan", "samples.json"]
    images = {path: path.read_bytes() for path in out.rglob("*.png")}
    lost = out / "2_a-b" / "00001.png"
    lost.unlink()
    assert write_samples(pipeline, wanted, FAST, out, progress=False) == 1
    with Image.open(lost) as image:
        assert image.mode == "L"
        assert same_images(np.asarray(image), np.asarray(Image.open(_io(images[lost]))))
    assert write_samples(pipeline, Wanted.per_class(range(4), 4), FAST, out, progress=False) == 4
    note = json.loads((out / "samples.json").read_text())
    assert note["weights_sha256"] == weights_sha256(pipeline.unet)
    assert (note["w"], note["steps"], note["images_seen"]) == (1.5, 3, 7)


def _io(content: bytes):
    import io

    return io.BytesIO(content)


def test_other_samples_are_not_mixed_in(pipeline, tmp_path):
    out, wanted = tmp_path / "samples", Wanted.per_class([0], 1)
    write_samples(pipeline, wanted, FAST, out, progress=False)
    with pytest.raises(UserError, match=r"w: 1\.5 -> 0\.0"):
        write_samples(pipeline, wanted, Sampling(w=0.0, steps=3), out, progress=False)
    with pytest.raises(UserError, match="weights_sha256"):
        write_samples(network(seed=1), wanted, FAST, out, progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").write_bytes(b"dear")
    with pytest.raises(UserError, match="holds no samples of ours"):
        write_samples(pipeline, wanted, FAST, tmp_path / "mine", progress=False)


def test_npz_goes_on_where_it_stopped(pipeline, tmp_path, monkeypatch):
    out, wanted = tmp_path / "samples.npz", Wanted.per_class(range(4), 3)
    call, calls = T2HPipeline.__call__, []

    def fails_at_the_third(self, *args, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return call(self, *args, **options)

    monkeypatch.setattr(T2HPipeline, "__call__", fails_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_samples(pipeline, wanted, FAST, out, batch_size=5, progress=False)
    assert not out.exists()
    monkeypatch.undo()
    assert write_samples(pipeline, wanted, FAST, out, batch_size=5, progress=False) == 2
    with np.load(out) as file:
        assert file["images"].shape == (12, 8, 8, 1)
        assert file["labels"].tolist() == wanted.labels.tolist()
        assert same_images(file["images"], draw_array(pipeline, wanted, FAST, progress=False))
    assert os.listdir(tmp_path) == ["samples.npz"]
    assert write_samples(pipeline, wanted, FAST, out, batch_size=5, progress=False) == 0
    with pytest.raises(UserError, match="other labels"):
        write_samples(pipeline, Wanted.per_class([0], 3), FAST, out, progress=False)


def test_unconditional_networks(tmp_path):
    pipeline = network(None)
    wanted = Wanted(np.full(3, -1), np.arange(3))
    assert write_samples(pipeline, wanted, FAST, tmp_path / "s", progress=False) == 3
    assert len(list((tmp_path / "s" / "unconditional").glob("*.png"))) == 3
    assert min(draw_grid(pipeline, Sampling(w=0.0, steps=2), rows=2, columns=2).size) > 8


def test_grid_rows_run_from_head_to_tail(pipeline):
    assert draw_grid(pipeline, Sampling(steps=2), rows=2, columns=3).size[0] > 3 * 32


def test_flags_replace_what_a_run_carries():
    assert [f.name for f in dataclasses.fields(SamplingFlags)] == [f.name for f in dataclasses.fields(Sampling)]
    assert set(vars(SamplingFlags()).values()) == {None}
    own = OF_SHORT
    assert own.overridden(SamplingFlags()) == own
    assert own.overridden(SamplingFlags(w=0.0, clip_sample=False)) == dataclasses.replace(own, w=0.0, clip_sample=False)
    assert own.overridden(CurveFlags(steps=3, seed=4)) == dataclasses.replace(own, steps=3, seed=4)
    with pytest.raises(UserError, match="steps is 0"):
        own.overridden(SamplingFlags(steps=0))


def test_a_run_carries_what_suits_the_length_of_its_training():
    assert own_sampling(64_000_000, 1000) == Sampling()  # the papers'
    short = own_sampling(128_000, 1000)
    assert (short.scheduler, short.steps, short.clip_sample) == ("ddpm-small", 50, True)
    assert own_sampling(128_000, 20).steps == 20
    assert own_sampling(128_000, 1000, SamplingFlags(scheduler="ddim")).scheduler == "ddim"


def test_a_network_of_few_noise_levels_gets_a_grid():
    pipeline = network()
    process = NoiseSchedule(20)
    few = T2HPipeline(pipeline.unet, process.ddim_scheduler(), pipeline.config["class_names"])
    assert few.sampling.steps == 20
    few.set_progress_bar_config(disable=True)
    assert draw_grid(few, rows=2, columns=2).size[0] > 0


@pytest.mark.parametrize("scheduler", ["EDMEulerScheduler", "FlowMatchEulerDiscreteScheduler"])
def test_a_scheduler_of_another_noise_schedule_is_refused(pipeline, scheduler):
    with pytest.raises(UserError, match=scheduler):
        draw_array(pipeline, Wanted.per_class([1], 1), Sampling(steps=2, scheduler=scheduler), progress=False)


@pytest.mark.parametrize(
    ("scheduler", "steps", "says"),
    [
        ("ddim", 1001, "steps is 1001; DDIMScheduler takes 1 to 1000"),
        ("dpm-solver++", 1000, "steps is 1000; DPMSolverMultistepScheduler takes 1 to 999"),
        ("pndm", 2, "steps is 2; PNDMScheduler takes 4 to 1000"),
    ],
)
def test_a_number_of_steps_that_a_scheduler_does_not_take(pipeline, scheduler, steps, says):
    with pytest.raises(UserError, match=says):
        draw_array(pipeline, Wanted.per_class([1], 1), Sampling(steps=steps, scheduler=scheduler), progress=False)


def test_seeds_differ_with_every_number_and_are_not_negative():
    seeds = [derive_seed(0, "x", *numbers) for numbers in ((), (0,), (0, 0), (1,), (1, 0), (0, 1))]
    assert len(set(seeds)) == len(seeds)
    assert derive_seed(0, "weights") == 3699729803252847382  # as in version 0.1
    for call in (lambda: derive_seed(-1, "x"), lambda: Sampling(seed=-1)):
        with pytest.raises(UserError, match="seed is -1"):
            call()


def test_options_of_version_0_1_and_switches(tmp_path, capsys):
    network().save_pretrained(tmp_path / "p")
    run = [str(tmp_path / "p"), "--per-class", "1", "--steps", "2", "--classes", "0"]
    assert main(["sample", *run, "--guidance-scale", "1.3", "--clip-sample"]) == 0
    assert "--guidance-scale is --w now" in capsys.readouterr().err
    note = json.loads((tmp_path / "p" / "samples" / "w_0.3" / "samples.json").read_text())
    assert (note["w"], note["clip_sample"]) == (0.3, True)
    assert main(["sample", *run, "--no-clip-sample", "--w", "0.4"]) == 0
    assert not json.loads((tmp_path / "p" / "samples" / "w_0.4" / "samples.json").read_text())["clip_sample"]
    capsys.readouterr()
    assert main(["sample", *run, "--seed", "-1"]) == 2
    assert capsys.readouterr().err == "t2h: seed is -1; it must be a whole number, at least 0.\n"


def test_samples_of_an_official_checkpoint_lie_beside_it(tmp_path, golden):
    shutil.copy(golden / "official_ckpt_trained.pt.xz", tmp_path / "ckpt.pt.xz")
    assert main(["sample", str(tmp_path / "ckpt.pt.xz"), "--per-class", "1", "--steps", "1", "--classes", "0"]) == 0
    assert (tmp_path / "ckpt_samples" / "w_1.5" / "samples.json").is_file()


def test_command_line(tmp_path, capsys):
    network().save_pretrained(tmp_path / "pipeline")
    run = str(tmp_path / "pipeline")
    assert main(["sample", run, "--per-class", "2", "--steps", "2", "--classes", "sea lion", "0"]) == 0
    folder = tmp_path / "pipeline" / "samples" / "w_1.5"
    assert sorted(path.name for path in folder.iterdir()) == ["0_cat", "1_sea-lion", "samples.json"]
    assert "4 images drawn" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    for argv, says in (
        ([run, "--classes", "dog"], "unknown class 'dog'"),
        ([run, "--classes", "4"], "class id 4 is out of range"),
        ([run, "--per-class", "0"], "at least 1"),
        ([run, "--steps", "0"], "at least 1"),
        ([str(tmp_path / "nowhere")], "does not exist"),
        ([str(tmp_path / "empty")], "holds no pipeline/"),
        ([run, "--device", "gpu"], "unknown device 'gpu'"),
    ):
        status = main(["sample", *argv])
        error = capsys.readouterr().err
        assert status == 2, argv
        assert says in error
        assert "Traceback" not in error


def test_load_pipeline_from_run_and_folder(tmp_path):
    network().save_pretrained(tmp_path / "run" / "pipeline")
    assert load_pipeline(tmp_path / "run").config["class_names"][1] == "sea lion"
    assert load_pipeline(tmp_path / "run" / "pipeline").num_classes == 4
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no checkpoint was written yet"):
        load_pipeline(tmp_path / "empty")


def test_full_disk_leaves_nothing_half_written(pipeline, tmp_path, monkeypatch):
    save = Image.Image.save

    def full(self, file, **options):
        save(self, file, **options)
        Path(file).write_bytes(Path(file).read_bytes()[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        write_samples(pipeline, Wanted.per_class([0], 1), FAST, tmp_path / "s", progress=False)
    assert not list((tmp_path / "s" / "0_cat").iterdir())
