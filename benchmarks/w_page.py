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
from t2h.results.statistics import Difference

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
    content = json.loads((DOCS / "benchmark" / f"{name}.json").read_text("utf-8"))
    curves = [cell["points"] for cell in content["cells"] if cell["method"] == "ddpm" and "points" in cell]
    ws = tuple(point["w"] for point in curves[0])
    lines = [
        Line(group, group, ws, tuple(mean(curve[i][f"fid {group}"] for curve in curves) for i in range(len(ws))))
        for group in GROUPS
    ]
    chart = line_chart(f"DDPM on {title}: FID of each group of classes", lines, "w", "{:g}".format, x_ticks=ws)
    (DOCS / "img" / f"{name}.svg").write_text(chart.file([(group, group) for group in GROUPS]), encoding="utf-8")
    parts = {part["choice"]: part for part in content["tables"]}
    means = {
        (what, row["method"], entry["metric"], entry["group"]): entry["mean"]
        for what in ("single", "mixture")
        for row in parts[what]["rows"]
        for entry in row["metrics"]
    }
    for gain in parts["mixture"]["gains"]:
        method, own = gain["method"], Difference(**gain["own"])
        fid, tail, copies = (
            [f"{means[what, method, metric, group]:.{digits}f}" for what in ("single", "mixture")]
            for metric, group, digits in (("fid", None, 2), ("fid", "tail", 2), ("memorisation", "tail", 3))
        )
        texts = *fid, own.text(2), " → ".join(tail), " → ".join(copies)
        rows.append((title, f"`{method}`", str(own.n), *texts))
print("\n".join(f"| {' | '.join(row)} |" for row in rows))
