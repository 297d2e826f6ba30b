"""Reference files: ours (`.safetensors`), and the statistics of other projects (`.npz`)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import safe_open

from t2h.errors import UserError
from t2h.evaluation.reference import ARRAYS, Features, Reference, tensors_of
from t2h.features.base import FeatureExtractor, file_sha256
from t2h.features.cache import state_sha256, write_safely
from t2h.features.inception import RESIZES
from t2h.features.load import extractor_like, load_extractor
from t2h.files import check_place, reading, replaced
from t2h.metrics.fid import FeatureStatistics

_SUFFIXES = (".safetensors", ".npz")


def save_reference(reference: Reference, path: Path) -> None:
    """Write a `.safetensors` with everything, or a `.npz` with `mu`, `sigma` and `n` only, for other projects' code.

    Raises:
        UserError, OSError: as `check_place`.
    """
    if check_place(path, *_SUFFIXES).suffix == ".safetensors":
        metadata = {
            "format": "t2h-reference",
            "name": reference.name,
            "split": reference.split,
            "num_images": str(reference.statistics.n),
            "seen_by": json.dumps(asdict(reference.seen_by) if reference.seen_by else None),
            "image_shape": json.dumps(reference.image_shape),
            "class_names": json.dumps(reference.class_names),
            "sha256": reference.sha256,
        }
        write_safely(path, tensors_of(reference), metadata)
    else:
        statistics = reference.statistics
        with replaced(path) as temporary, temporary.open("wb") as file:
            np.savez(file, mu=statistics.mean, sigma=statistics.covariance, n=np.array(statistics.n))


def check_reference_place(path: Path) -> Path:
    """``path``, if a reference may be written there: as `check_place`, and what is there already must be one."""
    if check_place(path, *_SUFFIXES).exists():
        load_reference(path)
    return path


def load_reference(path: Path) -> Reference:
    """A reference file of ours, or other projects' `.npz`: `mu` and `sigma`, or the upper triangle `sigma_upper`.

    Raises:
        UserError: if it is missing, damaged or something else.
    """
    if not path.is_file():
        raise UserError(f"there is no reference file {path}; make one with `t2h reference`.")
    with reading(path, "reference file", "make one with `t2h reference`, elsewhere"):
        reference = _load_npz(path) if path.suffix == ".npz" else _load_safetensors(path)
        _ = reference.extractor()  # checks itself
        return reference


def _load_safetensors(path: Path) -> Reference:
    with safe_open(path, "numpy") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != "t2h-reference":
            raise UserError(f"{path} is no reference file; make one with `t2h reference`.")
        names = file.keys()  # not iterable itself
        tensors = {name: file.get_tensor(name) for name in names}
    prefix = "classifier."
    classifier = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
    if metadata["sha256"] != state_sha256(tensors):
        raise ValueError("its content is not what its sha256 says")
    seen_by, shape, names = (json.loads(metadata[key]) for key in ("seen_by", "image_shape", "class_names"))
    if not isinstance(names, list) or len(names) <= int(tensors.get("labels", np.array([-1])).max()):
        raise ValueError(f"class_names are {names!r:.40}")
    return Reference(
        name=metadata["name"],
        split=metadata["split"],
        statistics=FeatureStatistics(int(metadata["num_images"]), tensors["mean"], tensors["covariance"]),
        seen_by=seen_by and Features(seen_by["name"], seen_by["sha256"], seen_by["resize"], int(seen_by["dim"])),
        image_shape=shape and (int(shape[0]), int(shape[1]), int(shape[2])),
        class_names=tuple(map(str, names)),
        classifier=classifier or None,
        sha256=metadata["sha256"],
        **{name: tensors.get(name) for name in ARRAYS},
    )


def _load_npz(path: Path) -> Reference:
    with np.load(path) as file:
        if "mu" not in file or not ("sigma" in file or "sigma_upper" in file):
            raise UserError(f"{path} holds {', '.join(file.files)}; `mu` and `sigma` (or `sigma_upper`) are needed.")
        mean = file["mu"].astype(np.float64)
        if "sigma" in file:
            sigma = file["sigma"].astype(np.float64)
        else:
            sigma = np.zeros((len(mean), len(mean)))
            sigma[np.triu_indices(len(mean))] = file["sigma_upper"]
            sigma += np.triu(sigma, 1).T
        count = int(file["n"]) if "n" in file else 0
    return Reference(path.stem, "unknown", FeatureStatistics(count, mean, (sigma + sigma.T) / 2), file_sha256(path))


def extractor_for(
    reference: Reference, device: str, features: str | None = None, inception_weights: Path | None = None
) -> FeatureExtractor:
    """The network that the reference was made with, unless ``features`` names another.

    Raises:
        UserError: as `load_extractor`.
    """
    if features in (None, "classifier") and (own := reference.extractor(device)) is not None:
        return own
    seen_by = reference.seen_by
    name = features or ("inception" if seen_by is None else extractor_like(seen_by.name))
    resize = seen_by.resize if seen_by is not None and name == "inception" and seen_by.resize in RESIZES else RESIZES[0]
    return load_extractor(name, device, inception_weights, resize)
