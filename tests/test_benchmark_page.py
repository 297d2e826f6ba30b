"""The page of a benchmark: valid, self-contained, escaped, with the curves and tables of its results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from t2h.benchmark.table import summarise
from t2h.benchmark.write import page
from t2h.results.transfer import Transfer
from test_benchmark_table import made
from test_report import Page

EVIL = '<script>alert("1")</script>'


def test_page(tmp_path: Path) -> None:
    plan, results = made()
    plan = replace(plan, about=EVIL)
    moved = Transfer("d-0.1", EVIL, (0.0, 500.0, 1000.0), (10.0, 10.0), (1.0, 2.0), (0.0, 4.0))
    (tmp_path / "plain.html").write_text(page(plan, summarise(plan, results, [moved]), results, {}))
    shown = Page(tmp_path / "plain.html")
    assert "<script" not in shown.source
    assert shown.text.count(EVIL) >= 2
    assert shown.headings == ["d-0.1"]
    assert "3 methods, 3 seeds" in shown.text
    assert "At w = 1.5: mean ± standard deviation" in shown.text
    described = shown.source.split("FID over w")[2].split("<desc>")[1].split("</desc>")[0]
    assert "ddpm: 22 at 0, 12 at 1.5" in described, "the mean over the seeds"
    assert "0 % at 250, 40 % at 750" in shown.text, "shares of another class"


def test_link_to_the_report(tmp_path: Path) -> None:
    plan, results = made()
    text = page(plan, summarise(plan, results), results, {"d-0.1": Path('d-0.1/re"port.html')})
    assert 'href="d-0.1/re&#34;port.html"' in text
