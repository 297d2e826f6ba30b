"""The model card of a pipeline folder, in the Hub's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from t2h.files import plain_markdown
from t2h.process import is_flow


def model_card(pipeline: Any, header: Mapping[str, Any] | None = None, use: str = "", more: str = "") -> str:
    """The card of a `T2HPipeline`: what the model is, how to use it, what it was trained on.

    Args:
        header: further entries of the YAML at its head.
        use: how to use it, instead of the lines with our package.
        more: further sections.
    """
    config, own, parameters = pipeline.config, pipeline.sampling, sum(p.numel() for p in pipeline.unet.parameters())
    scheduler, (channels, height, width) = pipeline.scheduler, pipeline.image_shape
    names, counts = config["class_names"], config["class_counts"]
    details = {
        "Method": config["method"],
        "Images": f"{height}×{width}, {'grey' if channels == 1 else 'RGB'}",
        "Classes": pipeline.num_classes if pipeline.num_classes is not None else "none (unconditional)",
        "Parameters": f"{parameters:,}",
        "Prediction": "velocity" if is_flow(scheduler) else scheduler.config.get("prediction_type", "epsilon"),
        "Images seen in training": f"{config['images_seen']:,}",
        "Sampling": f"{own.scheduler}, {own.steps} steps",
        "Guidance": f"w = {own.w:g}, that is guidance_scale = {own.guidance_scale:g}"
        + (f"; by class and time: {own.guidance}" if own.guidance != "w" else ""),
        **config["training"],
    }
    table = "\n".join(f"| {key} | {plain_markdown(value)} |" for key, value in details.items())
    label = f"class_labels=[{names[-1]!r}] * 4" if pipeline.num_classes else "batch_size=4"
    head = {
        "library_name": "diffusers",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["t2h", "diffusion", "long-tailed", "class-conditional"],
        **(header or {}),
    }
    use = use or 'from t2h import T2HPipeline\n\npipeline = T2HPipeline.from_pretrained("PATH_OR_REPOSITORY")'
    card = f"""---
{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---

# A class-conditional diffusion model of long-tailed images

| | |
| --- | --- |
{table}

```python
import torch
{use}
images = pipeline({label}, generator=torch.manual_seed(0)).images
```
"""
    if counts:
        rows = sorted(zip(names, counts, strict=True), key=lambda row: -row[1])
        card += "\n## Training images per class, head to tail\n\n| class | images |\n| --- | ---: |\n"
        card += "".join(f"| {plain_markdown(name)} | {count:,} |\n" for name, count in rows)
    return card + more
