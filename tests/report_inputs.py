"""Plausible run folders and results for the tests of the report. Made up: they say nothing about any method."""

from __future__ import annotations

import base64
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

NAMES = tuple(str(i) for i in range(10))
COUNTS = (144, 103, 74, 53, 38, 27, 20, 14, 10, 7)
WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0)
FID = {"ddpm": (8.5, 12.1, 22.4, 38.2, 55.0), "t2h": (134.0, 62.0, 27.3, 16.1, 17.8)}


def long_tail(classes: int, most: int = 500, fewest: int = 5) -> tuple[int, ...]:
    """Exponentially falling class counts."""
    return tuple(int(most * (fewest / most) ** (i / max(classes - 1, 1))) for i in range(classes))


def make_result(
    name: str, names: tuple[str, ...] = NAMES, counts: tuple[int, ...] = COUNTS, seed: int = 0
) -> dict[str, Any]:
    """A result file's content: five w, groups, classes, an absent metric, images of the rarest classes."""
    rng = np.random.default_rng([seed, len(name)])
    order = sorted(range(len(names)), key=lambda c: -counts[c])
    thirds = [order[len(order) * i // 3 : len(order) * (i + 1) // 3] for i in range(3)]
    groups = dict(zip(("head", "medium", "tail"), thirds, strict=True))
    fid_at = FID.get(name, (30.0, 28.0, 26.0, 27.0, 29.0))

    def metrics(fid: float, accuracy: float, n: int) -> dict[str, Any]:
        def entry(value: float, width: float) -> dict[str, Any]:
            return {"value": value, "n": n, "n_reference": 1797, "interval": [value * (1 - width), value * (1 + width)]}

        return {
            "fid": entry(fid, 0.06),
            "kid": entry(fid / 1500, 0.2),
            "accuracy": entry(accuracy, 0.02),
            "precision_k3": entry(min(0.98, 0.6 + accuracy / 4), 0.03),
            "recall_k3": entry(max(0.05, 0.8 - fid / 90), 0.05),
            "is": {"value": None, "reason": "the feature network has no classifier layer"},
        }

    points = []
    for w, fid in zip(WEIGHTS, fid_at, strict=True):
        accuracy = 0.55 + 0.2 * w - 0.03 * w**2 + (0.05 if name == "t2h" else 0.0)
        rank = {c: i / len(order) for i, c in enumerate(order)}
        per_class = [
            {
                "class": c,
                "name": names[c],
                "train_count": counts[c],
                "metrics": metrics(
                    fid * (1.5 + 3 * rank[c]) * rng.uniform(0.8, 1.2), accuracy * (1 - 0.4 * rank[c]), 100
                ),
            }
            for c in range(len(names))
        ]
        by_group = {
            g: {
                "classes": members,
                "metrics": metrics(fid * (1.2 + i), accuracy * (1.05 - 0.15 * i), 100 * len(members)),
            }
            for i, (g, members) in enumerate(groups.items())
        }
        points.append(
            {
                "w": w,
                "num_images": 1000,
                "seconds": 12.3,
                "metrics": metrics(fid, accuracy, 1000),
                "groups": by_group,
                "classes": per_class,
            }
        )
    tail = [
        {"class": c, "png": _png(_digit(c, i, rng, 40)), "nearest_png": _png(_digit(c, i, rng, 0)), "distance": 3.1 + i}
        for c in order[-3:]
        for i in range(5)
    ]
    return {
        "format": "t2h-result",
        "version": 2,
        "name": name,
        "created": "2026-01-02T03:04:05+00:00",
        "package": {"version": "0.1.0", "commit": "0123456789abcdef"},
        "run": {
            "method": name,
            "images_seen": 320_000,
            "weights_sha256": "ab" * 32,
            "config": {"batch_size": 128},
            "seed": 0,
        },
        "data": {"name": "digits", "class_names": list(names), "class_counts": list(counts)},
        "protocol": {
            "reference": {"name": "digits", "split": "all", "num_images": 1797, "sha256": "cd" * 32},
            "features": {"name": "digits-classifier", "sha256": "ef" * 32, "dim": 64},
            "image_path": "8-bit",
            "labels": "exact",
            "sampler": {"scheduler": "ddim", "steps": 100, "seed": 0, "clipping": "final"},
            "ks": [3, 5],
        },
        "notes": ["1,000 images instead of 50,000: not comparable with published metrics."],
        "points": points,
        "images": {"1.5": tail},
    }


def make_run(folder: Path, name: str = "t2h", names: tuple[str, ...] = NAMES, counts: tuple[int, ...] = COUNTS) -> Path:
    """A run folder with log, classes, configuration, one result, samples and a grid."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(name))
    lines: list[dict[str, Any]] = []
    for step in range(10, 2501, 10):
        loss = 0.05 + 0.6 * np.exp(-step / 200) + 0.01 * rng.standard_normal() + (0.04 if name == "t2h" else 0)
        lines.append(
            {
                "step": step,
                "images_seen": 128 * step,
                "loss": float(loss),
                "lr": 2e-4,
                "images_per_second": 3100.0,
                "seconds": step * 0.04,
            }
        )
    if name == "t2h":
        edges = list(range(0, 1001, 50))
        share = [1 / (1 + np.exp(-(t - 520) / 60)) for t in edges[:-1]]
        within = [round(1000 * s * 0.3) for s in share]
        across = [round(1000 * s * 0.45) for s in share]
        lines.append(
            {
                "step": 2500,
                "transfer": {
                    "t_edges": edges,
                    "total": [1000] * 20,
                    "within_class": within,
                    "across_class": across,
                    "transferred": [a + b for a, b in zip(within, across, strict=True)],
                },
            }
        )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "classes.json").write_text(json.dumps({"class_names": names, "class_counts": counts}))
    (folder / "config.yaml").write_text(f"data: digits\nobjective: {name}\nbatch_size: 128\nlearning_rate: 0.0002\n")
    (folder / "results").mkdir()
    (folder / "results" / "evaluation.json").write_text(json.dumps(make_result(name, names, counts)))
    for c in range(len(names)):
        place = folder / "samples" / f"{c:02d}_class"
        place.mkdir(parents=True)
        for i in range(9):
            Image.fromarray(_digit(c % 10, i, rng, 60 if name == "ddpm" else 30)).save(place / f"{i:05d}.png")
    (folder / "samples" / "samples.json").write_text(json.dumps({"w": 1.5, "per_class": 9}))
    return folder


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    return load_digits(return_X_y=True)


def _digit(label: int, index: int, rng: np.random.Generator, noise: float) -> np.ndarray:
    images, labels = _digits()
    image = images[labels == label % 10][index].reshape(8, 8) * 15.9
    return np.clip(image + noise * rng.standard_normal((8, 8)), 0, 255).astype(np.uint8)


def _png(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()
