"""The order of images follows from the seed; processes share it; resampling draws what it says."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
import torch

from t2h import UserError
from t2h.data import ImageTable
from t2h.data.batches import BatchStream, Order, Share
from t2h.data.encoded import settled

CPU = torch.device("cpu")
LABELS = np.repeat(np.arange(3), [60, 30, 10]).astype(np.int64)


def table(n: int = 20, size: int = 4) -> ImageTable:
    """Images that know their row: every pixel of the left half is the row number, of the right half 255."""
    images = np.full((n, 1, size, size), 255, dtype=np.uint8)
    images[:, :, :, : size // 2] = np.arange(n, dtype=np.uint8)[:, None, None, None]
    return ImageTable(images, np.arange(n, dtype=np.int64) % 2, ("a", "b"))


def take(stream: BatchStream, start: int, share: Share, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(itertools.islice(stream.batches(start, share), count))
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def test_each_epoch_is_a_permutation_and_the_next_one_another():
    order = Order(LABELS, seed=3)
    first, second = order.rows(0, 100), order.rows(100, 100)
    assert sorted(first) == sorted(second) == list(range(100))
    assert not np.array_equal(first, second)


def test_any_slice_of_the_sequence_is_the_same():
    order = Order(LABELS, seed=3)
    whole = order.rows(0, 450)
    for start, count in ((0, 1), (95, 10), (99, 301), (440, 10)):
        np.testing.assert_array_equal(order.rows(start, count), whole[start : start + count])
    assert not np.array_equal(Order(LABELS, seed=4).rows(0, 450), whole)


@pytest.mark.parametrize(("power", "share"), [(1.0, [0.6, 0.3, 0.1]), (0.5, None), (0.0, [1 / 3] * 3)])
def test_resampling_draws_classes_by_their_counts_to_the_power(power, share):
    rows = Order(LABELS, seed=0, power=power).rows(0, 60_000)
    expected = np.array([60, 30, 10]) ** power / (np.array([60, 30, 10]) ** power).sum() if share is None else share
    np.testing.assert_allclose(np.bincount(LABELS[rows]) / 60_000, expected, atol=0.01)


def test_resampling_never_draws_an_empty_class():
    rows = Order(np.array([0, 0, 2, 2, 2]), seed=0, power=0.0).rows(0, 1000)
    assert set(rows) == {0, 1, 2, 3, 4}


def test_processes_share_the_sequence():
    """Two processes of four images see what one process of eight sees, and in the same order."""
    one = BatchStream(table(), CPU, seed=0, flip=False)
    x, y = take(one, 16, Share(8), 3)
    parts = [take(BatchStream(table(), CPU, seed=0, flip=False), 16, Share(4, rank, 2), 3) for rank in range(2)]
    woven = torch.stack([part[0].reshape(3, 4, 1, 4, 4) for part in parts], dim=1).reshape(24, 1, 4, 4)
    assert torch.equal(woven, x)
    assert torch.equal(torch.stack([part[1].reshape(3, 4) for part in parts], dim=1).reshape(24), y)


def test_a_stream_that_starts_later_goes_on():
    stream = BatchStream(table(), CPU, seed=0)
    whole, resumed = take(stream, 0, Share(8), 6), take(stream, 24, Share(8), 3)
    assert torch.equal(whole[0][24:], resumed[0])
    assert torch.equal(whole[1][24:], resumed[1])


def test_pixels_and_labels_stay_together_and_become_minus_1_to_1():
    x, y = take(BatchStream(table(), CPU, seed=0, flip=False), 0, Share(20), 1)
    row = ((x[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert sorted(row.tolist()) == list(range(20))
    assert torch.equal(row % 2, y)
    assert x.max() == 1
    assert x.min() == -1


def test_half_of_the_images_are_mirrored_and_only_mirrored():
    x, _ = take(BatchStream(table(), CPU, seed=0), 0, Share(20), 50)
    mirrored = x[:, 0, 0, 0] == 1
    assert 0.44 < mirrored.float().mean() < 0.56
    assert torch.equal(x[mirrored, 0, 0, -1] < 1, torch.ones(int(mirrored.sum()), dtype=torch.bool))


@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_are_the_resident_ones(workers):
    resident = BatchStream(table(), CPU, seed=0)
    streamed = BatchStream(table(), CPU, seed=0, resident_bytes=0, workers=workers)
    assert resident.resident
    assert not streamed.resident
    assert "streamed by" in streamed.describe()
    for a, b in zip(take(resident, 8, Share(4, 1, 2), 4), take(streamed, 8, Share(4, 1, 2), 4), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("start", ["spawn", "forkserver"])
def test_workers_may_be_started_in_any_way(start):
    """macOS and Windows spawn processes, Python 3.14 forks a server: what workers get is pickled."""
    before = torch.multiprocessing.get_start_method()
    streamed = BatchStream(table(), CPU, seed=0, resident_bytes=0, workers=1)
    resident = BatchStream(table(), CPU, seed=0)
    assert streamed.order.rows(0, 40).tolist() == resident.order.rows(0, 40).tolist()  # used before it is pickled
    torch.multiprocessing.set_start_method(start, force=True)
    try:
        for a, b in zip(take(resident, 8, Share(4), 12), take(streamed, 8, Share(4), 12), strict=True):
            assert torch.equal(a, b)
    finally:
        torch.multiprocessing.set_start_method(before, force=True)


def test_a_set_that_is_kept_in_memory_is_not_copied():
    shared = BatchStream(images := table(), CPU, seed=0)
    assert np.shares_memory(shared._images.numpy(), images.images)
    images.images.flags.writeable = False
    assert take(BatchStream(images, CPU, seed=0), 0, Share(4), 1)[0].shape == (4, 1, 4, 4)


def test_what_is_kept_in_memory_is_kept_on_the_device():
    """One limit: with two, the sets between them were decoded twice."""
    limits = [inspect.signature(f).parameters for f in (settled, BatchStream)]
    assert limits[0]["budget"].default == limits[1]["resident_bytes"].default


def test_no_images_at_all():
    with pytest.raises(UserError, match="no image"):
        Order(np.empty(0, dtype=np.int64), seed=0)


def test_others_come_from_their_own_sequence_with_their_labels_for_every_process():
    stream = BatchStream(table(), CPU, seed=0, flip=False)
    parts = [stream.references(k, 8) for k in range(5)]
    x, y = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    row = ((x[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert torch.equal(row % 2, y)
    for epoch in (row[:20], row[20:]):
        assert sorted(epoch.tolist()) == list(range(20))
    batch = take(stream, 0, Share(8), 1)[0]
    assert not torch.equal(batch, parts[0][0])
    again = BatchStream(table(), CPU, seed=0, flip=False, resident_bytes=0, workers=0).references(3, 8)
    assert torch.equal(again[0], parts[3][0])
    assert torch.equal(again[1], parts[3][1])
    flipping = BatchStream(table(), CPU, seed=0)
    a, b = flipping.references(0, 20)[0], stream.references(0, 20)[0]
    mirrored = (a != b).flatten(1).any(dim=1)
    assert 4 < mirrored.sum() < 16
    assert torch.equal(a[mirrored], b[mirrored].flip(-1))
    assert torch.equal(flipping.references(0, 20)[0], a)


def test_references_of_all_classes_alike():
    images = ImageTable(np.zeros((100, 1, 2, 2), np.uint8), LABELS, ("a", "b", "c"))
    stream = BatchStream(images, CPU, seed=0)
    y = torch.cat([stream.references(k, 100, balanced=True)[1] for k in range(30)])
    np.testing.assert_allclose(y.bincount() / 3000, [1 / 3] * 3, atol=0.03)
    np.testing.assert_allclose(stream.references(0, 100)[1].bincount() / 100, [0.6, 0.3, 0.1])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("resident", "power"), [(4 << 30, 1.0), (4 << 30, 0.5), (2**14, 1.0)])
def test_everything_holds_each_batch_where_it_says(flip, resident, power):
    stream = BatchStream(table(), CPU, seed=0, power=power, flip=flip, resident_bytes=resident)
    x0, y = stream.everything()
    assert len(x0) == len(y) == 20 * (1 + flip)
    own = []
    for rank in (0, 1):
        share = Share(4, rank, 2)
        x, labels = take(stream, 16, share, 3)
        rows = torch.cat([stream.own(16 + 8 * k, share) for k in range(3)])
        assert torch.equal(x0[rows], x)
        assert torch.equal(y[rows], labels)
        own.append(rows)
    assert (torch.cat(own) >= 20).any() == flip


def test_everything_must_fit():
    with pytest.raises(UserError, match=r"with their mirror images; --resident-gib allows"):
        BatchStream(table(), CPU, seed=0, resident_bytes=1000).everything()
