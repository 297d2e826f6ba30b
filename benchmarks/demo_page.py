"""The table and result files of docs/demo.md, and its picture, from the runs of `t2h demo`.

python benchmarks/demo_page.py runs/demo
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from t2h.results.metrics import metric_of
from t2h.results.result import Result, read_result, write_result
from t2h.samples.grid import sample_grid
from t2h.samples.read import read_samples

DOCS = Path(__file__).parents[1] / "docs"
METHODS = {"ddpm": "DDPM", "t2h": "T2H"}
COLUMNS = (("fid", None), ("fid", "tail"), ("accuracy", None), ("recall_k3", None))
HEADER, GAP = 28, 24


def table(results: dict[str, Result]) -> str:
    """FID overall and of the tail, accuracy and recall at each w; the better of the two in bold."""
    titles = [metric_of(key).label + (f" of the {group}" if group else "") for key, group in COLUMNS]
    head = ["w", *(f"{title}, {name}" for title in titles for name in METHODS.values())]
    lines = [head, ["---:"] * len(head)]
    for w in (point.w for point in results["ddpm"].points):
        line = [f"{w:g}"]
        for key, group in COLUMNS:
            metric = metric_of(key)
            a, b = (results[method].at(w).get(key, group).value for method in METHODS)
            for value, other in ((a, b), (b, a)):
                text = metric.number(value)
                line.append(f"**{text}**" if metric.is_better(value, other) else text)
        lines.append(line)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(runs: Path) -> Image.Image:
    """The first 8 samples of each class at w = 1.5, DDPM at the left, T2H at the right; classes from head to tail."""
    grids = []
    for method in METHODS:
        samples = read_samples(runs / method / "samples" / "w_1.5").checked()
        names, counts = samples.class_names, samples.facts["class_counts"]
        grids.append(sample_grid(samples.images[:], samples.labels, names, counts, columns=8))
    size = (sum(grid.width for grid in grids) + 3 * GAP, grids[0].height + HEADER + GAP)
    canvas = Image.new("RGB", size, "white")
    draw, left = ImageDraw.Draw(canvas), GAP
    for name, grid in zip(METHODS.values(), grids, strict=True):
        canvas.paste(grid, (left, HEADER))
        draw.text((left + grid.width / 2, HEADER / 2), name, fill="black", font=ImageFont.load_default(15), anchor="mm")
        left += grid.width + GAP
    return canvas


if __name__ == "__main__":
    runs = Path(sys.argv[1])
    results = {method: read_result(runs / method / "results" / "reference.json") for method in METHODS}
    for method, result in results.items():
        write_result(replace(result, images={}), DOCS / "demo" / f"{method}.json")
    page = DOCS / "demo.md"
    page.write_text(re.sub(r"\| w \|(.*\n\|)+.*", table(results), page.read_text("utf-8")), encoding="utf-8")
    picture(runs).save(DOCS / "img" / "demo-grids.png", optimize=True)
