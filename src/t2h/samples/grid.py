"""Grids of sample images: one row for each class, from the most frequent to the rarest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from t2h.data.groups import head_to_tail
from t2h.errors import UserError

_INK, _PAPER = (40, 42, 48), (255, 255, 255)


def sample_grid(
    images: UInt8[np.ndarray, "n a b c"],
    labels: Int[np.ndarray, " n"],
    class_names: Sequence[str],
    class_counts: Sequence[int] | Int[np.ndarray, " k"],
    columns: int = 10,
    row_labels: bool = True,
    gap: int = 2,
) -> Image.Image:
    """The first ``columns`` images of each class as one picture, rows from head to tail.

    Args:
        images: uint8 (N, H, W, C) or (N, C, H, W), C = 1 or 3.
        labels: the class of each image, 0 ... K-1.
        class_names: the K names.
        class_counts: the K numbers of training images; they order the rows. Classes of equal count keep their order.
        row_labels: write "name · count" at the left of each row. Without, the picture is the bare grid of pixels.
        gap: white pixels between images.

    Beside row labels, tiny images are enlarged by a whole factor to 32 pixels or more, so that the labels can be
    read. A class without an image gets no row.

    Raises:
        UserError: if there is no image or no column.
    """
    counts = [int(count) for count in class_counts]
    if not len(images) or columns < 1:
        raise UserError(f"a grid of {len(images)} images in {columns} columns; at least one of each is needed.")
    tiles = enlarged(images, 32 if row_labels else 1)
    order = [c for c in head_to_tail(counts).tolist() if np.any(labels == c)]
    rows = [tiles[np.flatnonzero(labels == c)[:columns]] for c in order]
    texts = [f"{class_names[c]} · {counts[c]:,}" for c in order] if row_labels else []
    return picture(rows, texts, gap)


def as_uint8(images: np.ndarray) -> UInt8[np.ndarray, ...]:
    """In 8 bits: uint8 as it is, floats in [0, 1] rounded."""
    return images if images.dtype == np.uint8 else (images * 255).round().astype(np.uint8)


def as_picture(image: UInt8[np.ndarray, "c h w"] | Float[np.ndarray, "c h w"]) -> Image.Image:
    """One image, uint8 or floats in [0, 1], in RGB or grey."""
    pixels = as_uint8(image)
    return Image.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))


def enlarged(images: UInt8[np.ndarray, "n a b c"], height: int) -> UInt8[np.ndarray, "n h w 3"]:
    """RGB (N, H, W, 3) of either layout, by a whole factor so large that H is ``height`` or more; (N, H, W, C) is
    preferred where both layouts would do.
    """
    if images.shape[-1] not in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    zoom = -(-height // images.shape[1])
    return np.broadcast_to(images, (*images.shape[:3], 3)).repeat(zoom, axis=1).repeat(zoom, axis=2)


def picture(rows: Sequence[UInt8[np.ndarray, "_ h w 3"]], texts: Sequence[str] = (), gap: int = 2) -> Image.Image:
    """Rows of images, each with its text at the left, if there are texts."""
    height, width = rows[0].shape[1:3]
    font = ImageFont.load_default(size=13)
    margin = max((int(font.getlength(text)) for text in texts), default=0) + 14 if texts else 0
    columns = max(map(len, rows))
    size = (margin + columns * (width + gap) - gap, len(rows) * (height + gap) - gap)
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, row in enumerate(rows):
        top = i * (height + gap)
        if texts:
            draw.text((margin - 8, top + height / 2), texts[i], fill=_INK, font=font, anchor="rm")
        for j, tile in enumerate(row):
            canvas.paste(Image.fromarray(np.ascontiguousarray(tile)), (margin + j * (width + gap), top))
    return canvas
