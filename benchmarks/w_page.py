"""The table and the pictures of docs/w-per-class.md, from the result files of the plans w-digits and w-fashion.

python benchmarks/w_page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

from t2h.report.axes import Line
from t2h.report.charts import line_chart
from t2h.results.metrics import GROUPS
from t2h.results.statistics import difference_by_seed

DOCS = Path(__file__).parents[1] / "docs"
TITLES = {"w-digits": "digits", "w-fashion": "Fashion-MNIST-LT"}
HEAD = (
    "data",
    "method",
    "seeds",
    "FID, one w",
    "a w for each class",
    "difference [95 %]",
    "FID of the tail",
    "near copies of the tail",
)

rows = [HEAD, ("---", "---", *("---:",) * (len(HEAD) - 2))]
for name, title in TITLES.items():
    cells = json.loads((DOCS / "benchmark" / f"{name}.json").read_text("utf-8"))["cells"]
    done = [cell for cell in cells if "points" in cell]
    curves = [cell["points"] for cell in done if cell["method"] == "ddpm"]
    ws = tuple(point["w"] for point in curves[0])
    lines = [
        Line(group, group, ws, tuple(mean(curve[i][f"fid {group}"] for curve in curves) for i in range(len(ws))))
        for group in GROUPS
    ]
    chart = line_chart(f"DDPM on {title}: FID of each group of classes", lines, "w", "{:g}".format, x_ticks=ws)
    (DOCS / "img" / f"{name}.svg").write_text(chart.file([(group, group) for group in GROUPS]), encoding="utf-8")
    for method in dict.fromkeys(cell["method"] for cell in done):
        one, each = (
            {cell["seed"]: cell["choice"][what] for cell in done if cell["method"] == method}
            for what in ("single", "mixture")
        )
        fids = [{seed: point["fid"] for seed, point in points.items()} for points in (one, each)]
        both = [
            " → ".join(f"{mean(point[key] for point in points.values()):.{digits}f}" for points in (one, each))
            for key, digits in (("fid tail", 2), ("memorisation tail", 3))
        ]
        means = [f"{mean(values.values()):.2f}" for values in fids]
        rows.append((title, f"`{method}`", str(len(one)), *means, difference_by_seed(*fids).text(2), *both))
print("\n".join(f"| {' | '.join(row)} |" for row in rows))
