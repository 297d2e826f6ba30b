"""Transformers beside U-Nets, and what trains with what: every process × prediction × network × method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import diffusers
import pytest
import torch
from torch import nn

from objective_tools import COUNTS, K, digits_batch
from t2h import NoiseSchedule, RectifiedFlow, T2HPipeline, UserError
from t2h.backbones import dit_architecture, freeze_null_label, label_tables, null_label
from t2h.cli import main
from t2h.convert import to_official
from t2h.methods import METHODS, MethodOptions, build_objective
from t2h.methods.base import Batch, Context
from t2h.methods.ccua import info_nce
from t2h.network import UNetDenoiser, build_network, network_config, unet_architecture
from t2h.process import Prediction, Process
from t2h.samples.draw import load_pipeline

DIT = dit_architecture(depth=3, width=32, heads=2)
UNET = unet_architecture((8, 16), attention=(), blocks=1, groups=2, dropout=0.0)
NETWORKS = {"unet": UNET, "dit": DIT, "no bottleneck": UNET | {"mid_block_type": None}}
PROCESSES: dict[str, Process] = {p: NoiseSchedule(prediction=p) for p in get_args(Prediction)}
PROCESSES["flow"] = RectifiedFlow()


def network(architecture: dict, classes: int | None = K) -> nn.Module:
    """Its outputs depend on everything: no layer begins at zero."""
    made = build_network(network_config(json.dumps(architecture), classes, 1, 8))
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1 and weight.std() < 1e-3:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=draws))
    freeze_null_label(made)
    return made


def expected_refusal(process: str, backbone: str, method: str) -> str | None:
    if method == "diffrop" and process == "flow":
        return "reverse steps are not random"
    if method == "cm" and backbone == "dit":
        return "convolutions in up_blocks; this network has none"
    if method in ("coral", "ccua") and backbone == "no bottleneck":
        return f"{method} looks at a bottleneck"
    return None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("backbone", NETWORKS)
@pytest.mark.parametrize("process", PROCESSES)
def test_what_trains_with_what(process: str, backbone: str, method: str):
    """Two steps, after which every weight has moved; or one line."""
    denoiser, context = UNetDenoiser(network(NETWORKS[backbone])), Context(COUNTS, PROCESSES[process], K)
    if (says := expected_refusal(process, backbone, method)) is not None:
        with pytest.raises(UserError, match=says) as refused:
            build_objective(method, MethodOptions(), context, denoiser)
        assert "\n" not in str(refused.value)
        return
    learned = build_objective(method, MethodOptions(), context, denoiser)
    weights = [*denoiser.parameters(), *learned.parameters()]
    before, optimiser = [weight.detach().clone() for weight in weights], torch.optim.Adam(weights, lr=1e-3)
    x0, y = digits_batch(4).x0, torch.tensor([0, 0, 1, 8])
    for step in range(2):
        batch = Batch.noised(PROCESSES[process], x0, y, torch.Generator().manual_seed(step), K, 0.3)
        terms = learned(denoiser, batch)
        optimiser.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
        assert all(term.isfinite() for term in terms.values())
    assert not any(torch.equal(weight, old) for weight, old in zip(weights, before, strict=True))
    for table in label_tables(denoiser.unet).values():
        assert torch.all(table.weight[K] == 0)


# --- DiT --------------------------------------------------------------------------------------------------------------


def test_the_preset_is_the_paper_s():
    with torch.device("meta"):
        config = network_config("dit-s/2", 10, 3, 32)
        dit = diffusers.DiTTransformer2DModel(**{key: value for key, value in config.items() if key[0] != "_"})
    block = sum(p.numel() for p in dit.transformer_blocks[0].parameters())
    embeddings = sum(p.numel() for p in dit.transformer_blocks[0].norm1.emb.parameters())
    assert (len(dit.transformer_blocks), dit.inner_dim, dit.config["num_attention_heads"]) == (12, 384, 6)
    assert block - embeddings == 18 * 384**2 + 15 * 384  # attention 4, MLP 8, adaLN 6 times width²
    assert sum(p.numel() for p in dit.parameters()) == 35_233_932
    assert (dit.config["patch_size"], dit.out_channels) == (2, 3)


def test_a_fresh_one_is_the_identity_in_every_block_and_zero():
    dit = build_network(network_config("dit-tiny", 3, 1, 8))
    tokens, t, y = torch.randn(2, 16, 128), torch.tensor([3.0, 700.5]), torch.tensor([0, 3])
    torch.testing.assert_close(dit.transformer_blocks[1](tokens, timestep=t, class_labels=y), tokens)
    assert UNetDenoiser(dit)(torch.randn(2, 1, 8, 8), t, y).abs().max() == 0
    again = build_network(network_config("dit-tiny", 3, 1, 8))
    assert all(torch.equal(a, b) for a, b in zip(dit.parameters(), again.parameters(), strict=True))


def test_the_training_alone_drops_labels():
    """diffusers' DiT would drop one in ten by itself."""
    dit = network(DIT, 3).train()
    assert null_label(dit) == 3
    assert {tuple(table.weight.shape) for table in label_tables(dit).values()} == {(4, 32)}
    x, y = torch.randn(1, 1, 8, 8).expand(200, -1, -1, -1), torch.zeros(200, dtype=torch.int64)
    out = UNetDenoiser(dit)(x, torch.full((200,), 5), y)
    torch.testing.assert_close(out, out[:1].expand_as(out), rtol=1e-4, atol=1e-5)


