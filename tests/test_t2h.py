"""T2H's posterior, draws and targets: as the official code, as a float64 loop, and invariant where they must be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from objective_tools import misspelt
from t2h import NoiseSchedule, UserError, reference_posterior
from t2h.methods import METHODS, MethodOptions, build_objective
from t2h.methods.base import Batch, Context
from t2h.methods.gates import acceptance
from t2h.methods.posterior import half_squares
from t2h.methods.t2h import T2H
from t2h.methods.transfers import UNIT

SCHEDULE = NoiseSchedule()
COUNTS = torch.tensor([40, 12, 12, 6, 2, 0])


@pytest.fixture(scope="module")
def official(golden: Path) -> dict[str, torch.Tensor]:
    with np.load(golden / "transfer_targets.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def batch(n: int = 12, seed: int = 0, dropout: float = 0.0, size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.rand(n, 3, size, size, generator=generator) * 2 - 1
    y = torch.randint(5, (n,), generator=generator)
    return Batch.noised(SCHEDULE, x0, y, generator, null_label=6, label_dropout=dropout)


def loop_posterior(x0, eps, references, t, log_prior=None) -> np.ndarray:
    """The equation, term by term, in float64."""
    p = np.empty((len(x0), len(references)))
    x0, eps, references = (a.double().numpy().reshape(len(a), -1) for a in (x0, eps, references))
    for i in range(len(x0)):
        a = float(SCHEDULE.alpha_bar[t[i]])
        noisy = (np.sqrt(a) * x0[i] + np.sqrt(1 - a) * eps[i]) / np.sqrt(a)
        exponent = np.array([-((noisy - r) ** 2).sum() / (2 * (1 / a - 1)) for r in references])
        exponent += 0 if log_prior is None else log_prior.numpy()
        weight = np.exp(exponent - exponent.max())
        p[i] = weight / weight.sum()
    return p


class Taught:
    """What a network that predicts noise is taught by T2H."""

    def __init__(self, counts: torch.Tensor = COUNTS, **options: object) -> None:
        self.aim = T2H(**options).aim(Context(counts, SCHEDULE, null_label=6))

    def __call__(self, batch: Batch) -> torch.Tensor:
        return SCHEDULE.target(batch.x0, batch.eps, batch.t, self.aim(batch))


class Scripted(Taught):
    """The same with the official draw in place of its own."""

    drawn: torch.Tensor

    def __call__(self, batch: Batch) -> torch.Tensor:
        real = torch.multinomial
        torch.multinomial = lambda *_args, **_kwargs: self.drawn.unsqueeze(1)
        try:
            return super().__call__(batch)
        finally:
            torch.multinomial = real


def official_batch(official: dict[str, torch.Tensor]) -> Batch:
    x0, y, n = official["x0"], official["y"], len(official["y"])
    nothing = torch.zeros(n, dtype=torch.bool)
    xt = SCHEDULE.add_noise(x0, official["noise"], official["t"])
    return Batch(x0, y, official["t"], official["noise"], xt, y, nothing, x0, y, torch.arange(n), torch.Generator())


def test_schedule_is_the_official_one(official):
    np.testing.assert_allclose(SCHEDULE.alpha_bar, official["alphas_bar"], rtol=1e-14)
    np.testing.assert_allclose(SCHEDULE.sigma(torch.arange(1000)), official["sigma_t"], rtol=1e-12)
    batch = official_batch(official)
    torch.testing.assert_close(batch.xt, official["x_t"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("beta", [None, -1.0, 0.5, 1.0])
def test_posterior_is_the_official_one(official, beta):
    prior = None if beta is None else beta * official["class_frequency"].double().log()[official["y"]]
    p = reference_posterior(official["x0"], official["noise"], official["x0"], official["t"], SCHEDULE, prior)
    expected = official["weights" if beta is None else f"weights_prior_{beta}"]
    assert (p - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("t2h", {"direction": "t2h"}),
        ("h2t", {"direction": "h2t"}),
        ("full", {"direction": "full"}),
        ("t2h_cut400", {"direction": "t2h", "t_max": 400}),
        ("h2t_cut400", {"direction": "h2t", "t_max": 400}),
        ("prior_-1.0", {"beta": -1.0}),
        ("prior_0.5", {"beta": 0.5}),
        ("prior_1.0", {"beta": 1.0}),
    ],
)
def test_targets_are_the_official_ones_given_the_official_draw(official, name, options):
    counts = (official["class_frequency"] * 1e6).round().long()
    target = Scripted(counts, **options)
    target.drawn = official["drawn_index_" + name if name.startswith("prior") else "drawn_index"]
    ours, expected = target(official_batch(official)), official["target_" + name]
    # The official form (x_t - √ᾱ_t x_0)/√(1-ᾱ_t) cancels in float32 at small t: 1e-4 of the target's size.
    error = (ours - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert error.max() < 1e-4


def test_official_draws_depend_on_the_gate(official):
    assert not torch.equal(official["target_t2h"], official["target_h2t"])
    assert not torch.equal(official["target_t2h"], official["target_t2h_cut400"])


@pytest.mark.parametrize("prior", [False, True])
def test_posterior_is_the_float64_loop(prior):
    b = batch(9)
    b.t[:4] = torch.tensor([0, 0, 999, 1])
    references = torch.cat([b.x0, b.x0[:2], b.x0[:1] + 1e-3])  # exact duplicates, and one that is nearly one
    log_prior = torch.linspace(-3, 0, len(references)).double() if prior else None
    p = reference_posterior(b.x0, b.eps, references, b.t, SCHEDULE, log_prior)
    np.testing.assert_allclose(p, loop_posterior(b.x0, b.eps, references, b.t, log_prior), atol=1e-5)
    np.testing.assert_allclose(p.sum(dim=1), 1, atol=1e-6)
    if not prior:
        torch.testing.assert_close(p[0, 0], p[0, 9])  # a duplicate shares the weight


def test_posterior_at_full_size_and_t_0_needs_float64():
    """3×64×64 images that differ by less than float32's squared norms resolve."""
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    references = torch.cat([x0, x0 + 1e-4 * torch.randn(3, 3, 64, 64, generator=generator)])
    eps, t = torch.randn(x0.shape, generator=generator), torch.zeros(1, dtype=torch.int64)
    p = reference_posterior(x0, eps, references, t, SCHEDULE)
    np.testing.assert_allclose(p, loop_posterior(x0, eps, references, t), atol=1e-5)


