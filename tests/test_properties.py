"""What holds for any input: hypothesis looks for one for which it does not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from objective_tools import NETWORK
from t2h import NoiseSchedule, T2HPipeline, reference_posterior
from t2h.data.batches import Order, Share
from t2h.data.longtail import long_tail_indices, profile_counts
from t2h.features.base import extract
from t2h.features.load import CallableFeatures
from t2h.metrics.fid import feature_statistics
from t2h.network import build_network, network_config
from t2h.samples.draw import Wanted, draw_array
from t2h.sampling import Sampling

properties = settings(
    derandomize=True, max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
PROFILES = st.sampled_from(["exp", "step", "pareto"])
IMBALANCES = st.floats(1e-4, 1)
SEEDS = st.integers(0, 2**32 - 1)


@properties
@given(st.integers(1, 50), st.integers(1, 400), IMBALANCES, PROFILES)
def test_a_profile_falls_from_head_to_tail(classes: int, each: int, imbalance: float, profile: str) -> None:
    counts = profile_counts(classes * each, classes, imbalance, profile)
    assert len(counts) == classes
    assert counts[0] == each
    assert list(counts) == sorted(counts, reverse=True)
    assert classes == 1 or counts[-1] == int(each * imbalance**1.0)
    if profile == "step":
        assert list(counts).count(each) >= max(classes // 2, 1)
        assert classes == 1 or list(counts).count(int(each * imbalance)) >= classes - classes // 2


@properties
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(any), IMBALANCES, PROFILES, SEEDS)
def test_a_long_tail_takes_rows_of_each_class_once(sizes: list[int], imbalance: float, profile: str, seed: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = long_tail_indices(labels, imbalance, profile, seed, len(sizes))
    wanted = np.minimum(profile_counts(sum(sizes), len(sizes), imbalance, profile), sizes)
    assert len(set(rows.tolist())) == len(rows)
    np.testing.assert_array_equal(np.bincount(labels[rows], minlength=len(sizes)), wanted)
    one, other = (set(long_tail_indices([0] * 60, seed=each, counts=[30]).tolist()) for each in (seed, seed ^ 1))
    assert one != other != set(range(30)) != one  # any two are the same in 1 of 10¹⁷ cases


def exact(x: np.ndarray, references: np.ndarray, sigma: float) -> np.ndarray:
    """softmax_j of -‖x - x_0^j‖² / 2σ², in float64."""
    logits = -((x[:, None] - references[None]) ** 2).sum(-1) / (2 * sigma**2)
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


@properties
@given(st.integers(1, 5), st.integers(1, 9), st.one_of(st.integers(0, 20), st.integers(0, 999)), SEEDS)
def test_a_posterior_is_bayes_rule_in_any_order(rows: int, others: int, time: int, seed: int) -> None:
    schedule, draw = NoiseSchedule(), torch.Generator().manual_seed(seed)
    references = torch.rand(rows + others, 1, 9, 9, generator=draw) * 2 - 1
    near = references[
        : min(rows, others)
    ]  # almost the same image twice: what float32 alone cannot tell at little noise
    references[rows : rows + len(near)] = near + torch.randn(near.shape, generator=draw) * 0.003
    x0, eps, t = references[:rows], torch.randn(rows, 1, 9, 9, generator=draw), torch.full((rows,), time)
    p = reference_posterior(x0, eps, references, t, schedule)
    torch.testing.assert_close(p.sum(1), torch.ones(rows))
    sigma = float(schedule.sigma(t)[0])
    noisy = (x0.double() + sigma * eps.double()).flatten(1).numpy()
    np.testing.assert_allclose(p, exact(noisy, references.double().flatten(1).numpy(), sigma), atol=1e-5)
    order, mixed = torch.randperm(rows + others, generator=draw), torch.randperm(rows, generator=draw)
    moved = reference_posterior(x0[mixed], eps[mixed], references[order], t, schedule)
    torch.testing.assert_close(moved, p[mixed][:, order], atol=1e-5, rtol=0)


@properties
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=40),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([1, 2, 3, 6]),
    st.integers(0, 9),
    SEEDS,
)
def test_the_order_of_images_is_one_sequence(labels: list[int], q: float, world: int, resumed: int, seed: int) -> None:
    """Whatever the number of processes, and wherever a run goes on."""
    classes = np.asarray(labels, np.int64)
    whole, size = Order(classes, seed, q).rows(0, 12 * 10), 12 // world
    start = 12 * resumed
    orders = [Order(classes, seed, q) for _ in range(world)]
    parts = [
        orders[rank].rows(start + Share(size, rank, world).offset(k), size)
        for k in range(10 - resumed)
        for rank in range(world)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole[start:])
    np.testing.assert_array_equal(orders[0].rows(0, 12), whole[:12])  # also back to the first
    other, n = Order(classes, seed + 1, q).rows(0, 120), len(labels)
    if 12 <= n <= 40:
        assert (other != whole).any()
        assert (whole[:n] != whole[n : 2 * n]).any()
    if q == 1:
        for epoch in range(120 // len(labels)):
            there = whole[epoch * len(labels) : (epoch + 1) * len(labels)]
            np.testing.assert_array_equal(np.sort(there), np.arange(len(labels)))


@settings(properties, max_examples=10)
@given(st.lists(st.integers(0, 4), min_size=20, max_size=40), st.sampled_from([0.0, 0.5, 1.0]), SEEDS)
def test_classes_are_drawn_as_often_as_they_are_asked(labels: list[int], q: float, seed: int) -> None:
    classes = np.asarray(labels, np.int64)
    count, rows = np.bincount(classes), Order(classes, seed, q).rows(0, 8_000 // len(labels) * len(labels))
    drawn = np.bincount(classes[rows]) / len(rows)
    wanted = np.where(count > 0, count**q, 0) / (count[count > 0] ** q).sum()
    np.testing.assert_allclose(drawn, wanted, atol=0.03)  # five times the standard deviation


@properties
@given(st.integers(2, 40), st.integers(1, 12), st.lists(st.integers(0, 40), max_size=4), st.floats(-1e3, 1e3), SEEDS)
def test_statistics_of_any_parts_are_those_of_all(
    count: int, batch_size: int, cuts: list[int], offset: float, seed: int
) -> None:
    """However the images reach the features, and however far from 0 these lie."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 1, 2, 2), dtype=np.uint8)
    see = CallableFeatures(lambda pixels: pixels.flatten(1) + offset, "pixels", "", "cpu")
    whole = images.reshape(count, -1).astype(np.float64) / 255 + offset
    parts = [part for part in np.split(images, sorted(min(cut, count) for cut in cuts)) if len(part)]
    features = np.concatenate([extract(part, see, batch_size) for part in parts])
    np.testing.assert_allclose(features, whole, rtol=1e-6, atol=1e-6)
    for seen in (features, np.repeat(features, 20_000 // count, axis=0)):  # few, and more than are taken at once
        found, exact = feature_statistics(seen), seen.astype(np.float64)
        assert found.n == len(seen)
        np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(exact, rowvar=False), rtol=1e-9, atol=1e-10)


@settings(properties, max_examples=6)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=6, unique=True), st.integers(1, 4)
)
def test_image_k_of_a_class_is_the_same_whatever_is_drawn_beside_it(
    pairs: list[tuple[int, int]], batch_size: int
) -> None:
    network = build_network(network_config(json.dumps(NETWORK), 4, 1, 8)).eval()
    pipeline, sampling = T2HPipeline(network, NoiseSchedule().ddim_scheduler()), Sampling(steps=2, seed=3)
    wanted = Wanted(*map(np.asarray, zip(*pairs, strict=True)))
    drawn = draw_array(pipeline, wanted, sampling, batch_size, False)
    for pair, image in zip(pairs, drawn, strict=True):
        alone = draw_array(pipeline, Wanted(*(np.asarray([part]) for part in pair)), sampling, 250, False)[0]
        assert np.abs(image.astype(int) - alone).max() <= 1  # other batches may round otherwise
    other = draw_array(pipeline, wanted, replace(sampling, seed=4), batch_size, False)
    assert len({image.tobytes() for image in (*drawn, *other)}) == 2 * len(pairs)
