"""The official commands run here with their flags, and do what they did there."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from t2h.convert import to_official
from t2h.convert.unet import TIME_TABLE
from t2h.errors import UserError
from t2h.network import network_config
from t2h.official import ddpm_gen_py, main_py
from t2h.official.flags import DEAD, Flag, notices, parse_flags
from t2h.official.tables import DDPM_GEN, MAIN
from t2h.official.train import network, train_config, train_notices
from t2h.pipeline import T2HPipeline
from t2h.samples.draw import Wanted, draw_array, load_pipeline
from t2h.sampling import Sampling
from t2h.training.run import RunFolder

ROOT = Path(__file__).parents[1]
PAPER = (
    "--train --transfer_x0 --transfer_mode t2h --data_type cifar10lt --num_class 10 --logdir ./logs --cfg --conditional"
)
TINY = "--ch 32 --ch_mult 1 --ch_mult 2 --num_res_blocks 1 --img_size 8 --batch_size 4 --sample_step 0"

# Names and defaults as the official scripts (OC_LT, commit ced1843) define them.
OFFICIAL_MAIN = set(
    """
    train resume count_transfer resume_ckpt eval cal_score ch ch_mult attn num_res_blocks dropout improve beta_1
    beta_T T var_type lr grad_clip total_steps img_size warmup batch_size num_workers ema_decay parallel conditional
    gen_imgs_dir weight cotrain logit augm cfg data_type imb_factor num_class omega logdir sample_size sample_step
    save_step eval_step num_images private_num_images fid_use_torch fid_cache sample_name sampled sample_method
    transfer_x0 transfer_tr_tau transfer_mixing bal_sample transfer_mode tr_tau w
    """.split()  # noqa: SIM905
)
OFFICIAL_GEN = set(
    """
    train eval ch ch_mult attn num_res_blocks dropout beta_1 beta_T T mean_type var_type lr grad_clip total_steps
    img_size warmup batch_size num_workers ema_decay parallel logdir cond_logdir uncond_logdir sample_size
    sample_step w save_step eval_step num_images num_images_per_class fid_use_torch fid_cache ckpt_step
    ckpt_step_uncond specific_class balanced_dat ddim_skip_step cut_time num_class sample_method conditional weight
    cotrain logit augm cfg
    """.split()  # noqa: SIM905
)


def main_flags(line: str) -> Any:
    return parse_flags(line.split(), MAIN)


# --- syntax ---------------------------------------------------------------------------------------------------------

SOME = (
    Flag("train", False, "x"),
    Flag("lr", 0.1, "x"),
    Flag("ch_mult", [1, 2], "x"),
    Flag("name", "a", "x"),
    Flag("kind", "a", "x", ("a", "b")),
    Flag("weight", False, DEAD),
    Flag("n", 3, "x", note="n is other here"),
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", {"train": False, "lr": 0.1, "ch_mult": [1, 2], "n": 3}),
        ("--train", {"train": True}),
        ("-train", {"train": True}),
        ("--train=true --notrain", {"train": False}),
        ("--train=0", {"train": False}),
        ("--train=T", {"train": True}),
        ("--lr 2e-4 --name=b=c", {"lr": 2e-4, "name": "b=c"}),
        ("--lr=-1 --n -5", {"lr": -1.0, "n": -5}),
        ("--ch_mult 1 --ch_mult=4 -ch_mult 2", {"ch_mult": [1, 4, 2]}),
        ("--name --train", {"name": "--train", "train": False}),
        ("--kind=b", {"kind": "b"}),
        ("--n 1 --n 2", {"n": 2}),
        ("--noalsologtostderr --verbosity=-1 -v 2 --pdb_post_mortem --train", {"train": True}),
        ("--train -- --lr 5", {"train": True, "lr": 0.1}),
    ],
)
def test_syntax(line: str, expected: dict[str, Any]) -> None:
    flags = parse_flags(line.split(), SOME)
    assert {name: flags[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--trian", "Unknown command line flag 'trian'. Did you mean: train ?"),
        ("--nolr", "Unknown command line flag 'nolr'"),
        ("--lr", "Missing value for flag --lr"),
        ("--lr=fast", "flag --lr=fast: could not convert string to float"),
        ("--n 1.5", "flag --n=1.5: invalid literal for int()"),
        ("--ch_mult 1,2", "flag --ch_mult=1,2: invalid literal for int()"),
        ("--train=maybe", "flag --train=maybe: ('Non-boolean argument"),
        ("--kind=c", "flag --kind=c: value should be one of <a|b>"),
        ("--flagfile=nowhere.txt", "No such file or directory: 'nowhere.txt'"),
    ],
)
def test_mistakes(line: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        parse_flags(line.split(), SOME)


def test_flag_files(tmp_path: Path) -> None:
    (tmp_path / "inner.txt").write_text("--ch_mult=4\n--ch_mult=8\n")
    (tmp_path / "flagfile.txt").write_text(
        f"# of a run\n// too\n\n--train\n--lr=0.5\n--flagfile={tmp_path / 'inner.txt'}\n--nohelp\n--name=with space\n"
    )
    flags = parse_flags(["--lr=1", f"--flagfile={tmp_path / 'flagfile.txt'}", "--notrain"], SOME)
    assert (flags["lr"], flags["train"], flags["ch_mult"]) == (0.5, False, [4, 8])
    assert flags["name"] == "with space"
    (tmp_path / "inner.txt").write_text(f"--flagfile={tmp_path / 'inner.txt'}")
    assert parse_flags([f"--flagfile={tmp_path / 'inner.txt'}", "--n=4"], SOME)["n"] == 4  # absl warns and goes on


def test_notices_are_collected() -> None:
    flags = parse_flags(["--weight", "--noweight", "--n=4", "true", "--lr=1"], SOME)
    assert notices(flags, SOME) == [
        "without effect, in the official code as here: --weight",
        "--n: n is other here",
        "ignored, as by absl: true",
    ]
    assert notices(parse_flags(["--lr=1"], SOME), SOME) == []


@pytest.mark.parametrize(("table", "official"), [(MAIN, OFFICIAL_MAIN), (DDPM_GEN, OFFICIAL_GEN)])
def test_every_official_flag_is_known_and_says_what_it_does(table: tuple[Flag, ...], official: set[str]) -> None:
    names = [flag.name for flag in table]
    assert len(names) == len(set(names))
    assert official <= set(names)
    assert all(flag.here for flag in table)


# --- main.py --------------------------------------------------------------------------------------------------------


def test_the_command_of_the_paper() -> None:
    config = train_config(main_flags(PAPER))
    data, learning, machine = config.data, config.learning, config.machine
    assert (data.data, data.imbalance, data.profile, data.long_tail_seed, data.image_size) == (
        "cifar10",
        0.01,
        "exp",
        0,
        32,
    )
    assert (config.network.network, config.network.conditional, config.network.dropout) == ("cifar", True, 0.1)
    assert (config.process.num_timesteps, config.process.beta_start, config.process.beta_end) == (1000, 1e-4, 0.02)
    t2h = config.methods.t2h
    assert (config.objective, t2h.direction, t2h.beta, t2h.t_max, t2h.dropped_target) == (
        "t2h",
        "t2h",
        None,
        None,
        "same",
    )
    assert (learning.steps, learning.batch_size, learning.lr, learning.warmup_steps) == (500_001, 128, 2e-4, 5000)
    assert (learning.grad_clip, learning.ema_decay, learning.resampling, learning.flip) == (1.0, 0.9999, 1.0, "on")
    assert (learning.label_dropout, learning.dropout_unit) == (0.1, "batch")
    assert (machine.save_every, machine.keep, machine.grid_every) == (100_000, None, 10_000)
    assert train_notices(main_flags(PAPER)) == []


def test_other_trainings() -> None:
    plain = train_config(main_flags("--train --data_type cifar100 --conditional --lr 1e-3 --seed 7"))
    assert (plain.objective, plain.data.data, plain.data.imbalance) == ("ddpm", "cifar100", 1.0)
    assert (plain.learning.label_dropout, plain.learning.lr, plain.learning.seed) == (0.0, 1e-3, 7)
    prior = train_config(main_flags("--train --transfer_x0 --transfer_tr_tau --tr_tau=-1 --cut_time 700 --T 500"))
    assert (prior.methods.t2h.beta, prior.methods.t2h.t_max, prior.process.num_timesteps) == (-1.0, 700, 500)
    assert not prior.network.conditional
    tiny = train_config(main_flags("--data_type imagenet200lt --num_class 200 --img_size 64 --imb_factor 0.1"))
    assert (tiny.data.data, tiny.data.imbalance, tiny.data.image_size) == ("tiny-imagenet-200", 0.1, 64)
    digits = train_config(main_flags("--data_type digits --img_size 8"))
    assert (digits.data.data, digits.data.imbalance) == ("digits", 1.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--data_type cifar10lt --num_class 100", "cifar10lt has 10 classes"),
        ("--data_type imgnetLT", "no such data"),
        ("--ch 48", "32 must divide it"),
        ("--ch_mult 2 --ch_mult 2", "must begin with 1"),
        ("--attn 4", "levels 0 ... 3 only"),
        ("--lr 0", "lr is 0"),
    ],
)
def test_flags_that_mean_no_training(line: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        train_config(main_flags(line))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--tr_tau 2", "--tr_tau without --transfer_tr_tau"),
        ("--transfer_tr_tau", "--transfer_tr_tau without --transfer_x0"),
        ("--transfer_mode t2h", "this trains DDPM"),
        ("--cfg", "--cfg without --conditional"),
    ],
)
def test_combinations_without_effect(line: str, message: str) -> None:
    assert [message in notice for notice in train_notices(main_flags(line))] == [True]


def test_network_flags() -> None:
    config = network_config(network(main_flags("--ch 64 --ch_mult 1 --ch_mult 2 --attn 0 --attn 1")), 4, 3, 16)
    assert tuple(config["block_out_channels"]) == (64, 128)
    assert tuple(config["down_block_types"]) == ("AttnDownBlock2D", "AttnDownBlock2D")
    assert (config["layers_per_block"], config["norm_num_groups"], config["num_class_embeds"]) == (2, 32, 5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A colour data set of 3 classes, 8×8."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    draws = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), (12, 6, 2))
    np.savez(path, images=draws.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8), labels=labels)
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `main.py --train`."""
    logdir = tmp_path_factory.mktemp("run") / "logs"
    assert main_py(train_line(data, logdir)) == 0
    return logdir


