"""Every image of a table is read once before it is used."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from t2h.data.decode import CHUNK, THREADS, EncodedImages, problem, unreadable
from t2h.data.table import MEMORY_BUDGET, ImageTable


def settled(table: ImageTable, budget: int = MEMORY_BUDGET) -> ImageTable:
    """The table after every image was decoded once, so that nothing unreadable can stop a training later.

    Images that need no more than ``budget`` bytes stay in memory; more are decoded again on access.

    Raises:
        UserError: naming every image that cannot be read.
    """
    lazy = table.images
    if not isinstance(lazy, EncodedImages):
        return table
    keep = int(np.prod(lazy.shape)) <= budget
    pixels = np.empty(lazy.shape if keep else (0,), np.uint8)

    def read(start: int) -> list[str]:
        """What is wrong with the images of a chunk, which are kept in ``pixels``."""
        problems = []
        for i in range(start, min(start + CHUNK, len(table))):
            try:
                image = lazy.decode(i)
                if keep:
                    pixels[i] = image
            except Exception as error:
                problems.append(problem(lazy.store.name(int(lazy.index[i])), error))
        return problems

    what = f"{table.name}: {'reading' if keep else 'checking'}"
    problems: list[str] = []
    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(table), desc=what, unit=" images", disable=None, leave=False) as progress,
    ):
        for found in pool.map(read, range(0, len(table), CHUNK)):
            problems += found
            progress.update(CHUNK)
    if problems:
        raise unreadable(problems, len(table))
    return replace(table, images=pixels) if keep else table
