"""What users bring to the command line, and what happens in places that are not as they should be.

Each row is a command, what was done to its place before, and a part of the one line that must come: exit status 2, no
traceback, and nothing written. The commands run in this process, so whatever else is raised fails the row.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from t2h.cli import VERBS, main
from t2h.data.config import DataConfig, load_whole, long_tail_rows
from t2h.evaluation.reference import make_reference
from t2h.evaluation.reference_file import save_reference
from t2h.features.classifier import ClassifierConfig, train_classifier
from t2h.official import main_py

NETWORK = {
    "_class_name": "UNet2DModel",
    "down_block_types": ["DownBlock2D"] * 2,
    "up_block_types": ["UpBlock2D"] * 2,
    "block_out_channels": [8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "dropout": 0.0,
}
Make = Callable[[Path, Path], Any]
"""From the shared files and the row's own empty folder."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory, golden) -> Iterator[Path]:
    """A run of two steps with samples and a result, a reference, an official checkpoint; a cache of its own."""
    at = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("T2H_CACHE", str(at / "cache"))
        (at / "net.json").write_text(json.dumps(NETWORK))
        (at / "p.yaml").write_text(PLAN + "evaluation: {features: 'eyes:see'}\n")
        (at / "eyes.py").write_text("def see(images):\n    return images.flatten(1)\n")
        data = "--data digits --imbalance 0.1"
        learning = f"--steps 2 --batch-size 8 --network {at}/net.json --grid-every None"
        assert call(f"train {data} {learning} --out {at}/run") == 0
        assert call(f"sample {at}/run --per-class 2 --steps 2 --out {at}/s.npz") == 0
        config = DataConfig("digits", imbalance=0.1)
        table = load_whole(config)
        eyes = train_classifier(table.images, table.labels, 10, ClassifierConfig(max_steps=1))
        save_reference(make_reference(table, eyes, long_tail_rows(table, config)), at / "ref.safetensors")
        judged = "--per-class 3 --steps 2 --metrics fid --resamples 0"
        assert call(f"evaluate {at}/run --reference {at}/ref.safetensors {judged} --out {at}/res.json") == 0
        shutil.copy(golden / "official_ckpt_trained.pt.xz", at / "ckpt.pt.xz")
        yield at


def call(command: str) -> int:
    """The exit status, also where tyro leaves by itself."""
    try:
        return main(shlex.split(command))
    except SystemExit as end:
        return int(end.code or 0)


def put(name: str, content: str | bytes = "mine") -> Make:
    def make(_shared: Path, at: Path) -> None:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def folder(name: str) -> Make:
    return lambda _shared, at: (at / name).mkdir(parents=True)


def edited(part: str, change: Callable[[Path], Any]) -> Make:
    """A copy of the run as `at`/run, with one of its files changed."""

    def make(shared: Path, at: Path) -> None:
        shutil.copytree(shared / "run", at / "run")
        change(at / "run" / part)

    return make


