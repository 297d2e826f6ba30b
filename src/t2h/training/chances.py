"""The chance that T2H aims at another image, by t, before anything is trained (Figure 7 of its paper)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from PIL import Image

from t2h.data.batches import BatchStream
from t2h.data.groups import head_to_tail
from t2h.data.table import ImageTable
from t2h.methods.base import Batch, Context
from t2h.methods.posterior import half_squares
from t2h.methods.t2h import T2H, OrientedAim
from t2h.methods.window import IMAGES, TransferChances, transfer_chances
from t2h.process import Process
from t2h.randomness import generator
from t2h.results.table import Cell, Table
from t2h.results.table import table as table_of
from t2h.samples.grid import enlarged, picture

NOISED = 128  # images a batch


class Aims:
    """Where T2H would aim, of images of a table and references that are drawn from it; gate and prior count."""

    def __init__(self, table: ImageTable, process: Process, options: T2H) -> None:
        self.table, self.process = table, process
        self.aim = OrientedAim(options, Context(torch.from_numpy(table.class_counts), process, None))
        self.stream = BatchStream(table, torch.device("cpu"), 0, flip=False)

    def chances(self, references: int) -> TransferChances:
        """The chances with so many references, the image itself included."""
        batches = [self._batch(references, k) for k in range(IMAGES // NOISED)]
        return transfer_chances(self.aim.mass, batches, self.process.num_timesteps)

    def _batch(self, references: int, k: int) -> Batch:
        """A batch of so many references, of which some are noised; or all of them several times, if they are few."""
        x0, y = self.stream.references(k, references)
        own = torch.arange(NOISED) % references
        batch = Batch.noised(self.process, x0[own], y[own], generator("cpu", 0, "inspect", k), None)
        return replace(batch, reference_x0=x0, reference_y=y, own=own, halves=half_squares(x0))

    def examples(self, references: int, window: tuple[int, int]) -> Image.Image:
        """Five images at five t around a window, each as noisy, own and drawn clean image; from head to tail."""
        batch, (begin, end) = self._batch(references, 0), window
        first = {int(c): i for i, c in reversed(list(enumerate(batch.y)))}
        order = [c for c in head_to_tail(self.table.class_counts).tolist() if c in first]
        rows = torch.tensor([first[order[k * (len(order) - 1) // 4]] for k in range(5)])
        tiles, texts = [], []
        for share in (-0.5, 0.0, 0.5, 1.0, 1.5):
            at = min(max(begin + share * (end - begin), 1.0), self.process.num_timesteps - 1.0)
            t = torch.full(batch.t.shape, at)
            xt = self.process.add_noise(batch.x0, batch.eps, t)
            drawn = self.aim(replace(batch, t=t, xt=xt))
            triples = torch.cat([xt[rows], batch.x0[rows], drawn[rows]], dim=3)
            tiles.append(enlarged(triples.add(1).mul(127.5).round().clamp(0, 255).byte().numpy(), 48))
            texts.append(f"t = {at:.0f}")
        return picture(tiles, texts, gap=6)


def tables(found: Mapping[int, TransferChances], low: float, high: float) -> list[Table]:
    """The chances at some t by the number of references, and the windows in which they are within two bounds."""
    times = next(iter(found.values())).t[1::3]
    head = ["references", *(Cell(f"t = {t:.3g}", (f"same at {t:.3g}", f"other at {t:.3g}")) for t in times)]
    rows: list[list[object]] = []
    for n, chances in found.items():
        pairs = list(zip(chances.within, chances.across, strict=True))[1::3]
        rows.append([n, *(Cell(f"{same:.0%} + {other:.0%}", (same, other)) for same, other in pairs)])
    title = "chance that T2H aims at another image, of the same class + of another"
    by_t = table_of(head, rows, title)
    windows = [(n, *chances.window(low, high)) for n, chances in found.items()]
    rows = [[n, Cell(f"--t2h.t-min {a} --t2h.t-max {b}", (a, b))] for n, a, b in windows]
    title = f"windows in which the chance of another class is within {low:g} and {high:g}"
    return [by_t, table_of(["references", Cell("options", ("t_min", "t_max"))], rows, title)]
