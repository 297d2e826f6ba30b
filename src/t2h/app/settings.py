"""The settings at the left of the page: which images are drawn, and how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from t2h.app.explorer import Model
from t2h.errors import UserError
from t2h.process import SCHEDULERS
from t2h.sampling import Sampling, read_table

_MOST = 10  # classes that are chosen at first


class Settings:
    """The components, which begin with the model's own sampling; `inputs` are their values, in this order."""

    def __init__(self, model: Model) -> None:
        self.model, self.own = model, model.pipeline.sampling
        self.choices = [(model.title(c), c) for c in model.order]
        chosen = [c for _, c in self.choices[:: -(-len(self.choices) // _MOST)]]
        own, most = self.own, int(model.pipeline.scheduler.config["num_train_timesteps"])
        ends, table = (min(0, own.w), max(8, own.w)), ", ".join(f"{name}={w:g}" for name, w in own.w_table.items())
        self.inputs: list[Any] = [
            gr.Dropdown(self.choices, value=chosen, multiselect=True, label="Classes, head to tail"),
            gr.Slider(1, 50, value=8, step=1, label="Images of each class"),
            gr.Slider(*ends, value=own.w, step=0.1, label="w, the guidance weight", info="0: no guidance"),
            gr.Dropdown(list(SCHEDULERS), value=own.scheduler, allow_custom_value=True, label="Scheduler"),
            gr.Slider(1, most, value=own.steps, step=1, label="Steps"),
            gr.Number(own.seed, precision=0, minimum=0, label="Seed"),
        ]
        with gr.Accordion("More", open=False):
            self.inputs += [
                gr.Textbox(table, label="w of single classes", placeholder="truck=3, frog=0.5"),
                gr.Number(own.w_power, label="p of w (n̄/n)^p", info="rarer classes get a larger w"),
                gr.Slider(0, 1, value=own.w_interval[0], step=0.01, label="Guide from t/T"),
                gr.Slider(0, 1, value=own.w_interval[1], step=0.01, label="... to t/T"),
                gr.Checkbox(own.clip_sample, label="Clip x_0 at every step"),
            ]
        self.start = [component.value for component in self.inputs]
        reset = gr.Button("The run's own settings", size="sm")
        reset.click(lambda: self.start, None, self.inputs, show_progress="hidden")

    def sampling(self, values: Sequence[Any], w: float | None = None) -> Sampling:
        """What is set, or that with another w, laid over what the model has beside.

        Raises:
            UserError: for values that are out of range, or a table that is none.
        """
        _, _, set_w, scheduler, steps, seed, table, power, low, high, clip = values
        words = [word.strip() for word in (table or "").split(",") if word.strip()]
        given = {"w": set_w if w is None else w, "scheduler": scheduler, "steps": int(steps), "seed": int(seed or 0)}
        given |= {"w_table": read_table(words), "w_power": power or 0.0, "w_interval": (low, high)}
        return Sampling(**vars(self.own) | given | {"clip_sample": clip})

    def classes(self, values: Sequence[Any]) -> list[int]:
        """The chosen classes, from head to tail; a `UserError` if there is none."""
        if not values[0]:
            raise UserError("no class is chosen; choose one at the left.")
        return [c for c in self.model.order if c in values[0]]

    def expected(self, values: Sequence[Any], models: Sequence[Model]) -> str:
        """How many images these values ask for, and how long they take, as far as that is known."""
        try:
            sampling, images = self.sampling(values), len(values[0] or []) * int(values[1])
        except UserError as error:
            return str(error)
        known = [model.seconds(images, sampling) for model in models]
        return f"{images} images" + (f", about {sum(s or 0 for s in known):.0f} s" if all(known) else "")
