"""Any image data set of the Hugging Face Hub that has one image and one label per row."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from t2h.data.encoded import encoded
from t2h.data.sources.base import Request
from t2h.data.table import ImageTable
from t2h.errors import UserError

_IMAGE_NAMES, _LABEL_NAMES = ("image", "img"), ("label", "labels", "fine_label")


@dataclass(frozen=True, eq=False)
class EncodedColumn(Sequence):
    """The image files of a `datasets.Dataset` column that was cast to ``Image(decode=False)``."""

    column: Any

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, i: Any) -> Any:
        (cell,) = self.column[i].values()
        return cell["path"] if cell["bytes"] is None else io.BytesIO(cell["bytes"])


def read(request: Request) -> ImageTable:
    """``hub:DATASET`` or ``hub:DATASET:CONFIGURATION``, from the Hub or its cache on this machine.

    Raises:
        UserError: if `datasets` is not installed, the data set cannot be had, or it is not labelled images.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{request.data} needs the datasets package: pip install datasets.") from error
    if request.root is not None:
        raise UserError(f"{request.data} comes from the Hub, so root {request.root} has no use; leave it out.")
    name, _, configuration = request.data.removeprefix("hub:").partition(":")
    try:
        dataset = datasets.load_dataset(name, configuration or None, split=request.split)
    except Exception as error:  # the Hub, its client and the builders raise what they like
        raise UserError(f"{request.data}, split {request.split!r}: {str(error).splitlines()[0]}") from error
    return table_of(dataset, name.rsplit("/", 1)[-1], request)


def table_of(dataset: Any, name: str, request: Request) -> ImageTable:
    """The table of a `datasets.Dataset`: its `Image` column and its `ClassLabel` column, whose names are the classes.

    Of several columns, ``image`` or ``img`` and ``label``, ``labels`` or ``fine_label`` are taken.

    Raises:
        UserError: if there is no such column, or several and none with these names.
    """
    import datasets

    image = _column(dataset.features, datasets.Image, _IMAGE_NAMES, name)
    label = _column(dataset.features, datasets.ClassLabel, _LABEL_NAMES, name)
    labels = np.asarray(dataset.select_columns([label])[:][label], dtype=np.int64)
    files = EncodedColumn(dataset.select_columns([image]).cast_column(image, datasets.Image(decode=False)))
    images = encoded(files, name, request.image_size, request.channels, request.white)
    return ImageTable(images, labels, tuple(dataset.features[label].names), split=request.split, name=name)


def _column(features: Any, kind: type, preferred: tuple[str, ...], data: str) -> str:
    found = [column for column, feature in features.items() if isinstance(feature, kind)]
    named = [column for column in preferred if column in found]
    if named or len(found) == 1:
        return (named or found)[0]
    what = f"several {kind.__name__} columns ({', '.join(found)})" if found else f"no {kind.__name__} column"
    raise UserError(
        f"{data}: {what} among {', '.join(features)}; one is needed. Save the images as a folder or .npz instead."
    )
