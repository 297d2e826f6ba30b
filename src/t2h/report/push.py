"""A run as a folder for the Hub: its pipeline, one file that draws without our package, a grid, and a model card."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, HfApi, ModelCardData
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id

from t2h.data.config import load
from t2h.errors import UserError, notice, one_line
from t2h.evaluation.copies import class_copies, copies_table
from t2h.evaluation.nearest import run_data
from t2h.files import plain_markdown, replaced
from t2h.pipeline import T2HPipeline
from t2h.pipeline.card import model_card
from t2h.report.material import read_material
from t2h.report.pictures import grids_of
from t2h.results.comparable import flat
from t2h.results.compare import compare
from t2h.results.metrics import main_keys, metric_of
from t2h.results.result import Result
from t2h.results.table import as_markdown
from t2h.samples.draw import draw_grid, load_pipeline
from t2h.samples.read import drawn_in, read_samples

_USE = """from diffusers import DiffusionPipeline

repository = {repo!r}
pipeline = DiffusionPipeline.from_pretrained(repository, custom_pipeline=repository, trust_remote_code=True)"""

_LIMITS = """
## Limits

- A rare class has been learned from the few images that the table says.
- Samples can be near copies of training images, above all in rare classes: what may not be done with these may not be
  done with samples.
- Metrics hold for their protocol. FID falls as the number of images grows: compare it at equal numbers alone.
- `pipeline.py` is code of this repository that `trust_remote_code=True` runs; it needs torch and diffusers.
"""


def push_folder(run: Path, repo: str, out: Path, license: str | None = None) -> Path:
    """Write a run (or a pipeline folder) as the Hub's repository ``repo`` into the folder ``out``.

    Args:
        license: of the repository, which the training data must allow; an identifier of the Hub, such as cc-by-4.0.

    Raises:
        UserError: if there is no pipeline, or another network guides it; if ``out`` is a folder of something else.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"{repo!r} is no name of a repository, OWNER/NAME ({' '.join(str(error).split())})") from error
    if out.exists() and not (out / "pipeline.py").exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there and holds nothing that was to be pushed; choose an empty or a new folder.")
    pipeline = load_pipeline(run)
    if pipeline.sampling.guide:
        raise UserError(
            f"{run} is guided by another network ({pipeline.sampling.guide}), which a pushed folder cannot hold; give "
            "the run another --sampling.guide (the same training command takes it)."
        )
    results = read_material([run]).results if any(run.glob("results/*.json")) else ()
    header = _header(pipeline, repo, results, license)
    more = "\n![Samples, rows from the most frequent class to the rarest](samples.png)\n\n"
    more += "Rows from the most frequent class to the rarest, drawn as the table says; unselected.\n"
    more += "".join(_metrics(result) for result in results) + _copies(run) + _LIMITS
    more += f"\nLicence: {license or 'not stated; ask before you use it'}.\n"
    pipeline.register_to_config(_name_or_path=repo)  # not where it lay here
    for part in filter(None, (pipeline.unet, pipeline.vae)):
        part.register_to_config(_name_or_path="")
    with replaced(out) as folder:
        pipeline.save_pretrained(folder)
        (folder / "pipeline.py").write_text((files("t2h.pipeline") / "standalone.py").read_text("utf-8"), "utf-8")
        grids = grids_of(run)
        if grids:
            shutil.copyfile(grids[-1], folder / "samples.png")
        else:
            draw_grid(pipeline).save(folder / "samples.png", format="PNG")
        card = model_card(pipeline, header, _USE.format(repo=repo), more)
        (folder / "README.md").write_text(card, encoding="utf-8")
    return out


def upload(folder: Path, repo: str, private: bool) -> str:
    """Upload a folder with the account that huggingface_hub knows; returns the address of the repository.

    Raises:
        UserError: if the Hub refuses it, or cannot be reached.
    """
    try:
        api = HfApi()
        address = str(api.create_repo(repo, private=private, exist_ok=True))
        api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Push with t2h")
    except (HfHubHTTPError, HFValidationError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{repo}: the Hub did not take it ({reason}); log in with `hf auth login`.") from error
    return address


def _header(pipeline: T2HPipeline, repo: str, results: Sequence[Result], license: str | None) -> dict[str, Any]:
    """The entries of the card's YAML that the Hub reads: licence, and the metrics as its model-index."""
    found = []
    for result in results:
        point = result.nearest(pipeline.sampling.w)
        if point is None:
            continue
        data = str(result.data.get("name") or "images")
        split = (result.protocol.get("reference") or {}).get("split")
        for key in main_keys(key for key, value in point.metrics.items() if value.value is not None):
            value, metric = point.get(key), metric_of(key)
            at = "" if point.w is None else f" at w = {point.w:g}"
            name = f"{metric.label}{at}, {point.num_images:,} samples"
            found.append(
                EvalResult(
                    "unconditional-image-generation",
                    data,
                    data,
                    key,
                    value.value,
                    task_name="class-conditional image generation",
                    dataset_split=split,
                    metric_name=name,
                )
            )
    entries = {} if license is None else {"license": license}
    if found:
        entries |= ModelCardData(model_name=repo.split("/")[-1], eval_results=found).to_dict()
    return entries


def _metrics(result: Result) -> str:
    factors = [(name, value) for name, value in flat(result.protocol) if value not in (None, [], "")]
    how = "".join(f"- {name.replace('_', ' ').replace('.', ', ')}: {plain_markdown(v)}\n" for name, v in factors)
    table = as_markdown(compare([result]))
    name = plain_markdown(result.name)
    return f"\n## Metrics: {name}\n\n{table}\n\n<details><summary>Protocol</summary>\n\n{how}\n</details>\n"


def _copies(run: Path) -> str:
    """The table of near copies among the samples of a run; nothing where samples or training images are not here."""
    try:
        place, data = drawn_in(run), run_data(run)
        if place is not None and data is not None:
            training = load(data)
            found = class_copies(read_samples(place, training.class_names), training, per_class=100)
            return f"\n## Near copies of training images\n\n{as_markdown(copies_table(found))}\n"
    except (UserError, OSError) as error:
        notice(f"the card says nothing of near copies: {one_line(error)}")
    return ""