def test_an_excluded_reference_is_never_aimed_at():
    b = batch(6)
    log_prior = torch.zeros(6).index_fill(0, torch.tensor([2]), -torch.inf)
    p = reference_posterior(b.x0, b.eps, b.x0, b.t, SCHEDULE, log_prior)
    assert torch.all(p[:, 2] == 0)


def aim(target: torch.Tensor, b: Batch) -> torch.Tensor:
    """The clean image that a target points at."""
    return SCHEDULE.x0_from_output(target.double(), b.xt.double(), b.t)


def test_every_direction_keeps_what_it_may():
    b = batch(64, size=2)
    allowed = {
        "t2h": COUNTS[b.y].unsqueeze(0) >= COUNTS[b.y].unsqueeze(1),
        "h2t": COUNTS[b.y].unsqueeze(0) <= COUNTS[b.y].unsqueeze(1),
        "full": torch.ones(64, 64, dtype=torch.bool),
    }
    for direction, gate in allowed.items():
        x0_hat = aim(Taught(COUNTS, direction=direction)(b), b)
        distance = (x0_hat.unsqueeze(1) - b.x0.double()).flatten(2).norm(dim=2)
        moved_to = distance.argmin(dim=1)
        assert torch.all(gate[torch.arange(64), moved_to])
        assert (moved_to != torch.arange(64)).sum() > 10  # and it did move