def test_the_bottleneck_of_a_transformer_is_ccua_s_block():
    for depth, index in ((12, 3), (4, 1), (3, 0)):
        dit = network(dit_architecture(depth, 32, 2), 3)
        denoiser, seen = UNetDenoiser(dit), []
        dit.transformer_blocks[index].register_forward_hook(lambda _m, _i, tokens, seen=seen: seen.append(tokens))
        _, bottleneck = denoiser.with_bottleneck(torch.randn(2, 1, 8, 8), torch.tensor([1, 2]), torch.tensor([0, 3]))
        assert bottleneck.shape == (2, 32, 16, 1)
        assert denoiser.bottleneck_channels == 32
        torch.testing.assert_close(info_nce(bottleneck.flatten(1), 0.1), info_nce(seen[0].flatten(1), 0.1))


@pytest.mark.parametrize(
    ("given", "classes", "size", "says"),
    [
        ("dit-tiny", None, 8, "always sees labels; leave out --no-conditional"),
        ("dit-tiny", 3, 9, "choose an image size that 2 divides, such as --image-size 8"),
        (
            '{"_class_name": "UNet2DConditionModel"}',
            3,
            8,
            "UNet2DConditionModel is no model of diffusers",
        ),
        ('{"_class_name": "DDIMScheduler"}', 3, 8, "such are UNet2DModel and DiTTransformer2DModel"),
    ],
)
def test_networks_that_cannot_be(given, classes, size, says):
    with pytest.raises(UserError, match=says):
        network_config(given, classes, 1, size)


SHORT = ["--steps", "2", "--batch-size", "4", "--device", "cpu", "--grid-every", "None"]


def test_a_transformer_from_training_to_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "dit.json").write_text(json.dumps(DIT))
    run = tmp_path / "run"
    words = ["train", "--data", "digits", "--objective", "t2h+coral", "--network", str(tmp_path / "dit.json")]
    assert main([*words, *SHORT, "--process", "flow", "--save-every", "1", "--out", str(run)]) == 0
    index = json.loads((run / "pipeline" / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "DiTTransformer2DModel"]
    pipeline = load_pipeline(run)
    assert (type(pipeline.unet).__name__, pipeline.num_classes) == ("DiTTransformer2DModel", 10)
    assert not pipeline.unet.training
    more = ["--steps", "3", "--extend", "--process", "flow", "--save-every", "1", "--out", str(run)]
    assert main([*words, *SHORT[2:], *more]) == 0
    assert main(["sample", str(run), "--per-class", "1", "--steps", "2", "--out", str(tmp_path / "x.npz")]) == 0

    fine = ["train", "--data", "digits", "--objective", "ddpm", *SHORT, "--process", "flow", "--init", str(run)]
    assert main([*fine, "--out", str(tmp_path / "fine")]) == 0
    capsys.readouterr()
    refusals = {"--augment 0.1": "--augment needs one time_embedding", "--objective cm": "cm adds"}
    for options, says in refusals.items():
        assert main([*words, *SHORT, *options.split(), "--out", str(tmp_path / "refused")]) == 2
        assert says in capsys.readouterr().err
    with pytest.raises(UserError, match="has U-Nets alone; this network is a DiTTransformer2DModel"):
        to_official(T2HPipeline(pipeline.unet, NoiseSchedule().ddim_scheduler()), tmp_path / "x.pt")
