"""CCUA, CORAL and CM compute what their released code computes: values, and the gradients that tell a stop-gradient."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from t2h import NoiseSchedule
from t2h.convert import from_official, merged, read_official
from t2h.convert.unet import official_names
from t2h.methods import MethodOptions, build_objective
from t2h.methods.base import Batch, Context
from t2h.methods.ccua import Alignment, info_nce
from t2h.methods.cm import capacity_weights
from t2h.methods.coral import supcon
from t2h.methods.objective import Objective
from t2h.network import UNetDenoiser

SCHEDULE, COUNTS = NoiseSchedule(), torch.tensor([100, 60, 30, 12, 4])
CONTEXT = Context(COUNTS, SCHEDULE, null_label=5)
close = torch.testing.assert_close
Golden = dict[str, Tensor]


@pytest.fixture(scope="module")
def ccua(golden: Path) -> Golden:
    return read(golden / "ccua.npz")


@pytest.fixture(scope="module")
def coral(golden: Path) -> Golden:
    return read(golden / "coral.npz")


@pytest.fixture(scope="module")
def cm(golden: Path) -> Golden:
    return read(golden / "cm.npz")


@pytest.fixture
def denoiser(golden: Path) -> UNetDenoiser:
    return UNetDenoiser(from_official(golden / "official_ckpt_trained.pt.xz").unet.eval())


def read(path: Path) -> Golden:
    with np.load(path) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def batch(x0: Tensor, y: Tensor, t: Tensor, eps: Tensor, dropped: bool = False) -> Batch:
    nothing = torch.full_like(y, dropped, dtype=torch.bool)
    label = torch.full_like(y, 5) if dropped else y
    xt = SCHEDULE.add_noise(x0, eps, t)
    return Batch(x0, y, t, eps, xt, label, nothing, x0, y, torch.arange(len(y)), torch.Generator().manual_seed(0))


def golden_weights(golden: Path, denoiser: UNetDenoiser) -> dict[str, Tensor]:
    """The network's weights by their official names."""
    config = read_official(golden / "official_ckpt_trained.pt.xz").config
    ours = dict(denoiser.unet.named_parameters())
    weights = {there: ours[here] for here, there in official_names(config).items()}
    return weights | {"label_embedding.weight": ours["class_embedding.weight"]}


def wrong_gradients(loss: Tensor, weights: dict[str, Tensor], expected: Golden, prefix: str) -> set[str]:
    """The weights whose gradient differs from the released code's by more than 1e-4 of its norm."""
    wanted = {key.removeprefix(prefix): value for key, value in expected.items() if key.startswith(prefix)}
    assert len(wanted) >= 8
    found = torch.autograd.grad(loss, [weights[name] for name in wanted], allow_unused=True, retain_graph=True)
    wrong = set()
    for (name, theirs), given in zip(wanted.items(), found, strict=True):
        ours = torch.zeros_like(weights[name]) if given is None else given
        ours = ours[:5] if name == "label_embedding.weight" else ours  # the null row is ours
        if (ours - theirs).norm() > 1e-4 * theirs.norm() + 1e-9:
            wrong.add(name)
    return wrong


