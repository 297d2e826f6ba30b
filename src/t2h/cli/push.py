"""`t2h push`: a run on the Hub, to be used without this package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from t2h.cli._parse import parse


@dataclass(frozen=True)
class Args:
    """Push a run to the Hugging Face Hub: pipeline, grid, a model card with metrics, and one file that draws with
    diffusers alone.

    t2h push runs/mine me/long-tail --dry-run pushed --license cc-by-4.0
    """

    run: tyro.conf.Positional[Path]
    """A run, a pipeline folder, or a checkpoint."""
    repo: tyro.conf.Positional[str]
    """The repository, OWNER/NAME."""
    dry_run: Path | None = None
    """Write what would be pushed into this folder, and push nothing."""
    license: str | None = None
    """Identifier of the licence, such as cc-by-4.0: one that the training data allow."""
    private: bool = False
    """Make a new repository private."""


def main(argv: list[str]) -> int:
    args = parse(Args, "push", argv)
    import tempfile

    from t2h.report.push import push_folder, upload

    if args.dry_run is not None:
        push_folder(args.run, args.repo, args.dry_run, args.license)
        print(f"written to {args.dry_run}: this is what would be pushed to {args.repo}")
        return 0
    with tempfile.TemporaryDirectory() as place:
        print(
            upload(push_folder(args.run, args.repo, Path(place) / "repository", args.license), args.repo, args.private)
        )
    return 0
