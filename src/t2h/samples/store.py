"""Drawing into a folder of PNG per class, or into one `.npz`; it goes on where it was interrupted.

FOLDER/samples.json  07_horse/00000.png ...          FILE.npz: images, labels, class_names, protocol (JSON text)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from torch import nn

from t2h.errors import UserError
from t2h.files import check_place, replaced, sweep, write_json
from t2h.pipeline import T2HPipeline
from t2h.samples.draw import Wanted, draw
from t2h.samples.read import FACTS, FORMAT, read_facts, read_samples, slug
from t2h.sampling import Sampling

Drawn = Callable[[Wanted], Iterator[UInt8[np.ndarray, "b h w c"]]]


def weights_sha256(*networks: nn.Module | None) -> str:
    """The sha256 of the weights of networks, in the order of their names: what a result was made with."""
    digest = hashlib.sha256()
    for network in networks:
        for name, value in sorted(network.state_dict().items() if network else ()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def facts_of(pipeline: T2HPipeline, sampling: Sampling) -> dict[str, Any]:
    """What decides the images, and what is known of the network: the content of samples.json."""
    config, guide = pipeline.config, pipeline.guide(sampling.guide)
    pipeline.guidance_scales(sampling, [] if pipeline.num_classes else None)  # what does not suit is refused here
    return {
        "format": FORMAT,
        **sampling.plain(),
        "weights_sha256": weights_sha256(pipeline.unet, pipeline.vae),
        "guide_sha256": None if guide is None else weights_sha256(guide),
        "method": config["method"],
        "images_seen": config["images_seen"],
        "class_names": config["class_names"],
        "class_counts": config["class_counts"],
    }


def write_samples(
    pipeline: T2HPipeline, wanted: Wanted, sampling: Sampling, out: Path, batch_size: int = 250, progress: bool = True
) -> int:
    """Draw into a folder of PNG images, or into one `.npz`, what is not there yet.

    Returns:
        How many images were drawn now.

    Raises:
        UserError: if the place holds something else: samples of another network or sampling, or a file other labels.
    """
    facts, archive = facts_of(pipeline, sampling), out.suffix == ".npz"
    check_place(out if archive else out / FACTS)
    if (out if archive else out / FACTS).exists():
        old = Sampling().plain() | read_facts(out)  # what older versions did not write down was the default
        changed = [key for key in facts if old.get(key) != facts[key]]
        if changed:
            shown = "; ".join(f"{key}: {old.get(key)} -> {facts[key]}" for key in changed if key != "class_counts")
            raise UserError(f"{out} holds samples that were drawn otherwise ({shown}); choose another place for these.")
    elif not archive and out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
        raise UserError(f"{out} is not empty and holds no samples of ours; choose an empty or new folder.")

    origin = Path(pipeline.name_or_path or "")
    if origin.name == "pipeline":
        facts["run"] = os.path.relpath(origin.absolute().parent, out.absolute().parent)

    def drawn(part: Wanted) -> Iterator[UInt8[np.ndarray, "b h w c"]]:
        return draw(pipeline, part, sampling, batch_size, progress)

    return _to_archive(drawn, wanted, facts, out, batch_size) if archive else _to_folder(drawn, wanted, facts, out)


def _to_folder(drawn: Drawn, wanted: Wanted, facts: dict[str, Any], out: Path) -> int:
    names = facts["class_names"]
    digits = len(str(max(len(names) - 1, 0)))
    folders = {c: f"{c:0{digits}d}_{slug(name)}" for c, name in enumerate(names)} | {-1: "unconditional"}
    places = zip(wanted.labels.tolist(), wanted.index.tolist(), strict=True)
    paths = [out / folders[label] / f"{index:05d}.png" for label, index in places]
    for folder in {out, *(path.parent for path in paths)}:
        sweep(folder)
    missing = np.asarray([i for i, path in enumerate(paths) if not path.exists()], dtype=np.int64)
    with closing(image for batch in drawn(wanted.part(missing)) for image in batch) as images:
        for i, image in zip(missing, images, strict=True):
            if i == missing[0]:  # whoever cannot draw leaves nothing
                write_json(out / FACTS, facts)
            with replaced(paths[i]) as file:
                Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, format="PNG")
    return len(missing)


def _to_archive(drawn: Drawn, wanted: Wanted, facts: dict[str, Any], out: Path, batch_size: int) -> int:
    """Batches are kept beside the file until it is whole, so that an interrupted drawing goes on."""
    if out.exists():
        labels = read_samples(out).labels
        if np.array_equal(np.full(len(wanted), -1) if labels is None else labels, wanted.labels):
            return 0
        raise UserError(f"{out} holds other labels; choose another file, or remove it to draw anew.")
    made_of = json.dumps([facts, wanted.labels.tolist(), wanted.index.tolist(), batch_size])
    parts, key = out.with_name(f".{out.name}.parts"), hashlib.sha256(made_of.encode()).hexdigest()[:16]
    part_of = np.arange(len(wanted)) // batch_size
    files = [parts / f"{key}_{i:06d}.npy" for i in range(-(-len(wanted) // batch_size))]
    missing = [i for i, file in enumerate(files) if not file.exists()]
    todo = np.flatnonzero(np.isin(part_of, missing))
    for i, batch in zip(missing, drawn(wanted.part(todo)), strict=True):
        with replaced(files[i]) as temporary, temporary.open("wb") as stream:
            np.save(stream, batch)
    write_archive(np.concatenate([np.load(file) for file in files]), wanted.labels, facts, out)
    shutil.rmtree(parts)
    return len(todo)


def write_archive(
    images: UInt8[np.ndarray, "n h w c"], labels: Int[np.ndarray, " n"], facts: dict[str, Any], out: Path
) -> None:
    """Images, and what is known of their drawing (`facts_of`), as one `.npz`."""
    with replaced(out) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            images=images,
            labels=labels,
            class_names=np.asarray(facts["class_names"]),
            protocol=np.asarray(json.dumps(facts)),
        )