def text(old: str, new: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return change


def written(content: str | bytes) -> Callable[[Path], Any]:
    return lambda file: file.write_bytes(content.encode() if isinstance(content, str) else content)


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def without_numbers(file: Path) -> None:
    save_file({name: weight * np.nan for name, weight in load_file(file).items()}, file, {"format": "pt"})


def samples_fifo(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "x.npz")


def damaged_result(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.json").write_text("{")


def result(**entries: Any) -> Make:
    """The result as `at`/a.json with other entries."""
    whole = "res.json"
    return lambda shared, at: put("a.json", json.dumps(json.loads((shared / whole).read_text()) | entries))(shared, at)


def reference(**entries: Any) -> Make:
    """The reference as `at`/r.safetensors, with other metadata (text) or tensors."""

    def make(shared: Path, at: Path) -> None:
        with safe_open(shared / "ref.safetensors", "numpy") as file:
            metadata = dict(file.metadata())
        tensors = load_file(shared / "ref.safetensors")
        for name, value in entries.items():
            (metadata if isinstance(value, str) else tensors)[name] = value
        save_file(tensors, at / "r.safetensors", metadata)

    return make


def statistics(**arrays: Any) -> Make:
    return lambda _shared, at: np.savez(at / "r.npz", **arrays)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran").absolute(),)


def saved(content: Any) -> Make:
    return lambda _shared, at: torch.save(content, at / "c.pt")


HUGE_HEADER = (1 << 60).to_bytes(8, "little") + b"{}"
WEIGHTS = "pipeline/unet/diffusion_pytorch_model.safetensors"
S = "sample {run} --out {at}/o --per-class 1 --steps 2 "
INDEX = "pipeline/model_index.json"
SCHEDULER = "pipeline/scheduler/scheduler_config.json"
STEP_2 = "checkpoints/step_00000002.pt"
COPY = "sample {at}/run --out {at}/o --per-class 1 --steps 2"
E = "evaluate {run} --reference {ref} --per-class 3 --steps 2 --metrics fid --out {at}/o.json "
R = "evaluate {run} --reference {at}/r.safetensors --per-class 3 --steps 2 --out {at}/o.json"
N = "evaluate {run} --reference {at}/r.npz --per-class 3 --steps 2 --features classifier --out {at}/o.json"
C = "convert official {ckpt} {at}/o "
K = "classify --data digits --imbalance 0.1 --arms long-tailed --quiet --seeds 0 --steps 1 --out {at}/o "
F = "reference --data digits --features classifier --out {at}/r.safetensors "
T = "train --data digits --steps 1 --device cpu --out {at}/run "
PLAN = "data: {d: {data: digits}}\nmethods: {ddpm: {}}\n"
B = "benchmark {at}/p.yaml --dry-run --out {at}/o"

BAD: list[tuple[str, Make | None, str]] = [
    # numbers and names
    (S + "--seed -1", None, "seed is -1"),
    (S + "--w nan", None, "w is nan"),
    (S + "--w -inf", None, "w is -inf"),
    (S + "--eta inf", None, "eta is inf"),
    (S + "--steps 1001", None, "takes 1 to 1000"),
    (S + "--scheduler dpm-solver++ --steps 1000", None, "takes 1 to 999"),
    (S + "--batch-size 0", None, "batch_size is 0; it must be at least 1"),
    (S + "--per-class -3", None, "per_class is -3"),
    (S + "--per-class 1000000000000", None, "not enough memory"),
    (S + "--classes 3 3", None, "classes is 3 3; give at least one, each once"),
    (S + "--classes cat", None, "unknown class 'cat'"),
    (S + "--classes -1", None, "unknown class '-1'"),
    (S + "--device tpu", None, "unknown device 'tpu'"),
    (S + "--scheduler EDMEulerScheduler", None, "EDMEulerScheduler cannot draw"),
    (S + "--scheduler DDIMInverseScheduler", None, "DDIMInverseScheduler cannot draw"),
    (S + "--scheduler CogVideoXDPMScheduler", None, "CogVideoXDPMScheduler cannot draw"),
    (S + "--scheduler UNet2DModel", None, "unknown scheduler"),
    (S + "--scheduler flow", None, "cannot draw from a epsilon network"),
    (S + "--mixed-precision fp16", None, "needs a CUDA device"),
    (E + "--w nan", None, "w is nan; it must be a finite number"),
    (E + "--w 1 1", None, "w is 1.0 1.0; give at least one, each once"),
    (E + "--per-class 0", None, "per_class is 0"),
    (E + "--batch-size 0", None, "batch_size is 0"),
    (E + "--ks 0", None, "ks is 0"),
    (E + "--ks -3", None, "ks is -3"),
    (E + "--kid-subset-size 1", None, "kid_subset_size is 1; it must be at least 2"),
    (E + "--quantile nan", None, "quantile is nan"),
    (E + "--resamples -1", None, "resamples is -1"),
    (E + "--metric-seed -1", None, "metric_seed is -1"),
    (E + "--metrics fidd", None, "did you mean 'fid'"),
    (E + "--features nosuch:f", None, "No module named 'nosuch'"),
    (E + "--features nosuch", None, "unknown feature network"),
    (C + "--image-size -8", None, "image_size is -8"),
    (C + "--image-size 1", None, "whose size 2 divides"),
    (C + "--image-size 100000000", None, "height and width in pixels are in 1 ... 4096"),
    (C + "--class-names a a a a a", None, "two classes are called 'a'"),
    (C + "--w inf", None, "w is inf"),
    (C + "--batch-size 0", None, "batch_size is 0"),
    (C + "--num-classes 3", None, "has 5 classes, not the 3"),
    (C + "--class-names a b", None, "2 class names for a network of 5 classes"),
    (K + "--lr nan", None, "lr is nan"),
    (K + "--lr -1", None, "lr is -1.0; it must be at least 0"),
    (K + "--weight-decay inf", None, "weight_decay is inf"),
    (K + "--seeds -1", None, "seeds is -1"),
    (F + "--batch-size 0", None, "batch_size is 0"),
    (F + "--resize x", None, "unknown resize 'x'"),
    ("demo --out {at}/o --w nan", None, "w is nan"),
    ("demo --out {at}/o --steps 0", None, "steps is 0"),
    ("inspect transfer --references 0", None, "references is 0"),
    ("compare {res} --w nan", None, "no result has a point at w = nan"),
    ("compare {res} --w x", None, "a number or `best` is needed"),
    ("compare {res} --metrics nosuch", None, "unknown metric of these results 'nosuch'"),
    ("compare {res} --groups nosuch", None, "unknown group 'nosuch'"),
    # nothing where a value is needed, as "$OUT" of a script that never set it
    ("sample {run} --out ''", None, "no value in --out ''"),
    ("sample ''", None, "no value in ''"),
    ("report {run} --out=", None, "no value in"),
    # a file where a folder is meant, and the reverse; outputs that would replace something else
    (S + "--out {at}/f", put("f"), "f: there is a file where a folder is needed"),
    (S + "--out {at}/f/x", put("f"), "f: there is a file where a folder is needed"),
    (S + "--out {at}/d.npz", folder("d.npz"), "d.npz: there is a folder where a file is needed"),
    (S + "--out {at}/d.npz", put("d.npz"), "d.npz"),
    (S, put("o/notes.txt"), "is not empty and holds no samples of ours"),
    (S, put("o/samples.json", "{"), "samples.json"),
    (S, put("o/samples.json", "[1]"), "samples.json"),
    (E + "--out {at}", None, "give a name that ends in .json"),
    (E + "--out {at}/f/o.json", put("f"), "f: there is a file where a folder is needed"),
    (E, folder("o.json"), "there is a folder where a file is needed"),
    (E, put("o.json", ""), "o.json is no result file"),
    (F + "--out {at}/r.txt", None, "give a name that ends in .safetensors or .npz"),
    (F + "--out {at}/f/r.npz", put("f"), "there is a file where a folder is needed"),
    (F, lambda shared, at: shutil.copy(shared / "run" / WEIGHTS, at / "r.safetensors"), "is no reference file"),
    ("report {run} --out {at}/config.yaml", put("config.yaml"), "give a name that ends in .html"),
    ("report {run} --out {at}/f/p.html", put("f"), "there is a file where a folder is needed"),
    ("inspect data --plot {at}/x.png", None, "give a name that ends in .svg"),
    ("convert official {ckpt} {at}/f", put("f"), "there is a file where a folder is needed"),
    ("convert official {ckpt} {at}/o --overwrite", put("o/notes.txt"), "is no pipeline folder; give another place"),
    ("convert to-official {run} {at}/o.pt", None, "cannot be this network"),
    ("convert to-official {run} {at}/d --overwrite", folder("d"), "there is a folder where a file is needed"),
    (K, put("o"), "there is a file where a folder is needed"),
    ("demo --out {at}/f", put("f"), "there is a file where a folder is needed"),
    ("benchmark digits --dry-run --out {at}/f", put("f"), "there is a file where a folder is needed"),
    # the wrong thing
    ("sample {at}/no", None, "no does not exist; give the folder of a run"),
    ("sample {net}", None, "is no checkpoint: it is not written by torch.save"),
    ("sample {ref}", None, "or no checkpoint at all"),
    ("sample {run}/pipeline/unet", None, "holds no pipeline/"),
    ("evaluate {res} --reference {ref}", None, "no folder of samples, no .npz and no run"),
    ("evaluate {run} --reference {res}", None, "is no reference file"),
    ("evaluate {run} --reference {npz}", None, "holds"),
    ("evaluate {run} --reference {run}", None, "there is no reference file"),
    ("evaluate {run} {at}/no --reference {ref}", None, "one run at a time"),
    ("evaluate {npz} --w 1 --reference {ref}", None, "--w: for drawing from a run"),
    ("evaluate {npz} --steps 5 --reference {ref}", None, "steps: for drawing from a run"),
    ("compare {ref}", None, "is no result file"),
    ("compare {net}", None, "is no result file"),
    ("report {npz} --out {at}/p.html", None, "is no result file"),
    ("report {run}/checkpoints --out {at}/p.html", None, "is no run"),
    ("convert official {run}/checkpoints/step_00000002.pt {at}/o", None, "is a checkpoint of `t2h train`"),
    ("convert official {ref} {at}/o", None, "or no checkpoint at all"),
    ("convert to-official {net} {at}/o.pt", None, "is no checkpoint"),
    ("benchmark {ref}", None, "is no plan of a benchmark"),
    ("benchmark {at}/p.yml", None, "there is no plan"),
    # damaged and hostile pipelines
    (COPY, edited("pipeline/unet", shutil.rmtree), "pipeline"),
    (COPY, edited(INDEX, text("{", "")), "pipeline is no whole pipeline folder"),
    (COPY, edited(INDEX, written("[]")), "holds a list, not named entries"),
    (COPY, edited("pipeline/unet/config.json", written("[]")), "holds a list"),
    (COPY, edited("pipeline/unet/config.json", Path.unlink), "is no whole pipeline folder"),
    (COPY, edited(INDEX, text('"diffusers"', '"antigravity"')), "its unet is antigravity."),
    (COPY, edited(INDEX, text("UNet2DModel", "AutoencoderKL")), "is no whole pipeline folder"),
    (COPY, edited(INDEX, text("UNet2DModel", "DDPMScheduler")), "its unet is diffusers.DDPMScheduler"),
    (COPY, edited(INDEX, text('"w": 1.5', '"w": "x"')), "pipeline: w is 'x'; a number"),
    (COPY, edited(INDEX, text('"steps": 50', '"steps": -1')), "pipeline: steps is -1"),
    (COPY, edited("pipeline/unet/config.json", text('"sample_size": 8', '"sample_size": -8')), "images of (1, -8, -8)"),
    (COPY, edited(SCHEDULER, text("linear", "squaredcos_cap_v2")), "'linear' is needed"),
    (COPY, edited(WEIGHTS, Path.unlink), "is no whole pipeline folder"),
    (COPY, edited(WEIGHTS, written(HUGE_HEADER)), "is no whole pipeline folder"),
    (COPY, edited(WEIGHTS, lambda file: file.write_bytes(file.read_bytes()[:-9])), "is no whole pipeline folder"),
    # damaged and hostile checkpoints
    ("sample {at}/c.pt", put("c.pt", b""), "cannot be read"),
    ("sample {at}/c.pt", put("c.pt", pickle.dumps(Payload())), "is no checkpoint"),
    ("sample {at}/c.pt", saved({"ema_model": Payload()}), "which is code and was not run"),
    ("sample {at}/c.pt", saved({"state_dict": {}}), "it holds state_dict, but net_model"),
    ("sample {at}/c.pt", saved([1]), "it holds list"),
    ("sample {at}/c.pt", saved({"ema_model": {"a": torch.zeros(1)}}), "not the weights of the official U-Net"),
    ("sample {at}/c.pt", put("c.pt", b"\xfd7zXZ\x00junk"), "cannot be read"),
    (
        "sample {at}/step_2.pt",
        lambda shared, at: shutil.copy(shared / "run/checkpoints/step_00000002.pt", at / "step_2.pt"),
        "is a checkpoint of `t2h train`; give its run",
    ),
    (
        "sample {at}/run/checkpoints/step_00000002.pt",
        edited("checkpoints/step_00000002.pt", lambda file: file.write_bytes(file.read_bytes()[:999])),
        "cannot be read",
    ),
    # damaged and hostile references
    *(
        (command, edited(name, fifo), f"{Path(name).name}: there is something that is neither a file nor a folder")
        for command, name in (
            ("train --out {at}/run --steps 1", "config.yaml"),
            ("report {at}/run", "config.yaml"),
            ("report {at}/run", "metrics.jsonl"),
        )
    ),
    ("sample {at}/run/checkpoints/step_00000002.pt", edited(STEP_2, fifo), "step_00000002.pt holds no pipeline"),
    ("inspect samples {at}/run", edited("config.yaml", fifo), "its run is not found"),
    (R, put("r.safetensors", b""), "r.safetensors is no reference file"),
    (R, put("r.safetensors", HUGE_HEADER), "r.safetensors is no reference file"),
    (R, reference(seen_by="[1]"), "r.safetensors is no reference file"),
    (R, reference(image_shape="[1]"), "r.safetensors is no reference file"),
    (R, reference(class_names='["a"]'), "r.safetensors is no reference file"),
    (R, reference(num_images="x"), "r.safetensors is no reference file"),
    (R, reference(mean=np.zeros(5)), "its content is not what its sha256 says"),
    (R, reference(labels=np.zeros(3, np.int64)), "its content is not what its sha256 says"),
    (N, put("r.npz", b"PK\x03\x04xx"), "r.npz is no reference file"),
    (N, lambda _shared, at: np.save((at / "r.npz").open("wb"), np.eye(2)), "r.npz is no reference file"),
    (N, statistics(mu=np.zeros(4)), "`mu` and `sigma`"),
    (N, statistics(mu=np.zeros(4), sigma=np.eye(3)), "r.npz"),
    (N, statistics(mu=np.array([None] * 4), sigma=np.eye(4)), "r.npz is no reference file"),
    # damaged results
    ("compare {at}/a.json", put("a.json", "{"), "a.json is no result file"),
    ("compare {at}/a.json", put("a.json", b"\xff\xfe"), "a.json is no result file"),
    ("compare {at}/a.json", put("a.json", "[" * 100_000), "a.json is no result file"),
    ("compare {at}/a.json", put("a.json", '{"version":' + "9" * 5_000 + "}"), "a.json is no result"),
    ("compare {at}/a.json", result(version=9), "has version 9"),
    ("compare {at}/a.json", result(points=[{"w": 10**400}]), "a.json is no result file"),
    ("compare {at}/a.json", result(points=[{"w": 1, "num_images": "x"}]), "num_images is 'x'"),
    ("report {at}/a.json --out {at}/p.html", result(data={"class_names": 3, "class_counts": 4}), "a.json is no result"),
    ("report {at}/a.json", result(points=[{"w": 1, "metrics": {"fid": {"value": 1, "n": "x"}}}]), "n is 'x'"),
    (E.replace("o.json", "a.json"), result(protocol=[1]), "a.json is no result file"),
    ("compare {at}/a.json", result(version="2"), "has version '2'"),
    ("compare {at}/a.json", result(data={"class_names": ["a"], "class_counts": [1.5]}), "class_counts has 1.5"),
    # damaged runs, plans and studies
    (B, put("p.yaml", PLAN + "data: {e: {data: digits}}"), "data is given twice"),
    (B, put("p.yaml", "data: {d: {data: digits}, d: {data: cifar10}}\nmethods: {ddpm: {}}"), "d is given twice"),
    ("report {at}/run", edited("classes.json", written("{")), "classes.json is no"),
    ("report {at}/run", edited("classes.json", written("[]")), "classes.json is no"),
    (E.replace("{run}", "{at}/run"), edited("config.yaml", written("")), "config.yaml is no"),
    (E.replace("{run}", "{at}/run"), edited("config.yaml", written(b"\xff")), "config.yaml is no"),
    (
        E.replace("{run}", "{at}/run"),
        edited("config.yaml", written("!!python/object/apply:os.mkdir [ran]")),
        "config.yaml is no",
    ),
    (B, put("p.yaml", ""), "it holds no entries"),
    (B, put("p.yaml", "["), "is no plan of a benchmark"),
    (B, put("p.yaml", b"\xff\xfe"), "p.yaml is no plan of a benchmark"),
    (B, put("p.yaml", PLAN + "evaluation: {w: [.nan]}"), "w is nan"),
    (B, put("p.yaml", PLAN + "evaluation: {per_class: 2.5}"), "evaluation.per_class is 2.5; a whole"),
    (B, put("p.yaml", PLAN + "evaluation: {steps: 2000}"), "takes 1 to 1000"),
    (B, put("p.yaml", PLAN + "seeds: [a]"), "seeds is 'a'; a whole number is needed"),
    (B, put("p.yaml", PLAN + "published: [{source: s, data: d-0.01, values: {a: x}}]"), "values.a is 'x'; a number"),
    *(
        (B, put("p.yaml", PLAN + entry), says)
        for entry, says in (
            ("base: {learning: [1]}", "learning holds named entries in one place, and none in another"),
            ("base: {learning: {steps: true}}", "learning.steps is True; a whole number is needed"),
            ("base: {learning: {batch_size: 10000000000000}}", "batch_size is 10000000000000; it must be at most"),
            ("base: {learning: {flip: maybe}}", "unknown learning.flip 'maybe'"),
            ("base: {network: {network: {a: b}}}", "network.network is {'a': 'b'}; a text is needed"),
            ("base: {sampling: {w_table: 5}}", "sampling.w_table holds no named entries"),
            ("base: {process: {num_timesteps: 1e9}}", "process.num_timesteps is '1e9'; a whole number is needed"),
            ("seeds: '12'", "seeds is '12'; a list is needed"),
            ("seeds: [1.5]", "seeds is 1.5; a whole number is needed"),
            ("imbalance: '1'", "imbalance is '1'; a list is needed"),
            ("evaluation: 5", "evaluation holds no named entries"),
            ("evaluation: {w: '12'}", "evaluation.w is '12'; a list is needed"),
            ("evaluation: {metrics: {fid: 1}}", "evaluation.metrics is {'fid': 1}; a list is needed"),
            ("evaluation: {clip_sample: 5}", "clip_sample is 5; true or false is needed"),
            ("evaluation: {w_interval: [1]}", "w_interval is [1]; a list of 2 is needed"),
            ("evaluation: {w_power: .nan}", "w_power is nan"),
            ("published: [{source: s, data: d-0.01, metric: fidd, values: {a: 1}}]", "did you mean 'fid'"),
            ("evaluation: {w_per: image}", "unknown evaluation.w_per 'image'"),
            ("published: [{source: s, data: d-0.01}]", "published lacks values"),
            ("published: [{source: s, data: d-0.01, values: {a: .inf}}]", "values is inf"),
        )
    ),
    *(
        (B, put("p.yaml", f"data: {data}\nmethods: {methods}"), says)
        for data, methods, says in (
            ("{d: {data: [digits]}}", "{ddpm: {}}", "data.data is ['digits']; a text is needed"),
            ("{d: {data: digits, split: 5}}", "{ddpm: {}}", "data.split is 5; a text is needed"),
            ("{d: {data: digits, image_size: 8.5}}", "{ddpm: {}}", "data.image_size is 8.5; a whole number"),
            ("{d: {data: digits, long_tail_seed: x}}", "{ddpm: {}}", "data.long_tail_seed is 'x'"),
            ("{d: {data: digits, counts: [a]}}", "{ddpm: {}}", "data.counts is 'a'; a whole number"),
            ("{d: {data: digits}}", "{ddpm: {}, ..: {}}", "'..' names a folder"),
        )
    ),
    (K, put("o/long-tailed/seed0.json", "{"), "seed0.json is no result of a classifier"),
    (K + "--batch-size 10000000000", None, "batch_size is 10000000000; it must be at most"),
    (K + "--momentum 2", None, "momentum is 2.0; it must be in (0, 1)"),
    (K + "--lr 1e300", None, "lr is 1e+300; it must be at most"),
    (K + "--run {at}/none", None, "--run and --samples are for the arm `filled`"),
    (K + "--w 1", None, "--w is for drawing from a --run"),
    (S + "--per-class 99999999999999999999999", None, "it must be at most 9223372036854775807"),
    (S + "--w 1e308", None, "w is 1e+308; it must be at most"),
    (S + "--w-power nan", None, "w_power is nan"),
    (S + "--w-power 1e10", None, "w_power is 1e+10; it must be at most 10"),
    (S + "--w-table 0=nan", None, "w_table is nan"),
    (S + "--w-table 0=1e308", None, "w_table is 1e+308; it must be a finite number, at most"),
    (S + "--w-table 0", None, "'0' is neither NAME=W nor a JSON file"),
    (S + "--w-table nosuch=1", None, "unknown class in w_table 'nosuch'"),
    (S + "--w-table {at}/t.json", None, "t.json: no such file"),
    (S + "--w-table {res}", None, "it lacks 'w_table'"),
    *(
        (S + "--w-table {at}/t.json", put("t.json", table), says)
        for table, says in (
            ("[" * 100_000, "t.json is no JSON file that holds a w_table"),
            ('{"w_table": {"0": true}}', "w_table.0 is True; a number is needed"),
            ('{"w_table": {"0": "x"}}', "w_table.0 is 'x'; a number is needed"),
            ('{"w_table": [1, 2]}', "w_table holds no named entries"),
            ('{"w_table": {"99": 1}}', "unknown class in w_table '99'"),
        )
    ),
    (S + "--w-table {at}/t.json", lambda _shared, at: os.mkfifo(at / "t.json"), "neither a file nor a folder"),
    (S + "--guide {at}/g", lambda _shared, at: os.mkfifo(at / "g"), "the guide"),
    (S + "--guide {ckpt}", None, "is no run, no pipeline folder and no checkpoint of a run"),
    ("watch {res}", None, "res.json: there is no such folder"),
    ("watch {run} --every nan", None, "every is nan"),
    ("watch {run} --html {at}/p.txt", None, "give a name that ends in .html"),
    ("watch {at}/run", edited("metrics.jsonl", fifo), "neither a file nor a folder"),
    ("app", None, "0 models are given"),
    ("app {run} {run} {run}", None, "3 models are given"),
    *(
        ("push {run} " + repo + " --dry-run {at}/o", None, "is no name of a repository")
        for repo in ("a/b/c", "'a b/c'", "../..")
    ),
    ("push {run} me/x --dry-run {run}/pipeline", None, "holds nothing that was to be pushed"),
    ("push {run} me/x --dry-run {at}/f", put("f"), "holds nothing that was to be pushed"),
    ("push me/x {run} --dry-run {at}/o", None, "is no name of a repository"),
    ("push {at}/run me/x --dry-run {at}/o", edited("results", damaged_result), "a.json is no result file"),
    ("inspect samples {at}/no", None, "no does not exist"),
    ("inspect samples {at}/run", edited("samples", samples_fifo), "x.npz: no folder of samples, no .npz"),
    ("inspect samples {run} --per-class 0", None, "per_class is 0"),
    ("inspect samples {npz} --data {at}/d", folder("d/a"), "d/a; put some there"),
    ("inspect transfer --references 1", None, "references is 1; it must be at least 2"),
    ("inspect transfer --t2h.window 0.3 0.01", None, "t2h.window is 0.3 0.01"),
    ("inspect transfer --examples {at}/a.svg", None, "give a name that ends in .png"),
    (K.replace("long-tailed", "filled") + "--run {run} --keep 0", None, "keep is 0.0; it must be in (0, 1]"),
    (K.replace("long-tailed", "filled") + "--run {run} --synthetic-weight 1e30", None, "it must be in (0, 1000]"),
    (K.replace("long-tailed", "filled") + "--samples {npz}", None, "too few synthetic images"),
    (K.replace("long-tailed", "filled") + "--run {run} --fill-to 1", None, "give a larger number"),
    (T + "--network {at}/n.json", lambda _shared, at: os.mkfifo(at / "n.json"), "neither a file nor a folder"),
    (T + "--init {at}/i", lambda _shared, at: os.mkfifo(at / "i"), "i holds no pipeline/"),
    (T + "--objective :", None, "Empty module name"),
    *(
        (T + "--objective {at}/m.py:X", put("m.py", f"raise {what}"), f"m.py:X': {says}. Give module:Class")
        for what, says in (("RuntimeError('so')", "so"), ("SystemExit(0)", "0"), ("KeyError", "KeyError"))
    ),
    (F.replace("classifier", "ends:f"), put("ends.py", "raise SystemExit(3)"), "features 'ends:f': SystemExit: 3"),
    (T + "--init {npz}", None, "no checkpoint at all"),
    (T + "--init {ckpt}", None, "is a network for images of 3 channel(s)"),
    (T + "--init {run} --process flow", None, "another noise schedule or prediction"),
    (T.replace("{at}/run", "{at}/r") + "--init {at}/run", edited(WEIGHTS, without_numbers), "weights are no numbers"),
    (T + "--autoencoder {run}/pipeline/unet", None, "its class is UNet2DModel"),
    (T + "--autoencoder {at}/ae", put("ae/config.json", '{"_class_name": "AutoencoderKL"}'), "ae is no autoencoder"),
    (T + "--autoencoder {at}/ae", put("ae/config.json", '{"_class_name": "os.system"}'), "its class is os.system"),
    (S + "--out {at}/o.npz", lambda _shared, at: os.mkfifo(at / "o.npz"), "neither a file nor a folder"),
    ("inspect data --data {at}/p.npz", lambda _shared, at: os.mkfifo(at / "p.npz"), "neither a folder nor an .npz"),
    ("inspect data --data /dev/zero", None, "neither a folder nor an .npz"),
    ("evaluate / --reference {ref}", None, "/: class folders must all be"),
    (F + "--held-out-split train", None, "the held-out split is train, which the reference is made of"),
    (T + "--network '[]'", None, "unknown network"),
    (T + "--network {at}/n.json", put("n.json", "[]"), "n.json is no configuration of a diffusers model in JSON"),
    (T + "--network '{{\"nosuch\": 1}}'", None, "the network cannot be built"),
    (T + "--network '{{\"block_out_channels\": \"x\"}}'", None, "the network cannot be built"),
    (T + "--references 10000000000", None, "references is 10000000000; it must be at most"),
    *((line + "--t2h.beta 70", None, "t2h.beta is 70.0; it must be in [-10, 10]") for line in (T, "inspect transfer ")),
    (T + "--cbdm.tau -1", None, "cbdm.tau is -1.0; it must be at least 0"),
    (T + "--reweighting.beta 4", None, "reweighting.beta is 4.0; it must be in [0, 1)"),
    (T + "--coral.weight -1", None, "coral.weight is -1.0; it must be at least 0"),
    (T + "--cm.rank-ratio 2", None, "cm.rank_ratio is 2.0"),
    (T + "--trackers nosuch", None, "unknown tracker 'nosuch'"),
]  # fmt: skip


def names(shared: Path, at: Path) -> dict[str, Path]:
    files = {"run": "run", "ref": "ref.safetensors", "res": "res.json", "npz": "s.npz", "net": "net.json"}
    return {
        "at": at,
        "sh": shared,
        "ckpt": shared / "ckpt.pt.xz",
        **{name: shared / file for name, file in files.items()},
    }


def listing(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for at in folders for path in at.rglob("*") if "cache" not in path.parts}


@pytest.mark.parametrize(("command", "make", "says"), BAD, ids=[f"{i}-{row[0][:60]}" for i, row in enumerate(BAD)])
def test_one_line_and_nothing_written(command, make, says, shared, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    if make is not None:
        make(shared, tmp_path)
    before = listing(shared, tmp_path)
    assert call(command.format(**names(shared, tmp_path))) == 2
    *bars, line = capfd.readouterr().err.rstrip("\n").split("\n")
    assert line.startswith("t2h: ")
    assert says in line
    assert all("img/s" in bar for bar in bars)
    assert listing(shared, tmp_path) == before


def test_a_checkpoint_of_a_run_is_its_network(shared, tmp_path, capsys):
    """The same images, drawn, judged, converted to and begun with."""
    step = f"{shared}/run/checkpoints/step_00000002.pt"
    assert call(f"sample {step} --per-class 2 --steps 2 --out {tmp_path}/s.npz") == 0
    for name in ("images", "labels"):
        assert (np.load(tmp_path / "s.npz")[name] == np.load(shared / "s.npz")[name]).all()
    judged = "--per-class 3 --steps 2 --metrics fid --resamples 0"
    assert call(f"evaluate {step} --reference {shared}/ref.safetensors {judged} --out {tmp_path}/a.json") == 0
    theirs, ours = (json.loads(file.read_text())["points"] for file in (shared / "res.json", tmp_path / "a.json"))
    assert theirs[0]["metrics"] == ours[0]["metrics"]
    data = "--data digits --imbalance 0.1 --steps 1 --batch-size 8 --grid-every None"
    assert call(f"train {data} --init {step} --out {tmp_path}/run") == 0


def test_a_log_with_damaged_lines_is_no_hindrance(shared, tmp_path):
    """The training goes on and writes what it can read of it anew."""
    shutil.copytree(shared / "run", tmp_path / "run")
    file = tmp_path / "run" / "metrics.jsonl"
    file.write_bytes(b'\xff\n{"step": "x"}\n{"step": null}\n[]\n{"step": 2, "loss": 1.0}\n')
    data = f"--data digits --imbalance 0.1 --batch-size 8 --network {shared}/net.json --grid-every None"
    assert call(f"train {data} --steps 3 --extend --out {tmp_path}/run") == 0
    assert [line["step"] for line in map(json.loads, file.read_text().splitlines())] == [2, 3]


def test_a_tilde_that_the_shell_left_is_the_home_folder(shared, tmp_path, monkeypatch):
    monkeypatch.chdir(shared)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert call("inspect data --plot=~/a.svg") == 0
    assert (tmp_path / "a.svg").is_file()
    assert not (shared / "~").exists()


def test_damage_that_the_page_can_do_without(shared, tmp_path):
    """A log with lines that are no numbers, samples and grids that cannot be read: the rest is shown."""
    shutil.copytree(shared / "run", tmp_path / "run")
    lines = ['{"loss": NaN, "step": 1}', '{"loss": 1e400, "step": 2}', '{"loss": 1, "step": "x"}', "[" * 100_000]
    lines += [
        json.dumps({"loss": 2.0 - i, "step": i, "images_seen": "x", "transfer": {"t_edges": "x"}}) for i in (3, 4)
    ]
    (tmp_path / "run" / "metrics.jsonl").write_bytes("\n".join(lines).encode() + b"\n\xff\n")
    put("run/grids/step_1.png", "junk")(shared, tmp_path)
    put("run/samples/w_1.5/samples.json", '{"class_names": 3}')(shared, tmp_path)
    assert call(f"report {tmp_path}/run --out {tmp_path}/p.html") == 0
    page = (tmp_path / "p.html").read_text("utf-8")
    assert "Training loss" in page
    assert "samples of run are not shown" in page


def test_texts_as_windows_writes_them(shared, tmp_path):
    """With a byte order mark: a result, a table of w, a network."""
    mark = b"\xef\xbb\xbf"
    put("a.json", mark + (shared / "res.json").read_bytes())(shared, tmp_path)
    put("t.json", mark + b'{"w_table": {"0": 2}}')(shared, tmp_path)
    put("n.json", mark + (shared / "net.json").read_bytes())(shared, tmp_path)
    assert call(f"compare {tmp_path}/a.json") == 0
    assert call(f"sample {shared}/run --per-class 1 --steps 2 --w-table {tmp_path}/t.json --out {tmp_path}/s.npz") == 0
    learning = f"--steps 1 --batch-size 4 --grid-every None --network {tmp_path}/n.json"
    assert call(f"train --data digits {learning} --out {tmp_path}/run") == 0


def test_half_a_surrogate_pair_is_shown_as_its_code(shared, tmp_path):
    result(name="\ud800")(shared, tmp_path)
    assert call(f"report {tmp_path}/a.json --out {tmp_path}/p.html") == 0
    assert r"\ud800" in (tmp_path / "p.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", "[" * 100_000),
        ("config.yaml", "{a: 2020-99-99}"),
        ("config.yaml", "data: {}"),
        ("metrics.jsonl", "".join(f'{{"step": {i}, "images_seen": {i}, "loss": {(-1) ** i}e308}}\n' for i in range(9))),
        ("grids/step_00000001.png", None),
    ],
)
def test_watching_needs_no_whole_run(shared, tmp_path, name, content, capsys):
    shutil.copytree(shared / "run", tmp_path / "run")
    put(f"run/{name}", content or "")(shared, tmp_path)
    if content is None:
        fifo(tmp_path / "run" / name)
    assert call(f"watch {tmp_path}/run --once --html {tmp_path}/p.html") == 0
    assert "disk" in capsys.readouterr().out
    assert (tmp_path / "p.html").is_file()


def test_a_push_says_what_its_card_lacks_and_may_go_to_the_working_directory(shared, tmp_path, monkeypatch, capsys):
    shutil.copytree(shared / "run", tmp_path / "run")
    put("run/samples/w_1.5/samples.json", "{")(shared, tmp_path)
    (tmp_path / "run" / "grids").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "run" / "grids" / "step_00000002.png")
    folder("o")(shared, tmp_path)
    monkeypatch.chdir(tmp_path / "o")
    assert call(f"push {tmp_path}/run me/x --dry-run .") == 0
    assert (tmp_path / "o" / "pipeline.py").is_file()
    assert "says nothing of near copies" in capsys.readouterr().err


def test_names_of_others_are_no_markup_and_no_formula(shared, tmp_path, capsys):
    name = "=1+1|<script>alert(1)</script>`*"
    result(name=name)(shared, tmp_path)
    shown = {}
    for form in ("csv", "markdown", "html"):
        assert call(f"compare {tmp_path}/a.json --format {form}") == 0
        shown[form] = capsys.readouterr().out
    assert "\n'=1+1|" in shown["csv"]
    assert r"| =1+1\|\<script\>alert(1)\</script\>\`\* |" in shown["markdown"]
    assert call(f"report {tmp_path}/a.json --out {tmp_path}/p.html") == 0
    for page in (shown["html"], (tmp_path / "p.html").read_text("utf-8")):
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>" not in page


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_every_help_and_table_prints_in_any_encoding(shared, tmp_path, encoding, monkeypatch):
    """Without a home, and with a backend of matplotlib that is not installed, as in notebooks."""
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("MPLBACKEND", "nosuch")
    monkeypatch.delenv("HOME", raising=False)
    result(name="κλάση ☃")(shared, tmp_path)
    for verb in VERBS:
        assert call(f"{verb} --help") == 0
    assert call(f"compare {tmp_path}/a.json") == 0
    assert call(f"inspect data --plot {tmp_path}/a.svg") == 0
    out.flush()
    assert rb"\u03ba\u03bb\u03ac\u03c3\u03b7 \u2603" in out.buffer.getvalue()  # type: ignore[attr-defined]
    assert (tmp_path / "a.svg").is_file()


def test_the_first_of_several_processes_speaks(monkeypatch, capsys):
    """Another waits, in which the launcher ends it; if the mistake was its own alone, it is said all the same."""
    import t2h.errors

    waited: list[float] = []
    monkeypatch.setattr(t2h.errors.time, "sleep", waited.append)
    for rank, seconds in (("0", []), ("1", [t2h.errors._FIRST_SPEAKS])):
        monkeypatch.setenv("RANK", rank)
        waited.clear()
        assert call("compare nowhere.json") == 2
        assert waited == seconds
    assert capsys.readouterr().err.count("no result file nowhere.json") == 2


def test_a_reader_that_leaves_is_no_error(shared):
    """`t2h compare ... | head -1`"""
    command = f"{shlex.quote(sys.executable)} -m t2h compare {shared}/res.json | true; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert ran.stdout.strip() in ("0", "141")
    assert ran.stderr == ""


def test_official_flags_and_places(shared, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words, says in (
        (["--eval", "--logdir", "nowhere"], "has no checkpoint"),
        (["--train", "--T", "0", "--data_type", "digits"], "num_timesteps is 0"),
        (["--train", "--lr", "x"], "lr"),
        (["--train", "--logdir", ""], "no value in --logdir ''"),
    ):
        assert main_py(words) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.startswith("main.py: ")
    assert not list(tmp_path.iterdir())


VERBS_THAT_WRITE = [
    "sample {run} --per-class 2 --steps 2 --out {disk}/o",
    "sample {run} --per-class 2 --steps 2 --out {disk}/o.npz",
    "evaluate {run} --reference {ref} --per-class 3 --steps 2 --metrics fid --out {disk}/o.json",
    "reference --data digits --features eyes:see --out {disk}/o.safetensors",
    "report {run} --out {disk}/o.html",
    "inspect data --plot {disk}/o.svg",
    "convert official {ckpt} {disk}/o",
    "classify --data digits --imbalance 0.1 --arms long-tailed --quiet --seeds 0 1 --steps 1 --out {disk}/o",
    pytest.param("demo --steps 1 --out {disk}/o", marks=pytest.mark.slow),
    "benchmark {sh}/p.yaml --quiet --out {disk}/o",
]


@pytest.fixture(params=["full", "read-only"])
def disk(request, tmp_path) -> Iterator[Path]:
    """A disk of some kilobytes that holds one file, or one that may only be read."""
    options = "size=8k" if request.param == "full" else "ro"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    if request.param == "full":
        (tmp_path / "mine").write_bytes(bytes(4096))
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.mark.parametrize("command", VERBS_THAT_WRITE, ids=lambda command: command.split(" -")[0].split()[0])
def test_a_disk_that_takes_nothing(command, disk, shared, capfd, monkeypatch):
    monkeypatch.chdir(shared)
    before = listing(disk)
    command = command.format(**names(shared, disk), disk=disk)
    assert call(command) == 2
    line = capfd.readouterr().err.rstrip("\n").split("\n")[-1]
    assert line.startswith(f"t2h: {disk}")
    assert "the disk is full" in line if before else "choose a place" in line
    assert all(not path.name.endswith(".tmp") for path in disk.rglob("*"))
    assert {path: size for path, size in listing(disk).items() if path in before} == before