def test_the_draw_has_the_posterior_distribution():
    b = batch(6)
    b.t.fill_(700)
    b = replace(b, xt=SCHEDULE.add_noise(b.x0, b.eps, b.t))
    target, draws = Taught(COUNTS, direction="t2h"), 4000
    mean = torch.stack([aim(target(b), b) for _ in range(draws)]).mean(dim=0)
    expected = aim(Taught(COUNTS, direction="t2h", estimate="expectation")(b), b)
    assert (mean - expected).abs().max() < 5 / draws**0.5


def test_expectation_is_the_loop():
    b = batch(10)
    p, x0_hat = loop_posterior(b.x0, b.eps, b.x0, b.t), b.x0.double().clone()
    for i in range(10):
        gated = sum(p[i, j] for j in range(10) if COUNTS[b.y[j]] >= COUNTS[b.y[i]])
        aimed = sum(p[i, j] * b.x0[j].double() for j in range(10) if COUNTS[b.y[j]] >= COUNTS[b.y[i]])
        x0_hat[i] = aimed + (1 - gated) * b.x0[i].double()
    ours = Taught(COUNTS, estimate="expectation")(b)
    torch.testing.assert_close(ours.double(), SCHEDULE.output_from_x0(x0_hat, b.xt.double(), b.t), rtol=1e-3, atol=1e-3)


def test_outside_the_window_the_target_is_exactly_the_noise():
    b = batch(64)
    target = Taught(COUNTS, direction="full", t_min=300, t_max=800)(b)
    outside = (b.t < 300) | (b.t >= 800)
    assert torch.equal(target[outside], b.eps[outside])
    assert not torch.equal(target[~outside], b.eps[~outside])


@pytest.mark.parametrize("dropped_target", ["same", "plain", "h2t"])
def test_targets_of_dropped_labels(dropped_target):
    b, same = (
        batch(64, dropout=0.5),
        Taught(COUNTS, estimate="expectation")(batch(64, dropout=0.5)),
    )
    target = Taught(COUNTS, dropped_target=dropped_target, estimate="expectation")(b)
    assert 10 < b.dropped.sum() < 54
    assert torch.equal(target[~b.dropped], same[~b.dropped])
    h2t = Taught(COUNTS, direction="h2t", estimate="expectation")(b)
    expected = {"same": same, "plain": b.eps, "h2t": h2t}[dropped_target]
    assert torch.equal(target[b.dropped], expected[b.dropped])


def test_a_batch_of_one_aims_at_itself():
    b = batch(1)
    for direction in ("t2h", "h2t", "full"):
        torch.testing.assert_close(Taught(COUNTS, direction=direction)(b), b.eps)


def test_the_draw_comes_from_the_given_generator():
    first = Taught(COUNTS)(batch(32, seed=3))
    torch.manual_seed(99)
    assert torch.equal(Taught(COUNTS)(batch(32, seed=3)), first)


def test_references_of_other_processes():
    """Two halves of a batch with the whole as references have the same expectation as the whole."""
    b = batch(16)
    whole = Taught(COUNTS, estimate="expectation")
    halves = []
    for offset in (0, 8):
        part = slice(offset, offset + 8)
        half = Batch(
            b.x0[part], b.y[part], b.t[part], b.eps[part], b.xt[part], b.label[part], b.dropped[part],
            b.x0, b.y, torch.arange(offset, offset + 8), b.generator,
        )  # fmt: skip
        halves.append(Taught(COUNTS, estimate="expectation")(half))
    torch.testing.assert_close(torch.cat(halves), whole(b), rtol=1e-4, atol=1e-4)


