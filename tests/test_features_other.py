"""Features by name, from any callable and any transformers vision model, and the loop that runs and caches them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save
from torch import Tensor

from t2h.errors import UserError, notice
from t2h.evaluation.reference import Features, Reference, tensors_of
from t2h.evaluation.reference_file import save_reference
from t2h.features import FeatureExtractor, base, cache, extract, extract_cached, load_extractor
from t2h.features.base import pixels_sha256
from t2h.features.cache import state_sha256
from t2h.metrics.fid import feature_statistics

MODULE = """
import torch

def means(images):
    calls.append(len(images))
    return images.mean((2, 3))

def wrong(images):
    return images

def nan(images):
    return images.mean((2, 3)) / (images.mean() - images.mean())

calls = []
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3))
"""


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, 3, 6, 6)).astype(np.uint8)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_features.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_features", raising=False)
    return "own_features"


def test_a_callable_of_ones_own(own: str, images: np.ndarray) -> None:
    extractor = load_extractor(f"{own}:means")
    assert isinstance(extractor, FeatureExtractor)
    features = extract(images, extractor, batch_size=4)
    np.testing.assert_allclose(features, images.mean((2, 3)) / 255, atol=1e-6)
    assert extractor.dim == 3
    assert extractor.name == "own_features:means"
    assert len(extractor.sha256) == 64


def test_features_are_computed_once_and_kept_by_content(own: str, images: np.ndarray, tmp_path: Path) -> None:
    extractor = load_extractor(f"{own}:means")
    calls = sys.modules[own].calls
    first = extract_cached(images, extractor, cache=tmp_path)
    assert calls == [10]
    np.testing.assert_array_equal(extract_cached(images.copy(), extractor, cache=tmp_path), first)
    assert calls == [10]
    changed = images.copy()
    changed[3, 0, 0, 0] ^= 1
    extract_cached(changed, extractor, cache=tmp_path)
    extract_cached(images[::-1], extractor, cache=tmp_path)
    assert calls == [10, 10, 10]
    for attribute in ("name", "sha256", "resize"):  # another network, other weights, another resize
        setattr(extractor, attribute, "other")
        extract_cached(images, extractor, cache=tmp_path)
    assert calls == [10] * 6


def test_an_interrupted_extraction_goes_on(
    own: str, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extractor = load_extractor(f"{own}:means")
    whole = extract(images, extractor)
    calls = sys.modules[own].calls
    monkeypatch.setattr(base, "PART", 4)
    calls.clear()
    extract_cached(images[:8], extractor, batch_size=2, cache=tmp_path)  # as if stopped after two parts
    np.testing.assert_array_equal(extract_cached(images, extractor, batch_size=2, cache=tmp_path), whole)
    assert calls == [2] * 5


@pytest.fixture
def unsaid() -> None:
    notice.cache_clear()


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: b"",
        lambda good: b"half a file",
        lambda good: b"\xff" * 100,
        lambda good: (1 << 60).to_bytes(8, "little") + good[8:],
        lambda good: good[:-1],
        lambda good: good[:-3] + bytes([good[-3] ^ 1]) + good[-2:],  # one bit of one feature
        lambda good: save({"others": np.zeros(3)}),
    ],
)
def test_a_damaged_file_of_the_cache_is_made_anew(
    own: str, images: np.ndarray, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    extractor = load_extractor(f"{own}:means")
    first = extract_cached(images, extractor, cache=tmp_path)
    (file,) = (tmp_path / "features").iterdir()
    good = file.read_bytes()
    file.write_bytes(damage(good))
    np.testing.assert_array_equal(extract_cached(images, extractor, cache=tmp_path), first)
    assert file.read_bytes() == good


def test_a_cache_that_cannot_be_written_is_done_without_and_said_once(
    own: str, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture, unsaid: None
) -> None:
    (tmp_path / "features").write_text("a file is in the way, for root may write into any folder")
    for shown in (images, images[::-1]):
        assert extract_cached(shown, load_extractor(f"{own}:means"), cache=tmp_path).shape == (10, 3)
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "what is computed is not kept" in error
    assert "$T2H_CACHE" in error


def test_a_user_without_a_home(
    own: str, images: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, unsaid: None
) -> None:
    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("T2H_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    assert extract_cached(images, load_extractor(f"{own}:means")).shape == (10, 3)
    assert "no home folder; set T2H_CACHE" in capsys.readouterr().err


def test_the_cache_keeps_to_its_limit_and_what_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def get(key: str) -> None:
        cache.cached("numbers", key, lambda: made.append(key) or {"x": np.zeros(1000, np.uint8)}, tmp_path)

    monkeypatch.setattr(cache, "LIMIT", 3 * 1200)
    for key in ("a", "b", "c", "a", "d", "a", "c", "d", "b"):
        get(key)
    assert made == ["a", "b", "c", "d", "b"]  # b was the one not used for longest when d came
    assert len(list((tmp_path / "numbers").iterdir())) == 3


def test_a_lazy_reader_has_the_same_key_as_its_array(images: np.ndarray) -> None:
    class Lazy:
        shape = images.shape

        def __getitem__(self, index: np.ndarray) -> np.ndarray:
            return images[index]

    assert pixels_sha256(Lazy()) == pixels_sha256(images)
    assert pixels_sha256(images) != pixels_sha256(images.reshape(10, 3, 4, 9))


def test_the_hash_of_weights_sees_names_shapes_and_values() -> None:
    state = {"a": torch.arange(4.0), "b": torch.zeros(2)}
    assert state_sha256(state) == state_sha256({"b": torch.zeros(2), "a": torch.arange(4.0)})
    others = [{"a": torch.arange(4.0).reshape(2, 2), "b": state["b"]}, {"a": state["a"], "c": state["b"]}]
    assert len({state_sha256(s) for s in [state, *others]}) == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("own_features:wrong", r"returned \(10, 3, 6, 6\) for 10 images; a tensor \(N, D\)"),
        ("own_features:nan", r"10 of 10 images have NaN or infinite features.*the first: image 0"),
    ],
)
def test_bad_features(own: str, spec: str, message: str, images: np.ndarray) -> None:
    with pytest.raises(UserError, match=message):
        extract(images, load_extractor(spec))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("inceptio", "unknown feature network 'inceptio'; did you mean 'inception'"),
        ("classifier", "come with the reference"),
        ("no_such_module:f", "No module named 'no_such_module'"),
        ("math:no_such_function", "math has no callable 'no_such_function'"),
        ("hf:/no/such/folder", "features hf:/no/such/folder"),
    ],
)
def test_bad_names(spec: str, message: str) -> None:
    if spec.startswith("hf:"):
        pytest.importorskip("transformers")
    with pytest.raises(UserError, match=message):
        load_extractor(spec)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 4, 4, 3), (2, 3, 4)])
def test_bad_images(own: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"no image to judge|is needed"):
        extract(np.zeros(shape, np.uint8), load_extractor(f"{own}:means"))


@pytest.mark.parametrize("name", ["evil:f", "hf:somebody/model"])
def test_a_reference_file_does_not_choose_what_is_imported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A module of the working directory runs when its features are asked for by name, and never because a file says."""
    from t2h.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    Path("evil.py").write_text(
        "import pathlib\npathlib.Path('ran').touch()\ndef f(images):\n    return images.flatten(1)[:, :5]\n"
    )
    rng = np.random.default_rng(0)
    statistics = feature_statistics(rng.normal(size=(20, 5)))
    seen_by = Features(name, "0" * 64, "its own", 5)
    reference = Reference("x", "train", statistics, "0", seen_by, (3, 8, 8), ("a",))
    reference = dataclasses.replace(reference, sha256=state_sha256(tensors_of(reference)))
    save_reference(reference, Path("reference.safetensors"))
    np.savez("samples.npz", images=rng.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8))
    assert main(["evaluate", "samples.npz", "--reference", "reference.safetensors", "--out", "result.json"]) == 2
    assert f"say so: --features {name}" in capsys.readouterr().err
    assert not Path("ran").exists()
    if name == "evil:f":
        assert load_extractor(name).name == name
        assert Path("ran").exists()


