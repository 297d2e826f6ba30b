"""Drawing into a folder of PNG per class, or into one `.npz`; it goes on where it was interrupted.

FOLDER/samples.json  07_horse/00000.png ...          FILE.npz: images, labels, class_names, protocol (JSON text)
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from t2h.errors import UserError
from t2h.files import replaced
from t2h.pipeline import T2HPipeline
from t2h.samples.draw import Wanted, draw
from t2h.samples.read import FACTS, FORMAT, read_facts, read_samples, slug
from t2h.sampling import Sampling


def weights_sha256(pipeline: T2HPipeline) -> str:
    """The sha256 of a network's weights, in the order of their names: what a result was made with."""
    digest = hashlib.sha256()
    for name, value in sorted(pipeline.unet.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def facts_of(pipeline: T2HPipeline, sampling: Sampling) -> dict[str, Any]:
    """What decides the images, and what is known of the network: the content of samples.json."""
    config = pipeline.config
    return {
        "format": FORMAT,
        **asdict(sampling),
        "weights_sha256": weights_sha256(pipeline),
        "method": config["method"],
        "images_seen": config["images_seen"],
        "class_names": config["class_names"],
        "class_counts": config["class_counts"],
    }


def class_folder(label: int, name: str, num_classes: int) -> str:
    """The folder of a class: "07_horse"."""
    return f"{label:0{len(str(max(num_classes - 1, 0)))}d}_{slug(name)}"


def write_samples(
    pipeline: T2HPipeline, wanted: Wanted, sampling: Sampling, out: Path, batch_size: int = 250, progress: bool = True
) -> int:
    """Draw into an `.npz` or a folder. Arguments, result and errors as `sample_to_npz` and `sample_to_folder`."""
    write = sample_to_npz if out.suffix == ".npz" else sample_to_folder
    return write(pipeline, wanted, sampling, out, batch_size, progress)


def sample_to_folder(
    pipeline: T2HPipeline, wanted: Wanted, sampling: Sampling, out: Path, batch_size: int = 250, progress: bool = True
) -> int:
    """Write PNG images into a folder per class; what is there already is not drawn again.

    Returns:
        How many images were drawn now.

    Raises:
        UserError: if the folder holds samples of another network or another sampling.
    """
    made, note = facts_of(pipeline, sampling), out / FACTS
    if note.exists():
        _same_samples(read_facts(out), made, out)
    elif out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty and holds no samples of ours; choose an empty or new folder.")
    with replaced(note) as file:
        file.write_text(json.dumps(made, indent=1, ensure_ascii=False), encoding="utf-8")
    names = made["class_names"]

    def path(label: int, index: int) -> Path:
        folder = class_folder(label, names[label], len(names)) if label >= 0 else "unconditional"
        return out / folder / f"{index:05d}.png"

    paths = [path(*pair) for pair in zip(wanted.labels.tolist(), wanted.index.tolist(), strict=True)]
    missing = np.asarray([i for i, p in enumerate(paths) if not p.exists()], dtype=np.int64)
    position = 0
    for images in draw(pipeline, wanted.part(missing), sampling, batch_size, progress):
        for image in images:
            with replaced(paths[missing[position]]) as file:
                Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, format="PNG")
            position += 1
    return position


def sample_to_npz(
    pipeline: T2HPipeline, wanted: Wanted, sampling: Sampling, out: Path, batch_size: int = 250, progress: bool = True
) -> int:
    """Write one .npz: `images` uint8 (N, H, W, C), `labels` int64 (N,), `class_names`, and `protocol` (JSON text).

    Parts are kept beside it until it is whole, so that an interrupted drawing goes on.

    Returns:
        How many images were drawn now.

    Raises:
        UserError: if the file holds samples of another network, another sampling, or other labels.
    """
    made = facts_of(pipeline, sampling)
    if out.exists():
        _same_samples(read_facts(out), made, out)
        labels = read_samples(out).labels
        if np.array_equal(np.full(len(wanted), -1) if labels is None else labels, wanted.labels):
            return 0
        raise UserError(f"{out} holds other labels; choose another file, or remove it to draw anew.")
    parts = out.with_name(f".{out.name}.parts")
    key = hashlib.sha256(json.dumps([made, wanted.labels.tolist(), wanted.index.tolist()]).encode()).hexdigest()[:16]
    starts = range(0, len(wanted), batch_size)
    files = [parts / f"{key}_{batch_size}_{start:08d}.npy" for start in starts]
    missing = [i for i, file_of_part in enumerate(files) if not file_of_part.exists()]
    rows = [np.arange(starts[i], min(starts[i] + batch_size, len(wanted))) for i in missing]
    todo = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    for i, batch in zip(missing, draw(pipeline, wanted.part(todo), sampling, batch_size, progress), strict=True):
        with replaced(files[i]) as temporary, temporary.open("wb") as stream:
            np.save(stream, batch)
    with replaced(out) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            images=np.concatenate([np.load(file_of_part) for file_of_part in files]),
            labels=wanted.labels,
            class_names=np.asarray(made["class_names"]),
            protocol=np.asarray(json.dumps(made)),
        )
    shutil.rmtree(parts)
    return len(todo)


def _same_samples(old: dict[str, Any], new: dict[str, Any], where: Path) -> None:
    old = asdict(Sampling()) | old  # what older versions did not write down was the default
    changed = [key for key in new if old.get(key) != new[key]]
    if changed:
        shown = "; ".join(f"{key}: {old.get(key)} -> {new[key]}" for key in changed if key != "class_counts")
        raise UserError(f"{where} holds samples that were drawn otherwise ({shown}); choose another place for these.")
