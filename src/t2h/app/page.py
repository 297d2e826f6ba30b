"""The page: settings at the left, and four ways to look at the right."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from t2h.app.explorer import Drawn, Model, command, guidance_grid, save
from t2h.app.settings import Settings
from t2h.errors import UserError
from t2h.features.base import FeatureExtractor
from t2h.results.table import as_html

Updates = dict[Any, Any]
QUEUE = "drawing"  # a model draws one thing at a time
_FONT = ["system-ui", "sans-serif"]  # of the machine: nothing is fetched


class Page:
    """The page of one model, or of two side by side.

    Args:
        models: the first one's sampling and classes are those that the page begins with.
        extractor: of a reference, for the nearest training images; None compares pixels.
    """

    def __init__(self, models: Sequence[Model], extractor: FeatureExtractor | None = None) -> None:
        if any(model.names != models[0].names for model in models):
            raise UserError("the models have different classes; give models of the same data.")
        self.models, self.extractor = models, extractor
        self.files = tempfile.TemporaryDirectory(prefix="t2h-app-")  # to download

    def build(self) -> gr.Blocks:
        with gr.Blocks(title="t2h explorer", analytics_enabled=False) as blocks, gr.Row():
            with gr.Column(scale=1, min_width=300):
                gr.Markdown("## " + " beside ".join(f"`{model.source}`" for model in self.models))
                self.settings = Settings(self.models[0])
            with gr.Column(scale=3, min_width=320), gr.Tabs():
                with gr.Tab("Images"):
                    self._images()
                with gr.Tab("Guidance"):
                    self._guidance()
                with gr.Tab("Denoising"):
                    self._denoising()
                with gr.Tab("Copies?"):
                    self._copies()
        return blocks

    def _pictures(self, alt: str) -> list[gr.Image]:
        """A picture of each model, side by side where there is room."""
        pictures = []
        with gr.Row():
            for model in self.models:
                with gr.Column(min_width=300):
                    if len(self.models) > 1:
                        gr.Markdown(f"`{model.source}`")
                    options: Any = {"format": "png", "interactive": False, "buttons": ["fullscreen"]}
                    pictures.append(gr.Image(label=alt, show_label=False, **options))
        return pictures

    def _runs(
        self, button: gr.Button, stop: gr.Button, work: Any, inputs: Sequence[Any], outputs: Sequence[Any]
    ) -> Any:
        """``work`` on a click, one at a time; a user's mistake is shown, and ``stop`` ends it."""

        def told(*values: Any) -> Iterator[Updates]:
            try:
                yield from work(*values)
            except UserError as error:
                raise gr.Error(str(error), duration=None, print_exception=False) from error

        event = button.click(told, list(inputs), list(outputs), concurrency_id=QUEUE, concurrency_limit=1)
        stop.click(None, None, None, cancels=[event])
        return event

    def _images(self) -> None:
        with gr.Row():
            draw, stop = gr.Button("Draw", variant="primary"), gr.Button("Stop")
        status = gr.Markdown(self.settings.expected(self.settings.start, self.models))
        shown = self._pictures("Drawn")
        line = gr.Textbox(label="The same images from the command line", interactive=False, buttons=["copy"])
        files: dict[gr.DownloadButton, tuple[int, Path]] = {}
        with gr.Row():
            for i, model in enumerate(self.models):
                for kind in ("npz", "PNG"):
                    button = gr.DownloadButton(f"{kind} of {model.name}, with its settings", interactive=False)
                    files[button] = i, Path(self.files.name) / str(i) / f"{model.name}.{kind.lower()}"
        self.drawn = gr.State(None)

        def work(*values: Any) -> Iterator[Updates]:
            sampling, classes = self.settings.sampling(values), self.settings.classes(values)
            done: list[Drawn] = []
            for model, picture in zip(self.models, shown, strict=True):
                last = None
                for last in model.draw(model.wanted(classes, int(values[1])), sampling):
                    yield {picture: model.grid(last), status: last.progress}
                assert last is not None
                done.append(last)
            for i, path in files.values():
                path.parent.mkdir(exist_ok=True)
                save(self.models[i], done[i], path)
            lines = "\n".join(command(model, classes, int(values[1]), sampling) for model in self.models)
            ready = {file: gr.DownloadButton(value=str(path), interactive=True) for file, (_, path) in files.items()}
            yield {self.drawn: done, line: lines, **ready}

        self._runs(draw, stop, work, self.settings.inputs, [*shown, status, line, *files, self.drawn])

        def expected(*values: Any) -> str:
            return self.settings.expected(values, self.models)

        for component in self.settings.inputs:
            component.change(expected, self.settings.inputs, status, show_progress="hidden")

    def _guidance(self) -> None:
        weights = gr.Textbox("0 0.5 1 2 4", label="Weights w; the noise of an image is the same at each")
        with gr.Row():
            draw, stop = gr.Button("Draw classes × w", variant="primary"), gr.Button("Stop")
        status = gr.Markdown()
        shown = self._pictures("Classes × w")
        slider = gr.Slider(0, 1, step=1, label="All images at one w", visible=False)
        with gr.Column(visible=False) as below:
            at_w = self._pictures("At this w")
        curves = gr.State([])

        def work(text: str, *values: Any) -> Iterator[Updates]:
            classes, found = self.settings.classes(values), []
            try:
                ws = sorted({float(word) for word in text.replace(",", " ").split()})
            except ValueError as error:
                raise UserError(f"{text!r} are no numbers; give weights such as 0 0.5 1.5.") from error
            if not ws:
                raise UserError("no weight is given; give some, such as 0 0.5 1.5.")
            for model, picture in zip(self.models, shown, strict=True):
                columns: list[Drawn] = []
                for w in ws:
                    sampling = self.settings.sampling(values, w)
                    *_, last = model.draw(model.wanted(classes, min(int(values[1]), 8)), sampling)
                    columns.append(last)
                    at = ", ".join(f"{column.sampling.w:g}" for column in columns)
                    yield {picture: guidance_grid(model, columns), status: f"columns: w = {at}"}
                found.append(columns)
            grids = [
                [model.grid(column) for column in columns] for model, columns in zip(self.models, found, strict=True)
            ]
            first = {picture: pictures[0] for picture, pictures in zip(at_w, grids, strict=True)}
            label = f"All images at one w of {', '.join(f'{w:g}' for w in ws)}"
            yield {
                below: gr.Column(visible=True),
                curves: grids,
                slider: gr.Slider(0, max(len(ws) - 1, 1), 0, label=label, visible=True),
                **first,
            }

        self._runs(draw, stop, work, [weights, *self.settings.inputs], [*shown, status, slider, curves, below, *at_w])
        slider.change(partial(_at, len(at_w)), [slider, curves], at_w, show_progress="hidden")

    def _denoising(self) -> None:
        with gr.Row():
            label = gr.Dropdown(self.settings.choices, value=self.models[0].order[-1], label="Class")
            index = gr.Number(0, precision=0, minimum=0, label="Image")
        with gr.Row():
            draw, stop = gr.Button("Watch it denoise", variant="primary"), gr.Button("Stop")
        slider = gr.Slider(0, 1, step=1, label="Step", visible=False)
        shown = self._pictures("x_t")
        status = gr.Markdown()
        films = gr.State([])

        def work(label: int, index: int, *values: Any) -> Iterator[Updates]:
            sampling = self.settings.sampling(values)
            frames = [each.denoising(label, int(index or 0), sampling) for each in self.models]
            pictures = [[image for _, image in film] for film in frames]
            last = len(frames[0]) - 1
            ends = {picture: film[-1] for picture, film in zip(shown, pictures, strict=True)}
            times = f"step 0 is t = {frames[0][0][0]:g}, step {last} is t = {frames[0][-1][0]:g}"
            yield {films: pictures, status: times, slider: gr.Slider(0, max(last, 1), last, visible=True), **ends}

        self._runs(draw, stop, work, [label, index, *self.settings.inputs], [*shown, slider, films, status])
        slider.change(partial(_at, len(shown)), [slider, films], shown, show_progress="hidden")

    def _copies(self) -> None:
        measure = "pixels, mirror images included" if self.extractor is None else self.extractor.name
        gr.Markdown(f"The drawn images above the training images of their class that are nearest to them ({measure}).")
        with gr.Row():
            look, stop = gr.Button("Compare", variant="primary"), gr.Button("Stop")
        shown = self._pictures("Nearest training images")
        tables = gr.HTML()

        def work(done: Sequence[Drawn] | None) -> Iterator[Updates]:
            if not done:
                raise UserError("nothing is drawn yet; draw images first.")
            texts = []
            for model, drawn, picture in zip(self.models, done, shown, strict=True):
                image, table = model.copies(drawn, self.extractor)
                texts.append(as_html(replace(table, title=str(model.source))))
                yield {picture: image, tables: "".join(texts)}

        self._runs(look, stop, work, [self.drawn], [*shown, tables])


def _at(count: int, position: int, pictures: Sequence[Sequence[Any]]) -> Any:
    """The picture of each model at the slider's position."""
    found = [film[min(int(position), len(film) - 1)] for film in pictures] or [None] * count
    return found[0] if count == 1 else found


def launch(page: Page, port: int | None, browser: bool, block: bool = True) -> str:
    """Serve the page to this machine alone; returns its address. ``block`` waits until it is interrupted."""
    theme = gr.themes.Default(font=_FONT, font_mono=["ui-monospace", "monospace"])
    blocks = page.build().queue()
    _, address, _ = blocks.launch(
        server_name="127.0.0.1",
        server_port=port,
        inbrowser=browser,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        theme=theme,
        footer_links=[],
        allowed_paths=[page.files.name],
    )
    print(f"The explorer is at {address} (Ctrl-C ends it).", flush=True)
    if block:
        blocks.block_thread()
    return str(address)
