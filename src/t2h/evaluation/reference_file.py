"""Reference files: ours (`.safetensors`), and the statistics of other projects (`.npz`)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from t2h.errors import UserError
from t2h.evaluation.reference import ARRAYS, Features, Reference, tensors_of
from t2h.features.base import FeatureExtractor, file_sha256
from t2h.features.cache import write_safely
from t2h.features.inception import RESIZES
from t2h.features.load import extractor_like, load_extractor
from t2h.files import replaced
from t2h.metrics.fid import FeatureStatistics


def save_reference(reference: Reference, path: Path) -> None:
    """Write a `.safetensors` with everything, or a `.npz` with `mu`, `sigma` and `n` only, for other projects' code.

    Raises:
        UserError: if the name ends in neither.
    """
    if path.suffix == ".safetensors":
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
    elif path.suffix == ".npz":
        statistics = reference.statistics
        with replaced(path) as temporary, temporary.open("wb") as file:
            np.savez(file, mu=statistics.mean, sigma=statistics.covariance, n=np.array(statistics.n))
    else:
        raise UserError(f"{path}: a reference file ends in .safetensors (everything) or .npz (mu and sigma only).")


def load_reference(path: Path) -> Reference:
    """A reference file of ours, or other projects' `.npz`: `mu` and `sigma`, or the upper triangle `sigma_upper`.

    Raises:
        UserError: if it is missing, damaged or something else.
    """
    if not path.is_file():
        raise UserError(f"there is no reference file {path}; make one with `t2h reference`.")
    try:
        return _load_npz(path) if path.suffix == ".npz" else _load_safetensors(path)
    except (SafetensorError, ValueError, KeyError, EOFError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is damaged or no reference file ({error}); make it with `t2h reference`.") from error


def _load_safetensors(path: Path) -> Reference:
    with safe_open(path, "numpy") as file:
        metadata = file.metadata() or {}
        if metadata.get("format") != "t2h-reference":
            raise UserError(f"{path} is no reference file; make one with `t2h reference`.")
        names = file.keys()  # not iterable itself
        tensors = {name: file.get_tensor(name) for name in names}
    prefix = "classifier."
    classifier = {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
    seen_by, shape = json.loads(metadata["seen_by"]), json.loads(metadata["image_shape"])
    return Reference(
        name=metadata["name"],
        split=metadata["split"],
        statistics=FeatureStatistics(int(metadata["num_images"]), tensors["mean"], tensors["covariance"]),
        seen_by=Features(**seen_by) if seen_by else None,
        image_shape=tuple(shape) if shape else None,
        class_names=tuple(json.loads(metadata["class_names"])),
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
