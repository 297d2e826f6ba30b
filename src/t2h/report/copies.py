"""The page of `t2h inspect samples`: samples beside their nearest training images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from t2h.data.table import ImageTable
from t2h.evaluation.copies import ClassCopies, copies_table
from t2h.report.pictures import Picture, address, class_label
from t2h.report.templates import render
from t2h.results.result import ClassTable
from t2h.results.table import as_html
from t2h.samples.grid import as_picture
from t2h.samples.read import SampleSet

SHOWN = 12  # pairs of a class
_SIDE = 128  # pixels of a picture


def copies_page(found: Sequence[ClassCopies], samples: SampleSet, data: ImageTable) -> str:
    """One self-contained page: the table, and for each class the pairs that are most alike."""
    classes = ClassTable(data.class_names, tuple(data.class_counts.tolist()))
    views = []
    for each in reversed(found):
        if each.found is None:
            continue
        order = np.argsort(each.found.ratio, kind="stable")[:SHOWN]
        real = data.images[each.training[each.found.index[order]]]
        pairs = []
        for i, ours, theirs in zip(order, samples.images[each.rows[order]], real, strict=True):
            mirrored = bool(each.found.mirrored[i])
            pair = {
                "sample": _picture(ours, f"Sample of {each.name}"),
                "real": _picture(theirs[..., ::-1] if mirrored else theirs, "Its nearest training image"),
                "text": f"{each.found.ratio[i]:.2f}{' mirrored' * mirrored}",
                "near": bool(each.found.near[i]),
            }
            pairs.append(pair)
        label = {"name": each.name, "images": f"{len(each.training):,} images", "group": ""}
        views.append({"label": label if each.label is None else class_label(classes, each.label), "pairs": pairs})
    title = f"Are they copies? {samples.path.resolve().name} and {data.name}"
    return render("report/copies.html.j2", title=title, table=as_html(copies_table(found)), rows=views)


def _picture(image: Any, alt: str) -> Picture:
    picture = as_picture(image)
    picture.thumbnail((_SIDE, _SIDE))
    return Picture(address(picture), alt, picture.height <= 64)