def train_line(data: Path, logdir: Path, more: str = "") -> list[str]:
    line = "--train --transfer_x0 --transfer_mode t2h --cfg --conditional --num_class 3 --total_steps 4 --save_step 2"
    return [*line.split(), *TINY.split(), "--data_type", str(data), "--logdir", str(logdir), *more.split()]


def test_train_and_train_again(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(RunFolder(run).checkpoints()) == [2, 4]
    assert main_py([*train_line(data, run), "--count_transfer", "--weight", "--logit"]) == 0
    out = capsys.readouterr().out
    assert "notice: without effect, in the official code as here: --weight, --logit\n" in out
    assert "already finished: 4 steps, 16 images seen" in out
    assert re.search(r"transferred +within the class +across classes\n +0 … 99 ", out)
    assert main_py([*train_line(data, run), "--lr", "0.1"]) == 2
    assert "learning.lr: 0.0002 -> 0.1" in capsys.readouterr().err


def test_resume_from_another_run_goes_on_exactly(run: Path, data: Path, tmp_path: Path) -> None:
    more = f"--resume --resume_ckpt {run} --ckpt_step 2"
    assert main_py(train_line(data, tmp_path / "branch", more)) == 0
    a, b = (RunFolder(folder).load(4) for folder in (run, tmp_path / "branch"))
    assert a is not None
    assert b is not None
    assert all(torch.equal(a["ema"][name], b["ema"][name]) for name in a["ema"])


def test_resume_without_a_checkpoint(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_py(train_line(data, tmp_path / "x", f"--resume --resume_ckpt {run} --ckpt_step 3")) == 2
    assert "no checkpoint of step 3, ours or official; there are: 2, 4." in capsys.readouterr().err
    assert main_py(train_line(data, run, f"--resume --resume_ckpt {run} --ckpt_step 2")) == 2
    assert "another --logdir" in capsys.readouterr().err
    wrong = f"--resume --resume_ckpt {run} --ckpt_step 2 --ch_mult 1"
    assert main_py(train_line(data, tmp_path / "x", wrong)) == 2
    assert "of another network" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.fixture
def official(run: Path, tmp_path: Path) -> Path:
    """A folder with the official form of the run's network, with an optimiser's state."""
    to_official(load_pipeline(max(RunFolder(run).checkpoints().values())), tmp_path / "official" / "ckpt_2.pt", step=2)
    path = tmp_path / "official" / "ckpt_2.pt"
    content = torch.load(path, weights_only=True)
    state = {
        i: {"step": 3, "exp_avg": weight * 2, "exp_avg_sq": weight.abs() * 3}
        for i, (name, weight) in enumerate(content["net_model"].items())
        if name != TIME_TABLE
    }
    torch.save(content | {"optim": {"state": state, "param_groups": []}}, path)
    return path.parent


@pytest.mark.slow
def test_resume_from_an_official_checkpoint(official: Path, run: Path, data: Path, tmp_path: Path) -> None:
    more = f"--resume --resume_ckpt {official} --ckpt_step 2 --total_steps 3"
    assert main_py(train_line(data, tmp_path / "new", more)) == 0
    state = RunFolder(tmp_path / "new").load(3)
    weights = load_pipeline(max(RunFolder(run).checkpoints().values())).unet
    assert state is not None
    assert state["images_seen"] == 12
    names = [name for name, p in weights.named_parameters() if p.requires_grad]
    assert len(state["optimizer"]["state"]) == len(names)
    for i, name in enumerate(names):
        weight, moments = weights.state_dict()[name], state["optimizer"]["state"][i]
        torch.testing.assert_close(moments["exp_avg"], weight * 2)
        torch.testing.assert_close(moments["exp_avg_sq"], weight.abs() * 3)
        assert moments["step"] == 3
    # and it trains on from there
    assert main_py(train_line(data, tmp_path / "on", f"{more} --total_steps 4")) == 0
    assert main_py(train_line(data, official)) == 2  # never among official checkpoints by accident


@pytest.mark.slow
def test_resume_from_an_official_checkpoint_with_augmentation(
    official: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(official / "ckpt_2.pt", weights_only=True)
    told = torch.randn(128, 9, generator=torch.Generator().manual_seed(0))
    place = len(content["net_model"])
    for part in ("net_model", "ema_model"):
        content[part]["augm_embedding.weight"] = told
    content["optim"]["state"][place] = {"step": 3, "exp_avg": told * 5, "exp_avg_sq": told.abs()}
    torch.save(content, official / "ckpt_2.pt")
    more = f"--resume --resume_ckpt {official} --ckpt_step 2 --total_steps 3"
    assert main_py(train_line(data, tmp_path / "without", more)) == 2
    assert "was trained with --augm" in capsys.readouterr().err
    assert main_py(train_line(data, tmp_path / "with", f"{more} --augm")) == 0
    state = RunFolder(tmp_path / "with").load(3)
    assert state is not None
    assert torch.equal(state["augmentation"]["weight"], told)
    moments = [moment["exp_avg"] for moment in state["optimizer"]["state"].values()]
    assert sum(moment.shape == told.shape and torch.equal(moment, told * 5) for moment in moments) == 1
    assert main_py(train_line(data, tmp_path / "on", f"{more} --augm --total_steps 4")) == 0
    state = RunFolder(tmp_path / "on").load(4)
    assert state is not None
    assert not torch.equal(state["augmentation"]["weight"], told)


def test_missing_data_say_how_to_get_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_py([*PAPER.split(), "--root", str(tmp_path), "--logdir", str(tmp_path / "logs")]) == 2
    err = capsys.readouterr().err
    assert "main.py: cifar10: no cifar-10-batches-py" in err
    assert "--download" in err
    assert not (tmp_path / "logs").exists()


def test_main_eval(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    line = f"--eval --logdir {run} --ckpt_step 4 --num_images 5 --omega 0.8 --T 1000 --data_type cifar100lt"
    short = [*line.split(), "--img_size", "8"]
    assert main_py([*short, "--sampled"]) == 2
    assert "--sampled: there is no" in capsys.readouterr().err
    monkeypatch.setattr("t2h.official.sample.Sampling", lambda **values: Sampling(**values | {"steps": 3}))
    assert main_py(short) == 0
    assert "stats/cifar100.train.npz" in capsys.readouterr().out
    with np.load(run / "cfg_0.8_samples_ema_saved_N5_STEP4.npz") as file:
        assert file["images"].shape == (5, 8, 8, 3)
        assert set(file["labels"]) <= {0, 1, 2}
        assert json.loads(str(file["protocol"]))["w"] == 0.8
    assert main_py([*short, "--sampled"]) == 0
    assert main_py([*short, "--sample_method", "uncond", "--var_type", "fixedsmall"]) == 0
    with np.load(run / "uncond_0.8_samples_ema_saved_N5_STEP4.npz") as file:
        assert file["labels"].tolist() == [-1] * 5
        assert json.loads(str(file["protocol"]))["scheduler"] == "ddpm-small"


# --- ddpm_gen.py ----------------------------------------------------------------------------------------------------


@pytest.fixture
def logs(golden: Path, tmp_path: Path) -> Path:
    (tmp_path / "ckpt_200000.pt.xz").write_bytes((golden / "official_ckpt_trained.pt.xz").read_bytes())
    return tmp_path


def gen_line(logdir: Path, more: str = "") -> list[str]:
    line = f"--eval --ckpt_step 200000 --w 1.5 --conditional --cfg --num_class 5 --logdir {logdir} --num_images 6"
    return f"{line} --ddim_skip_step 250 {more}".split()


def test_images_of_an_official_checkpoint(
    logs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(logs)
    assert ddpm_gen_py(gen_line(logs)) == 0
    out = capsys.readouterr().out
    assert out.startswith("notice: without effect, in the official code as here: --cfg\n")
    assert "Not judged: there are no reference statistics stats/cifar10.train.npz" in out
    assert "CBDM" in out
    with np.load(logs / "samples_step200000_ddim4_w1.5_n6.npz") as file:
        images, labels = file["images"], file["labels"]
    from t2h.convert import from_official

    pipeline = from_official(logs / "ckpt_200000.pt.xz")
    again = draw_array(pipeline, Wanted.of_labels(labels), Sampling(steps=4), progress=False)
    assert np.abs(images.astype(int) - again).max() <= 1
    grid = np.asarray(Image.open(logs / "samples_ema_-1.png"))
    assert grid.shape == (16, 6 * 18 - 2, 3)
    assert np.array_equal(grid[:16, 18:34], images[1])


def test_one_class_and_no_class(logs: Path) -> None:
    assert ddpm_gen_py(gen_line(logs, "--specific_class 3")) == 0
    with np.load(logs / "samples_step200000_ddim4_w1.5_n6_class3.npz") as file:
        assert file["labels"].tolist() == [3] * 6
    assert (logs / "samples_ema_3.png").exists()
    assert ddpm_gen_py(gen_line(logs, "--noconditional --w 0")) == 0
    with np.load(logs / "samples_step200000_ddim4_w0_n6.npz") as file:
        assert file["labels"].tolist() == [-1] * 6
        assert json.loads(str(file["protocol"]))["w"] == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--ckpt_step 5", "has no checkpoint of step 5, ours or official; there are: ckpt_200000.pt.xz."),
        ("--num_class 10", "the checkpoint has 5 classes"),
        ("--T 500", "the checkpoint has 1000 steps"),
        ("--num_images 0", "must be at least 1"),
        ("--ddim_skip_step 0", "must be at least 1"),
        ("--specific_class 7", "class id 7 is out of range"),
        ("--sample_method dim", "did you mean 'ddim'"),
        ("--mean_type xstart", "value should be one of <epsilon>"),
        ("--train", "use python main.py --train"),
        ("--w_=2", "Unknown command line flag 'w_'"),
    ],
)
def test_mistakes_of_ddpm_gen(logs: Path, more: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ddpm_gen_py(gen_line(logs, more)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_images_of_our_own_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"--eval --w 1.5 --conditional --num_class 3 --logdir {run} --num_images 2 --ddim_skip_step 500 --ckpt_step"
    assert ddpm_gen_py([*line.split(), "2"]) == 0
    assert ddpm_gen_py([*line.split(), "4"]) == 0
    a, b = (np.load(run / f"samples_step{step}_ddim2_w1.5_n2.npz")["protocol"] for step in (2, 4))
    assert (json.loads(str(a))["images_seen"], json.loads(str(b))["images_seen"]) == (8, 16)
    assert json.loads(str(a))["weights_sha256"] != json.loads(str(b))["weights_sha256"]


def test_the_checkpoint_of_a_step_is_its_average(run: Path) -> None:
    state = RunFolder(run).load(2)
    pipeline = load_pipeline(RunFolder(run).checkpoints()[2])
    assert isinstance(pipeline, T2HPipeline)
    assert state is not None
    assert all(torch.equal(state["ema"][name], value) for name, value in pipeline.unet.state_dict().items())


@pytest.mark.slow
def test_judged_where_statistics_and_weights_are_there(
    logs: Path, inception: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draws = np.random.default_rng(0).normal(size=(4096, 2048)).astype(np.float32)
    np.savez(logs / "stats.npz", mu=draws.mean(0), sigma=np.cov(draws, rowvar=False))
    assert ddpm_gen_py(gen_line(logs, f"--fid_cache {logs / 'stats.npz'} --inception {inception}")) == 0
    out = capsys.readouterr().out
    assert re.search(r"Model \(EMA\): fid \d+\.\d{3}", out)
    assert "not comparable with published figures" in out
    assert json.loads((logs / "samples_step200000_ddim4_w1.5_n6.jsonl").read_text())["images"] == 6


@pytest.mark.parametrize("script", ["main.py", "ddpm_gen.py"])
def test_scripts_in_the_root(script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as done:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert done.value.code == 0
    out = capsys.readouterr().out
    assert f"usage: python {script} [FLAGS]" in out
    assert "--num_class" in out
