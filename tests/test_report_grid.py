"""Grids of samples: rows from head to tail, pixels untouched, labels at the left."""

from __future__ import annotations

import numpy as np
import pytest

from t2h import UserError
from t2h.samples.grid import sample_grid

LABELS = np.array([0, 1, 2, 2, 1, 2], dtype=np.int64)
IMAGES = np.broadcast_to(np.arange(10, 70, 10, dtype=np.uint8)[:, None, None, None], (6, 4, 5, 3)).copy()


def test_plain_grid_is_the_pixels_in_order_of_frequency() -> None:
    grid = np.asarray(sample_grid(IMAGES, LABELS, ["a", "b", "c"], [5, 50, 5], columns=2, row_labels=False, gap=1))
    assert grid.shape == (3 * 4 + 2, 2 * 5 + 1, 3)
    corners = grid[::5, ::6, 0].tolist()
    assert corners == [[20, 50], [10, 255], [30, 40]]  # b, then a and c in the order of their labels
    assert np.array_equal(grid[5:9, :5], IMAGES[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_layouts_agree(channels: int) -> None:
    images = IMAGES[..., :channels]
    a = sample_grid(images, LABELS, ["a", "b", "c"], np.array([3, 2, 1]), columns=3)
    b = sample_grid(images.transpose(0, 3, 1, 2), LABELS, ["a", "b", "c"], np.array([3, 2, 1]), columns=3)
    assert a.tobytes() == b.tobytes()


def test_labels_have_their_own_margin_and_tiny_images_grow() -> None:
    short = sample_grid(IMAGES, LABELS, ["a", "b", "c"], [3, 2, 1], columns=3)
    long = sample_grid(IMAGES, LABELS, ["a very long class name", "b", "c"], [3, 2, 1], columns=3)
    assert short.height == long.height == 3 * 32 + 2 * 2
    assert long.width > short.width + 80
    right = 3 * 40 + 2 * 2
    assert (
        short.crop((short.width - right, 0, *short.size)).tobytes()
        == long.crop((long.width - right, 0, *long.size)).tobytes()
    )
    assert np.asarray(long)[:, : long.width - right].min() < 100, "the label is drawn"


def test_empty_classes_have_no_row() -> None:
    grid = sample_grid(IMAGES, LABELS, ["a", "b", "c", "d"], [1, 1, 1, 0], columns=1, row_labels=False, gap=0)
    assert grid.size == (5, 12)


@pytest.mark.parametrize(
    ("images", "labels", "names", "counts", "columns", "message"),
    [
        (IMAGES, LABELS, ["a", "b", "c"], [1, 1, 1], 0, "6 images in 0 columns"),
        (IMAGES[:0], LABELS[:0], ["a"], [1], 1, "0 images in 1 columns"),
    ],
)
def test_what_does_not_fit_is_told(images, labels, names, counts, columns, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=message):
        sample_grid(images, labels, names, counts, columns)
