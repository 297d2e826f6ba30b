"""`t2h app`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from t2h.cli._parse import Device, parse


@dataclass(frozen=True)
class Args:
    """Look at what a model draws, or two side by side, on a page that only this machine can open.

    t2h app runs/ddpm runs/t2h --open
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """One or two runs, pipeline folders or checkpoints, of the same classes."""
    reference: Path | None = None
    """A reference whose network measures which training images are nearest. Default: pixels."""
    device: Device = "auto"
    port: int | None = None
    """Of the page. Default: the first free one from 7860 on."""
    open: bool = False
    """Open the page in a browser."""


def main(argv: list[str]) -> int:
    import os

    args = parse(Args, "app", argv)
    from t2h.errors import UserError

    if not 1 <= len(args.runs) <= 2:
        raise UserError(f"{len(args.runs)} models are given; the page shows one, or two side by side.")
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise UserError("the page needs gradio: pip install gradio (the extra `app`).") from error
    from t2h.app.explorer import Model
    from t2h.app.page import Page, launch
    from t2h.device import pick_device
    from t2h.evaluation.reference_file import extractor_for, load_reference

    device, extractor = pick_device(args.device), None
    models = [Model(run, device) for run in args.runs]
    if args.reference is not None:
        reference = load_reference(args.reference)
        extractor = extractor_for(reference, str(device))
        reference.check(extractor, models[0].pipeline.image_shape)
    launch(Page(models, extractor), args.port, args.open)
    return 0