def test_a_transformers_vision_model(tmp_path: Path, images: np.ndarray) -> None:
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4
        )
        model = transformers.ViTModel(config).eval()
    model.save_pretrained(tmp_path / "vit")
    extractor = load_extractor(f"hf:{tmp_path / 'vit'}")
    features = extract(images, extractor)
    assert features.shape == (10, 16)
    x = torch.nn.functional.interpolate(
        torch.from_numpy(images).float() / 255, (8, 8), mode="bicubic", antialias=True
    ).clamp(0, 1)
    with torch.no_grad():
        expected: Tensor = model((x - 0.5) / 0.5).pooler_output
    np.testing.assert_allclose(features, expected.numpy(), atol=1e-5)


def test_dinov2_is_that_of_dgm_eval(tmp_path: Path, images: np.ndarray) -> None:
    """Preprocessing, positions and pooling written out: Pillow, NumPy, and the parts of the network one by one."""
    transformers = pytest.importorskip("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.Dinov2Config(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=42, patch_size=14, mlp_ratio=2
        )
        model = transformers.Dinov2Model(config).eval()
        torch.nn.init.normal_(model.embeddings.position_embeddings)
    model.save_pretrained(tmp_path / "dino")
    extractor = load_extractor(f"dinov2:{tmp_path / 'dino'}")
    assert (extractor.name, extractor.resize) == ("dinov2", "pil-bicubic")
    assert extractor.sha256 == state_sha256(model.state_dict())
    features = extract(images, extractor)

    large = [Image.fromarray(image.transpose(1, 2, 0)).resize((224, 224), Image.BICUBIC) for image in images]
    x = (np.stack([np.asarray(image) for image in large]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = torch.from_numpy(x.transpose(0, 3, 1, 2)).float()
    first, rest = model.embeddings.position_embeddings.detach().split([1, 9], dim=1)
    across = cubic_weights(3, 16, 16.1 / 3)
    grid = np.einsum("ia,jb,abd->ijd", across, across, rest[0].numpy().reshape(3, 3, 16)).reshape(1, 256, 16)
    with torch.no_grad():
        tokens = model.embeddings.patch_embeddings(x)
        tokens = torch.cat([model.embeddings.cls_token.expand(10, -1, -1), tokens], dim=1)
        tokens = tokens + torch.cat([first, torch.from_numpy(grid).float()], dim=1)
        for layer in model.encoder.layer:
            tokens = layer(tokens)
        expected = model.layernorm(tokens)[:, 0]
    np.testing.assert_allclose(features, expected.numpy(), atol=2e-5)
    np.testing.assert_allclose(extract((images / 255).astype(np.float32), extractor), features, atol=1e-6)
    grey = extract(images[:, :1], extractor)
    np.testing.assert_array_equal(grey, extract(images[:, :1].repeat(3, axis=1), extractor))


def cubic_weights(n: int, m: int, scale: float) -> np.ndarray:
    """What each of m places takes of each of n, by cubic convolution with a = -0.75 and the border repeated."""

    def kernel(d: float) -> float:
        d, a = abs(d), -0.75
        if d <= 1:
            return (a + 2) * d**3 - (a + 3) * d**2 + 1
        return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0

    weights = np.zeros((m, n))
    for i in range(m):
        at = (i + 0.5) / scale - 0.5
        for j in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            weights[i, min(max(j, 0), n - 1)] += kernel(at - j)
    return weights


def test_another_model_is_no_dinov2(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4
    )
    transformers.CLIPVisionModel(config).save_pretrained(tmp_path / "clip")
    with pytest.raises(UserError, match=r"clip is no DINOv2 of transformers"):
        load_extractor(f"dinov2:{tmp_path / 'clip'}")