def total(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()


# --- CCUA -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", ["kept", "dropped"])
def test_ccua(labels: str, ccua: Golden, golden: Path, denoiser: UNetDenoiser) -> None:
    objective = build_objective("ccua", MethodOptions(), CONTEXT, denoiser)
    b = batch(*(ccua[name] for name in ("x0", "y", "t", "noise")), dropped=labels == "dropped")
    losses = objective(denoiser, b)
    parts = ccua[f"contrast_{labels}"] + ccua[f"alignment_{labels}"]
    close(losses["mse"], ccua[f"ddpm_{labels}"].mean(), rtol=1e-5, atol=0)
    close(losses["ccua"], parts.mean(), rtol=1e-5, atol=0)
    loss = total(losses.values())
    close(loss, ccua[f"total_{labels}"], rtol=1e-5, atol=0)
    assert not wrong_gradients(loss, golden_weights(golden, denoiser), ccua, f"grad_{labels}_")


@pytest.mark.parametrize("side", ["conditional", "unconditional", "bottleneck"])
def test_a_stop_gradient_in_ccua_would_show(
    side: str, ccua: Golden, golden: Path, denoiser: UNetDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, both = Alignment.forward, UNetDenoiser.with_bottleneck

    def detached(*given: Any) -> tuple[Tensor, Tensor]:
        output, h = both(*given)
        return (output.detach(), h) if side == "unconditional" else (output, h.detach())

    if side == "conditional":
        monkeypatch.setattr(
            Alignment, "forward", lambda self, d, b, output, h=None: forward(self, d, b, output.detach())
        )
    else:
        monkeypatch.setattr(UNetDenoiser, "with_bottleneck", detached)
    objective = build_objective("ccua", MethodOptions(), CONTEXT, denoiser)
    loss = total(objective(denoiser, batch(*(ccua[name] for name in ("x0", "y", "t", "noise")))).values())
    close(loss, ccua["total_kept"], rtol=1e-5, atol=0)  # the value does not tell
    assert wrong_gradients(loss, golden_weights(golden, denoiser), ccua, "grad_kept_")


def test_info_nce(ccua: Golden) -> None:
    close(info_nce(ccua["h"].flatten(1), 0.1), ccua["info_nce"], rtol=1e-5, atol=1e-6)


# --- CORAL ------------------------------------------------------------------------------------------------------------


def coral_on(coral: Golden, denoiser: UNetDenoiser) -> Objective:
    objective = build_objective("coral", MethodOptions(), CONTEXT, denoiser)
    head = objective.terms[0].head
    with torch.no_grad():
        head.weight.copy_(coral["head_weight"])
        head.bias.copy_(coral["head_bias"])
    return objective


@pytest.mark.parametrize("case", ["pairs", "tail", "dropped", "one_class", "all_alone"])
def test_coral(case: str, coral: Golden, golden: Path, denoiser: UNetDenoiser) -> None:
    objective, n = coral_on(coral, denoiser), len(coral[f"y_{case}"])
    given = coral[f"x0_{case}"], coral[f"y_{case}"], coral["t"][:n], coral["noise"][:n]
    losses = objective(denoiser, batch(*given, dropped=case == "dropped"))
    close(losses["mse"], coral[f"ddpm_{case}"], rtol=1e-5, atol=0)
    close(losses["coral"], 0.1 * coral[f"supcon_{case}"], rtol=1e-5, atol=0)
    loss = total(losses.values())
    close(loss, coral[f"total_{case}"], rtol=1e-5, atol=0)
    if case in ("pairs", "tail"):
        head = objective.terms[0].head
        weights = golden_weights(golden, denoiser) | {"mean_proj.weight": head.weight, "mean_proj.bias": head.bias}
        assert not wrong_gradients(loss, weights, coral, f"grad_{case}_")


def test_a_stop_gradient_in_coral_would_show(
    coral: Golden, golden: Path, denoiser: UNetDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = UNetDenoiser.with_bottleneck
    monkeypatch.setattr(UNetDenoiser, "with_bottleneck", lambda *given: (both(*given)[0], both(*given)[1].detach()))
    objective = coral_on(coral, denoiser)
    loss = total(objective(denoiser, batch(coral["x0_tail"], coral["y_tail"], coral["t"], coral["noise"])).values())
    head = objective.terms[0].head
    weights = golden_weights(golden, denoiser) | {"mean_proj.weight": head.weight, "mean_proj.bias": head.bias}
    close(loss, coral["total_tail"], rtol=1e-5, atol=0)
    assert "middleblocks.1.block2.3.bias" in wrong_gradients(loss, weights, coral, "grad_tail_")


def test_supcon_of_a_batch_as_cifar100_lt_gives(coral: Golden) -> None:
    z, y = coral["z"], coral["y_z"]
    losses = supcon(z / z.norm(dim=1, keepdim=True), y, torch.ones_like(y, dtype=torch.bool), 0.1)
    assert (losses == 0).sum() == 17  # alone in their class
    close(losses[losses > 0].mean(), coral["supcon_z"], rtol=1e-5, atol=0)


# --- CM ---------------------------------------------------------------------------------------------------------------


def cm_on(cm: Golden, golden: Path, denoiser: UNetDenoiser, name: str = "cm") -> tuple[Objective, dict[str, Tensor]]:
    """CM with the released parts, and all weights by their official names."""
    objective, weights = build_objective(name, MethodOptions(), CONTEXT, denoiser), golden_weights(golden, denoiser)
    (term,), layers = objective.terms, {id(weight): key.removesuffix(".weight") for key, weight in weights.items()}
    for conv, expert in zip(term._convolutions, term.experts, strict=True):
        layer = layers[id(conv.weight)]
        weights |= {f"{layer}.lora_A": expert.a, f"{layer}.lora_B": expert.b}
        with torch.no_grad():
            expert.a.copy_(cm[f"{layer}.lora_A"])
            expert.b.copy_(cm[f"{layer}.lora_B"])
    assert {key for key in weights if "lora" in key} == {key for key in cm if "lora" in key and "grad" not in key}
    return objective, weights


@pytest.mark.parametrize("case", ["alone", "dropped", "t2h"])
def test_cm(case: str, cm: Golden, golden: Path, denoiser: UNetDenoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    objective, weights = cm_on(cm, golden, denoiser, "t2h+cm" if case == "t2h" else "cm")
    b = batch(cm["x0"], cm["y"], cm["t_t2h" if case == "t2h" else "t"], cm["noise"], dropped=case == "dropped")
    monkeypatch.setattr(torch, "multinomial", lambda *_a, **_k: cm["drawn_index"].unsqueeze(1))
    losses = objective(denoiser, b)
    con, div = capacity_weights(COUNTS, 1.0, 0.0).float(), capacity_weights(COUNTS, 0.0, 1.0).float()
    close(con, 5 * cm["weight"], rtol=1e-5, atol=0)
    close(div, -5 * cm["inverse_weight"], rtol=1e-5, atol=0)
    close(losses["cm"], ((con + 0.2 * div)[b.y] * cm[f"distance_{case}"]).mean(), rtol=1e-5, atol=0)
    loss = total(losses.values())
    close(loss, cm[f"loss_{case}"], rtol=1e-5, atol=0)
    assert not wrong_gradients(loss, weights, cm, f"grad_{case}_")


@pytest.mark.parametrize("side", ["whole", "general"])
def test_a_stop_gradient_in_cm_would_show(
    side: str, cm: Golden, golden: Path, denoiser: UNetDenoiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    objective, weights = cm_on(cm, golden, denoiser)
    (term,), forward = objective.terms, type(objective.terms[0]).forward

    class Detached(nn.Module):
        def forward(self, *given: Any) -> Tensor:
            return denoiser(*given).detach()

    def detached(self: Any, d: Any, b: Batch, output: Tensor, h: Tensor | None = None) -> Tensor:
        return forward(self, d, b, output.detach()) if side == "whole" else forward(self, Detached(), b, output)

    monkeypatch.setattr(type(term), "forward", detached)
    loss = total(objective(denoiser, batch(cm["x0"], cm["y"], cm["t"], cm["noise"])).values())
    close(loss, cm["loss_alone"], rtol=1e-5, atol=0)
    assert wrong_gradients(loss, weights, cm, "grad_alone_")


def test_cm_s_two_networks_and_its_checkpoint(cm: Golden, golden: Path, denoiser: UNetDenoiser, tmp_path: Path) -> None:
    objective, _ = cm_on(cm, golden, denoiser)
    b = batch(cm["x0"], cm["y"], cm["t"], cm["noise"])
    with torch.no_grad():
        close(denoiser(b.xt, b.t, b.y), cm["whole_alone"], rtol=0, atol=1e-5)
        with objective.terms[0].general_part():
            close(denoiser(b.xt, b.t, b.y), cm["general_alone"], rtol=0, atol=1e-5)
    pipeline = from_official(with_further(golden, tmp_path, {k: v for k, v in cm.items() if ".lora" in k[-8:]}))
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        cm["y_T"].tolist(), guidance_scale=2.5, num_inference_steps=50, latents=cm["x_T"], output_type="pt"
    ).images
    close(images.mul(2).sub(1), cm["ddim50_w15"].clamp(-1, 1), rtol=0, atol=1e-4)


def test_coral_s_checkpoint(coral: Golden, golden: Path, tmp_path: Path) -> None:
    heads = {f"{kind}_proj.{name}": coral[f"head_{name}"] for kind in ("mean", "logvar") for name in ("weight", "bias")}
    found = read_official(with_further(golden, tmp_path, heads)).weights
    plain = read_official(golden / "official_ckpt_trained.pt.xz").weights
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[key], plain[key]) for key in plain)


def test_a_part_without_its_other_half_is_refused() -> None:
    half = {"upblocks.0.block1.2.lora_A": torch.zeros(3, 6)}
    assert merged(half) == half  # and so the weight is unknown to whoever infers the architecture


def with_further(golden: Path, folder: Path, weights: dict[str, Tensor]) -> Path:
    """The trained checkpoint with further weights."""
    content = dict(read_official(golden / "official_ckpt_trained.pt.xz").content)
    content["ema_model"] = {**content["ema_model"], **{k: v for k, v in weights.items() if "grad" not in k}}
    torch.save(content, folder / "ckpt_1.pt")
    return folder / "ckpt_1.pt"
