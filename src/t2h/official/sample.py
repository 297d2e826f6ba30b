"""`ddpm_gen.py --eval` and `main.py --eval`: draw images with labels, keep them and judge them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from t2h.convert import from_checkpoint, from_official
from t2h.device import pick_device
from t2h.errors import UserError
from t2h.evaluation import Judge, evaluate_arrays, load_reference
from t2h.features.inception import InceptionFeatures
from t2h.files import replaced, write_text
from t2h.official.flags import Flags
from t2h.pipeline import T2HPipeline
from t2h.process import NoiseSchedule
from t2h.samples.draw import Wanted
from t2h.samples.grid import sample_grid
from t2h.samples.read import SampleSet, read_samples
from t2h.samples.store import write_samples
from t2h.sampling import Sampling
from t2h.training.run import RunFolder

STATISTICS = (
    "They are the mu and sigma of the balanced training set, in the `stats` folder of CBDM's repository "
    "(https://github.com/qym7/CBDM-pytorch); put them there, or name them with "
    "--fid_cache. `t2h reference` makes them from images."
)


def evaluate_main(flags: Flags) -> None:
    """`main.py --eval`: ancestral sampling in all T steps."""
    pipeline, method, omega = _pipeline(flags), flags["sample_method"], flags["omega"]
    wanted = _wanted(flags, pipeline, method != "uncond")
    w = omega if method == "cfg" and omega > 0 else 0.0
    sampling = Sampling(w=w, scheduler=_scheduler(flags, "ddpm"), steps=flags["T"], seed=flags["seed"])
    drawn = f"{method}_{omega:g}"
    name = f"{flags['sample_name']}_N{len(wanted)}_STEP{flags['ckpt_step']}"
    statistics = Path(flags["fid_cache"])
    if "fid_cache" not in flags.given and "cifar100" in flags["data_type"]:
        statistics = statistics.with_name("cifar100.train.npz")
    images, grid = f"{drawn}_samples_ema_{name}.npz", f"visual_ema_{drawn}_{name}.png"
    _draw_and_judge(flags, pipeline, wanted, sampling, images, grid, statistics)


def evaluate_gen(flags: Flags) -> None:
    """`ddpm_gen.py --eval`: DDIM, or another sampler, in T/ddim_skip_step steps."""
    skip, only, step = flags["ddim_skip_step"], flags["specific_class"], flags["ckpt_step"]
    if skip < 1:
        raise UserError(f"--ddim_skip_step is {skip}; it must be at least 1.")
    if flags["T"] % skip:
        print(f"notice: --ddim_skip_step {skip} does not divide {flags['T']}; steps are spaced evenly")
    pipeline, steps, method = _pipeline(flags), -(-flags["T"] // skip), _scheduler(flags, flags["sample_method"])
    wanted = _wanted(flags, pipeline, flags["conditional"], only if only >= 0 else None)
    w = flags["w"] if flags["conditional"] else 0.0
    sampling = Sampling(w=w, scheduler=method, steps=steps, seed=flags["seed"])
    name = f"samples_step{step}_{method}{steps}_w{flags['w']:g}_n{len(wanted)}{'' if only < 0 else f'_class{only}'}"
    grid = f"samples_ema_{only}.png"
    _draw_and_judge(flags, pipeline, wanted, sampling, f"{name}.npz", grid, Path(flags["fid_cache"]))


def no_checkpoint(folder: Path, step: int) -> UserError:
    """Says which checkpoints ``folder`` has instead."""
    there = [*map(str, RunFolder(folder).checkpoints()), *sorted(file.name for file in folder.glob("ckpt*.pt*"))]
    return UserError(
        f"{folder} has no checkpoint {f'of step {step}' if step >= 0 else 'ckpt.pt'}, ours or official; "
        f"there are: {', '.join(there) or 'none (python main.py --train makes them)'}."
    )


def _pipeline(flags: Flags) -> T2HPipeline:
    """The network of --ckpt_step, ours or official, in --logdir; -1 is the official `ckpt.pt`, or our last one."""
    folder, step, given = Path(flags["logdir"]), flags["ckpt_step"], flags.get("num_class")
    name, ours = "ckpt" if step < 0 else f"ckpt_{step}", RunFolder(folder)
    official = [file for file in (folder / f"{name}.pt", folder / f"{name}.pt.xz") if file.exists()]
    if official:
        pipeline = from_official(official[0], image_size=flags.get("img_size"))
    elif (there := ours.checkpoints()) and (step in there or step < 0):
        pipeline = from_checkpoint(there[max(there) if step < 0 else step])
    else:
        raise no_checkpoint(folder, step)
    process = NoiseSchedule.of(pipeline.scheduler)
    if process.num_timesteps != flags["T"]:
        raise UserError(f"--T {flags['T']}: the checkpoint has {process.num_timesteps} steps.")
    if given and pipeline.num_classes not in (None, given):
        has = pipeline.num_classes
        raise UserError(f"--num_class {given:g}: the checkpoint has {has} classes; give --num_class {has}.")
    schedule = NoiseSchedule(flags["T"], flags["beta_1"], flags["beta_T"], process.prediction)
    pipeline.scheduler = schedule.ddim_scheduler()
    return pipeline.to(pick_device())


def _scheduler(flags: Flags, method: str) -> str:
    return "ddpm-small" if method == "ddpm" and flags["var_type"] == "fixedsmall" else method


def _wanted(flags: Flags, pipeline: T2HPipeline, conditional: bool, only: int | None = None) -> Wanted:
    """Labels drawn evenly over the classes, as in the official code; none where the images are unconditional."""
    count, classes = flags["num_images"], pipeline.num_classes
    if count < 1:
        raise UserError(f"--num_images is {count}; it must be at least 1.")
    if not conditional:
        return Wanted.per_class([-1], count)
    if classes is None:
        raise UserError(
            "the network of this checkpoint is unconditional; without --conditional (main.py: --sample_method uncond)."
        )
    if only is not None:
        return Wanted.of_labels(np.asarray(pipeline.class_ids(only) * count, dtype=np.int64))
    return Wanted.of_labels(np.random.default_rng(flags["seed"]).integers(0, classes, count))


def _draw_and_judge(
    flags: Flags,
    pipeline: T2HPipeline,
    wanted: Wanted,
    sampling: Sampling,
    images: str,
    grid: str,
    statistics: Path,
) -> None:
    """Draw what is missing into --logdir, with a picture of the first 256 images, and judge them all."""
    out, picture = Path(flags["logdir"]) / images, Path(flags["logdir"]) / grid
    if flags.values.get("sampled") and not out.exists():
        raise UserError(f"--sampled: there is no {out}; leave out --sampled to draw the images.")
    write_samples(pipeline, wanted, sampling, out, flags["batch_size"])
    samples = read_samples(out)
    first = np.asarray(samples.images[np.arange(min(256, len(wanted)))])
    rows, names = np.arange(len(first)) // 16, [""] * 16
    with replaced(picture) as file:
        sample_grid(first, rows, names, [1] * 16, columns=16, row_labels=False).save(file, format="PNG")
    print(f"{len(wanted):,} images with labels  {out}\nthe first {len(first)}  {picture}")
    metrics = _judge(samples, statistics, flags.values.get("inception"), str(pipeline.device))
    if metrics is None:
        return
    print(f"Model (EMA): {', '.join(f'{name} {value:.3f}' for name, value in metrics.items())}")
    if len(wanted) < 50_000:
        print(f"From {len(wanted):,} images instead of 50,000: not comparable with published figures.")
    facts = {"images": len(wanted), "step": flags["ckpt_step"], "w": sampling.w, "sampler": sampling.scheduler}
    log = out.with_suffix(".jsonl")
    before = log.read_text("utf-8") if log.exists() else ""
    write_text(log, before + json.dumps(facts | metrics) + "\n")
    print(f"metrics  {log}")


def _judge(samples: SampleSet, statistics: Path, inception: str | None, device: str) -> dict[str, float] | None:
    """The metrics against reference statistics, or None after a message on what is missing and how to get it."""
    if not statistics.is_file():
        print(f"Not judged: there are no reference statistics {statistics}. {STATISTICS}")
        return None
    try:
        extractor = InceptionFeatures(Path(inception) if inception else None, device)
        judge = Judge(load_reference(statistics), extractor)
        point = evaluate_arrays(samples.images, None, judge, progress=True)
    except UserError as error:
        print(f"Not judged: {error}")
        return None
    return {key: found.value for key, found in point.metrics.items() if found.value is not None}
