"""Whether a run goes on with what it began with: the same configuration and images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from t2h.data.sources import SOURCES, canonical
from t2h.data.table import ImageTable
from t2h.errors import UserError
from t2h.files import read_object, reading
from t2h.pipeline.autoencoder import HUB
from t2h.results.comparable import flat
from t2h.training.config import TrainConfig
from t2h.training.run import RunFolder, classes_of


def as_begun(run: RunFolder, config: TrainConfig, extend: bool = False) -> TrainConfig:
    """This configuration as the run has it: defaults as it began with them, paths absolute.

    Touches nothing. With ``extend`` the run that lives here may have fewer steps.

    Raises:
        UserError: if the folder holds another run, or files that are no run, or lies among the training images.
    """
    config = replace(config, data=replace(config.data, data=canonical(config.data.data)))
    if (autoencoder := config.network.autoencoder) and not autoencoder.startswith(HUB):
        config = replace(config, network=replace(config.network, autoencoder=str(Path(autoencoder).resolve())))
    images = Path(config.data.data)
    if images.is_dir() and run.path.resolve().is_relative_to(images):
        raise UserError(
            f"the run {run.path} would lie among its training images ({images}), and its grids would be read as "
            f"images; choose a folder outside with --out, such as --out {images.parent / 'runs' / images.name}."
        )
    old = run.config()
    if old is None and run.path.exists() and any(not path.name.startswith(".") for path in run.path.iterdir()):
        raise UserError(f"{run.path} is not empty and holds no run; choose an empty or new folder with --out.")
    learning, own = config.learning, (old or config).learning
    warmup = own.warmup if learning.warmup_steps is None else learning.warmup_steps
    rampup = own.rampup if learning.ema_rampup is None else learning.ema_rampup
    config = replace(config, learning=replace(learning, warmup_steps=warmup, ema_rampup=rampup))
    if old is None:
        return config
    if extend and old.learning.steps < config.learning.steps:
        old = replace(old, learning=replace(old.learning, steps=config.learning.steps))
    before = canonical(old.data.data)
    if before not in SOURCES and images.exists() and not Path(before).exists():
        before = str(images)  # they have moved: `check_images` compares their classes
    old = replace(old, data=replace(old.data, data=before))
    if changed := differences(old, config):
        raise UserError(
            f"{run.path} holds a run with another configuration ({'; '.join(changed)}). "
            "Choose another --out, or give the old options to go on with that run."
        )
    return config


def check_images(run: RunFolder, table: ImageTable) -> None:
    """Whether the run that lives here began with these images, as far as their classes and numbers tell.

    Raises:
        UserError: if it did not.
    """
    now = classes_of(table)
    with reading(run.classes_file, "list of classes", "remove it, and it is written anew"):
        old = read_object(run.classes_file) if run.classes_file.exists() else now
        before, counts = (dict(zip(c["class_names"], c["class_counts"], strict=True)) for c in (old, now))
    if old == now:
        return
    names = [name for name in {**before, **counts} if before.get(name) != counts.get(name)]
    changed = [f"{name}: {before.get(name, 0):,} images, now {counts.get(name, 0):,}" for name in names[:5]]
    changed += ["..."] * (len(names) > 5)
    raise UserError(
        f"{run.path} began with other images ({'; '.join(changed)}). Give it those again, or go on from its "
        f"weights in a new run: --init {run.path} --out ANOTHER_FOLDER."
    )


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """What differs between two configurations in what is learned, as lines "learning.lr: 0.0002 -> 0.0001"."""
    a, b = dict(flat(old.to_dict())), dict(flat(new.to_dict()))
    may = ("machine.", "sampling.", "data.root", "data.download")
    keys = [key for key in a | b if not key.startswith(may) and a.get(key) != b.get(key)]
    return [f"{key}: {a.get(key)} -> {b.get(key)}" for key in keys]