def test_shares_are_counted_by_t():
    b = batch(256, size=2)
    target = Taught(COUNTS, direction="full")
    x0_hat = aim(target(b), b)
    to = (x0_hat.unsqueeze(1) - b.x0.double()).flatten(2).norm(dim=2).argmin(dim=1)
    moved, same_class = to != torch.arange(256), b.y[to] == b.y
    shares = target.aim.statistics()["transfer"]
    edges = torch.tensor(shares["t_edges"])
    assert edges[0] == 0
    assert edges[-1] == 1000
    inside = (b.t.unsqueeze(1) >= edges[:-1]) & (b.t.unsqueeze(1) < edges[1:])
    assert shares["total"] == inside.sum(dim=0).tolist()
    assert shares["within_class"] == (inside & (moved & same_class).unsqueeze(1)).sum(dim=0).tolist()
    assert shares["across_class"] == (inside & (moved & ~same_class).unsqueeze(1)).sum(dim=0).tolist()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"direction": "t2hh"}, "did you mean 't2h'"),
        ({"dropped_target": "plane"}, "did you mean 'plain'"),
        ({"estimate": "mean"}, "draw, expectation"),
    ],
)
def test_bad_options(options, says):
    with pytest.raises(UserError, match=says):
        misspelt(T2H(), *next(iter(options.items()))).__post_init__()


def test_an_empty_time_window():
    with pytest.raises(UserError, match="empty"):
        Taught(COUNTS, t_min=400, t_max=400)


def test_counts_do_not_stop_at_float32_s_last_whole_number():
    """After 2^24 aims in a bin float32 would count no more; parts of an aim are counted too."""
    b = batch(64)
    aim = T2H(direction="full", estimate="expectation").aim(Context(COUNTS, SCHEDULE, null_label=6))
    aim.counter.counted += 2**26 * UNIT
    before = aim.statistics()["transfer"]
    aim(b)
    after = aim.statistics()["transfer"]
    assert sum(after["total"]) - sum(before["total"]) == 64
    p = loop_posterior(b.x0, b.eps, b.x0, b.t)
    moved = sum(after["transferred"]) - sum(before["transferred"])
    assert moved == pytest.approx(float((1 - p.diagonal()).sum()), abs=1e-3)


def test_counts_of_several_processes_add_up():
    b, aims = batch(64), [T2H().aim(Context(COUNTS, SCHEDULE, null_label=6)) for _ in range(3)]
    for aim, generator in zip(aims, (1, 2, 1), strict=True):
        aim(replace(b, generator=torch.Generator().manual_seed(generator)))
    aims[2](replace(b, generator=torch.Generator().manual_seed(2)))
    for name, count in aims[0].counts().items():
        count += aims[1].counts()[name]
    assert aims[0].statistics() == aims[2].statistics()
    assert T2H(count=False).aim(Context(COUNTS, SCHEDULE, null_label=6)).counts() == {}


def test_methods_say_whether_they_look_at_references():
    context, needs = Context(COUNTS, SCHEDULE, null_label=6), {"t2h", "stf"}
    for name in METHODS:
        assert build_objective(name, MethodOptions(), context).references == ("ranks" if name in needs else None), name


# --- gates, prior, draws, references ----------------------------------------------------------------------------------


def loop_gate(gate: str, direction: str, n_i: int, n_j: int, same: bool, gamma: float, kappa: float) -> float:
    """The table of gates.py, for one sample and one reference."""
    ratio = {"t2h": n_j / n_i, "h2t": n_i / n_j, "full": math.inf}[direction]
    if gate in ("hard", "strict"):
        return float(ratio >= 1 if gate == "hard" else ratio > 1)
    if gate == "soft":
        return min(1.0, ratio**gamma)
    if same or gate == "within":
        return float(same)
    return kappa / (kappa + n_i) if ratio >= 1 else 0.0


