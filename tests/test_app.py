"""The explorer draws what `t2h sample` draws, and its page works in a browser, by mouse and by keyboard."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2h import UserError
from t2h.app.explorer import Drawn, Model, command, guidance_grid, save
from t2h.cli import main
from t2h.samples.draw import draw_array
from t2h.samples.read import read_samples
from t2h.sampling import Sampling


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("app") / "my run"
    words = (
        "train --data digits --imbalance 0.05 --network digits --steps 3 --batch-size 8 --grid-every None --device cpu"
    )
    assert main([*words.split(), "--sampling.steps", "3", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def model(run) -> Model:
    return Model(run)


def last(model: Model, classes: list[int], per_class: int, sampling: Sampling) -> Drawn:
    *_, drawn = model.draw(model.wanted(classes, per_class), sampling)
    return drawn


def test_images_appear_a_few_at_a_time(model):
    states = list(model.draw(model.wanted([0, 9], 6), model.pipeline.sampling))
    assert [len(state.images) for state in states] == [8, 12]
    assert states[0].progress.startswith("8 of 12 images, ")
    assert states[1].progress.startswith("12 images in ")
    assert np.array_equal(states[0].images, states[1].images[:8])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"w": 2.5, "seed": 7},
        {"w_table": {"9": 3.0, "1": 0.0}, "w_interval": (0.2, 0.9), "steps": 2},
        {"w_power": 0.5, "scheduler": "ddim", "clip_sample": False},
    ],
)
def test_the_command_line_draws_the_same_images(model, tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    sampling = replace(model.pipeline.sampling, **changes)
    drawn = last(model, [1, 9], 2, sampling)
    program, *words = shlex.split(command(model, [1, 9], 2, sampling))
    assert program == "t2h"
    assert main(words) == 0
    stored = read_samples(tmp_path / "my run.npz")
    ours = drawn.images.transpose(0, 3, 1, 2).astype(int)
    assert np.abs(stored.images[:].astype(int) - ours).max() <= 1  # batches of other sizes round otherwise
    assert stored.labels.tolist() == [1, 1, 9, 9]
    save(model, drawn, tmp_path / "ours.npz")
    assert read_samples(tmp_path / "ours.npz").facts.items() <= stored.facts.items()
    save(model, drawn, tmp_path / "ours.png")
    with Image.open(tmp_path / "ours.png") as picture:
        assert json.loads(picture.text["t2h"])["w"] == sampling.w


def test_the_last_step_of_denoising_is_the_image(model):
    sampling = model.pipeline.sampling
    frames = model.denoising(3, 1, sampling)
    assert [t for t, _ in frames] == sorted((t for t, _ in frames), reverse=True)
    assert len(frames) == sampling.steps
    image = draw_array(model.pipeline, model.wanted([3], 2), sampling, progress=False)[1]
    shown = np.asarray(frames[-1][1].resize((8, 8), Image.Resampling.NEAREST))[..., 0]
    assert np.abs(shown.astype(int) - image[..., 0]).max() <= 1


def test_the_grid_of_guidance_has_a_column_for_each_w(model):
    columns = [last(model, [9, 0], 2, replace(model.pipeline.sampling, w=w)) for w in (0.0, 1.0, 4.0)]
    one = guidance_grid(model, columns[:1])
    assert guidance_grid(model, columns).width - one.width == 2 * (48 + 2)
    assert one.height == 2 * 48 + 2


def test_copies_are_seen(model):
    sampling = model.pipeline.sampling
    rows = np.flatnonzero(model.training.labels == 0)[:4]
    copied = model.training.images[rows].transpose(0, 2, 3, 1)
    picture, table = model.copies(Drawn(model.wanted([0], 4), sampling, copied, 1.0))
    pixels = np.asarray(picture)[:, -4 * 50 + 2 :]
    assert np.array_equal(pixels[:48], pixels[50:98]), "each image stands above itself"
    assert "4 (100%)" in str(table.rows)
    with pytest.raises(UserError, match="does not say which images"):
        Model(model.source / "pipeline").copies(Drawn(model.wanted([0], 4), sampling, copied, 1.0))


def test_a_damaged_configuration_is_one_line(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "config.yaml").write_text("{")
    with pytest.raises(UserError, match="configuration of a run"):
        _ = Model(tmp_path / "run").training


def test_how_long_it_takes_is_told_from_the_last_drawing(model):
    fresh = Model(model.source)
    sampling = replace(fresh.pipeline.sampling, w=0.0)
    assert fresh.seconds(10, sampling) is None
    drawn = last(fresh, [0], 2, sampling)
    assert fresh.seconds(2, sampling) == pytest.approx(drawn.seconds)
    assert fresh.seconds(4, replace(sampling, w=1.0)) == pytest.approx(4 * drawn.seconds)


def test_mistakes_are_one_line(run, tmp_path, capsys):
    assert main(["app", *[str(run)] * 3]) == 2
    assert "3 models are given" in capsys.readouterr().err
    assert main(["app", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.fixture
def page(run, monkeypatch):
    """The page in a browser, as a stranger opens it; whatever it asks of other machines fails the test."""
    pytest.importorskip("gradio", reason="the page needs gradio")
    api = pytest.importorskip("playwright.sync_api", reason="the browser needs playwright")
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        pytest.skip("no Chromium on this machine")
    served = subprocess.Popen(
        [sys.executable, "-m", "t2h", "app", str(run), "--device", "cpu"], stdout=subprocess.PIPE, text=True
    )
    assert served.stdout is not None
    line = served.stdout.readline()
    address = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
    asked: list[str] = []
    try:
        with api.sync_playwright() as play:
            browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
            opened = browser.new_page()
            opened.set_default_timeout(60_000)
            opened.on("request", lambda request: asked.append(request.url))
            opened.goto(address, wait_until="domcontentloaded")
            opened.get_by_role("button", name="Draw", exact=True).wait_for()
            yield opened
            browser.close()
    finally:
        served.terminate()
        served.wait()
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]


@pytest.mark.slow
def test_the_page_in_a_browser(page, run, tmp_path, monkeypatch):
    from playwright.sync_api import expect

    def shown() -> int:
        return page.locator("img[src*='/file=']:visible").count()

    page.get_by_label("Images of each class").first.fill("2")
    page.get_by_role("button", name="Draw", exact=True).focus()
    page.keyboard.press("Enter")  # by keyboard alone
    line = page.locator("textarea[disabled]")
    expect(line).to_have_value(f"t2h sample '{run}' --per-class 2 --out 'my run.npz'", timeout=60_000)
    assert shown() == 1
    with page.expect_download() as loaded:
        page.get_by_role("button", name="npz of my run, with its settings").click()
    loaded.value.save_as(tmp_path / "loaded.npz")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line.input_value())[1:]) == 0
    ours, theirs = (read_samples(tmp_path / name) for name in ("my run.npz", "loaded.npz"))
    assert np.abs(ours.images[:].astype(int) - theirs.images[:].astype(int)).max() <= 1

    page.get_by_role("tab", name="Copies?").click()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("cell", name="near copies").or_(page.get_by_text("near copies").first)).to_be_visible()
    page.get_by_role("tab", name="Guidance").click()
    page.get_by_label("Weights w").fill("0 nonsense")
    page.get_by_role("button", name="Draw classes × w").click()
    expect(page.get_by_text("are no numbers; give weights")).to_be_visible()
    page.get_by_label("Weights w").fill("0 1")
    page.get_by_role("button", name="Draw classes × w").click()
    expect(page.get_by_label("All images at one w of 0, 1").first).to_be_visible(timeout=60_000)
    page.get_by_role("tab", name="Denoising").click()
    page.get_by_role("button", name="Watch it denoise").click()
    expect(page.get_by_text("step 0 is t =")).to_be_visible()
    for size in ((390, 844), (1280, 900)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "nothing is cut off at the side"