def loop_aim(b: Batch, gate: str, direction: str, beta: float | None, counts: torch.Tensor = COUNTS) -> torch.Tensor:
    """The gated expectation, term by term, in float64."""
    prior = None if beta is None else beta * (counts.double() / counts.sum()).log()[b.reference_y]
    p, aims = loop_posterior(b.x0, b.eps, b.reference_x0, b.t, prior), b.x0.double().clone()
    for i in range(len(b.y)):
        for j in range(len(b.reference_y)):
            y_i, y_j = int(b.y[i]), int(b.reference_y[j])
            g = loop_gate(gate, direction, int(counts[y_i]), int(counts[y_j]), y_i == y_j, 0.7, 5.0)
            aims[i] += g * p[i, j] * (b.reference_x0[j].double() - b.x0[i].double())
    return aims


@pytest.mark.parametrize("gate", ["hard", "strict", "soft", "within", "shrinkage"])
@pytest.mark.parametrize("direction", ["t2h", "h2t", "full"])
@pytest.mark.parametrize("beta", [None, -1.0, 0.5])
def test_every_gate_with_every_prior_is_the_loop(gate, direction, beta):
    b = batch(20)
    b.t[:16] = torch.arange(600, 920, 20)
    options = T2H(direction, beta=beta, gate=gate, gamma=0.7, kappa=5.0, estimate="expectation")
    ours = options.aim(Context(COUNTS, SCHEDULE, null_label=6))(b)
    expected = loop_aim(b, gate, direction, beta)
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=1e-4)
    assert (ours - b.x0).abs().max() > 0.05  # something is moved
    if beta is None and gate == "hard":  # the default gate is hard
        default = T2H(direction, estimate="expectation").aim(Context(COUNTS, SCHEDULE, null_label=6))(b)
        assert torch.equal(default, ours)


def test_gates_that_meet():
    """Soft with γ = 0 is full, with a large γ hard; shrinkage with a large κ is hard, with κ = 0 within."""
    table = {d: acceptance("hard", d, COUNTS) for d in ("t2h", "full")}
    assert torch.equal(acceptance("soft", "t2h", COUNTS, gamma=0.0), table["full"])
    torch.testing.assert_close(acceptance("soft", "t2h", COUNTS, gamma=1e4), table["t2h"])
    torch.testing.assert_close(acceptance("shrinkage", "t2h", COUNTS, kappa=1e9), table["t2h"])
    assert torch.equal(acceptance("shrinkage", "t2h", COUNTS, kappa=0.0), acceptance("within", "t2h", COUNTS))
    assert acceptance("strict", "t2h", COUNTS).diagonal().sum() == 0
    assert acceptance("strict", "t2h", COUNTS)[1, 2] == 0  # as many images
    assert acceptance("hard", "t2h", COUNTS)[1, 2] == 1


@pytest.mark.parametrize(
    ("gate", "draws"), [("soft", 1), pytest.param("shrinkage", 1, marks=pytest.mark.slow), (None, 7)]
)
def test_draws_have_the_expectation(gate, draws):
    b, rounds = batch(6), 1500
    b.t.fill_(700)
    method = T2H(gate=gate, gamma=0.7, kappa=5.0, draws=draws, count=False).aim(Context(COUNTS, SCHEDULE, null_label=6))
    aims = torch.stack([method(b) for _ in range(rounds)])
    expected = loop_aim(b, gate or "hard", "t2h", None)
    assert (aims.double().mean(dim=0) - expected).abs().max() < 5 / (rounds * draws) ** 0.5
    one = T2H(gate=gate, gamma=0.7, kappa=5.0, count=False).aim(Context(COUNTS, SCHEDULE, null_label=6))
    spread = torch.stack([one(b) for _ in range(rounds)]).var(dim=0).mean()
    assert aims.var(dim=0).mean().item() == pytest.approx(spread.item() / draws, rel=0.2)


def test_the_prior_alone_has_no_gate_and_with_a_gate_it_has():
    b = batch(20)
    b.t.fill_(800)
    context = Context(COUNTS, SCHEDULE, null_label=6)
    official = T2H(beta=-1.0, estimate="expectation").aim(context)(b)
    torch.testing.assert_close(official.double(), loop_aim(b, "hard", "full", -1.0), rtol=0, atol=1e-4)
    gated = T2H(beta=-1.0, gate="hard", estimate="expectation").aim(context)(b)
    torch.testing.assert_close(gated.double(), loop_aim(b, "hard", "t2h", -1.0), rtol=0, atol=1e-4)
    assert (official - gated).abs().max() > 0.05


def rows_of(b: Batch, rows: slice) -> Batch:
    """Some samples of a batch, whose references they alone are."""
    part = {name: getattr(b, name)[rows] for name in ("x0", "y", "t", "eps", "xt", "label", "dropped")}
    return replace(b, **part, reference_x0=part["x0"], reference_y=part["y"], own=torch.arange(len(part["y"])))


def with_bank(b: Batch, others: int = 0, bank: int = 9) -> Batch:
    """The batch with the batch of another process before it, and a bank behind."""
    before, further = batch(12, seed=5), batch(bank, seed=6)
    x0 = torch.cat([before.x0[:others], b.x0, further.x0])
    y = torch.cat([before.y[:others], b.y, further.y])
    return replace(b, reference_x0=x0, reference_y=y, own=others + torch.arange(len(b.y)), shared=others + len(b.y))


@pytest.mark.parametrize("beta", [None, -1.0])
@pytest.mark.parametrize("others", [0, 12])
def test_a_bank_is_shared_and_each_sample_has_its_own_image_beside_it(others, beta):
    b = batch(12)
    b.t.fill_(750)
    wide, method = with_bank(b, others), T2H(beta=beta, gate="hard", estimate="expectation", references="bank")
    ours = method.aim(Context(COUNTS, SCHEDULE, null_label=6))(wide)
    for i in range(12):
        rows = [others + i, *range(others + 12, others + 21)]
        one = replace(
            rows_of(b, slice(i, i + 1)), reference_x0=wide.reference_x0[rows], reference_y=wide.reference_y[rows]
        )
        torch.testing.assert_close(ours[i : i + 1].double(), loop_aim(one, "hard", "t2h", beta), rtol=0, atol=1e-4)
    assert (ours - b.x0).abs().max() > 0.05


def test_a_bank_does_not_depend_on_the_batch_or_the_processes():
    b = batch(12)
    b.t.fill_(750)
    method = T2H(references="bank", estimate="expectation").aim(Context(COUNTS, SCHEDULE, null_label=6))
    expected = method(with_bank(b))
    torch.testing.assert_close(method(with_bank(b, others=12)), expected)
    torch.testing.assert_close(method(with_bank(rows_of(b, slice(0, 1)))), expected[:1])


def test_posterior_is_exact_at_every_noise():
    """Near-duplicates at every distance, at noise levels between them: float32 alone would miss by more than 1e-5."""
    generator = torch.Generator().manual_seed(0)
    x0 = (0.6 * torch.randn(8, 3, 32, 32, generator=generator)).clamp(-1, 1)
    near = [x0 + scale * torch.randn(x0.shape, generator=generator) for scale in (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)]
    references = torch.cat([x0, *near, torch.rand(100, 3, 32, 32, generator=generator) * 2 - 1])
    for t in (0, 10, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999):
        times, eps = torch.full((8,), t), torch.randn(x0.shape, generator=generator)
        noisy = x0.flatten(1).double() + SCHEDULE.sigma(times).unsqueeze(1) * eps.flatten(1).double()
        distance = (noisy.unsqueeze(1) - references.flatten(1).double()).square().sum(dim=2)
        exact = (distance / (-2 * SCHEDULE.sigma(times).square().unsqueeze(1))).softmax(dim=1)
        p = reference_posterior(x0, eps, references, times, SCHEDULE)
        halves = half_squares(references)
        assert (p - exact).abs().max() < 1e-5, t
        assert torch.equal(reference_posterior(x0, eps, references, times, SCHEDULE, halves=halves), p)
