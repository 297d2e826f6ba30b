"""The configuration of a training run: frozen dataclasses, saved as YAML with the run and read back from it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import tyro
import yaml

from t2h.data.config import DataConfig
from t2h.device import Precision
from t2h.errors import UserError, check_finite, check_known, check_numbers, check_ranges
from t2h.methods import MethodOptions
from t2h.process import NoiseSchedule, Prediction, Process, RectifiedFlow, TimeDraw
from t2h.sampling import Sampling, SamplingFlags, own_sampling
from t2h.typed import from_yaml, typed


@dataclass(frozen=True)
class NetworkConfig:
    """The network."""

    network: str = "auto"
    """A preset (U-Nets: cifar, tiny-imagenet, small, mini, digits; transformers: dit-s/2, dit-tiny), a JSON file with
    the configuration of a diffusers model and its `_class_name`, or auto."""
    init: str | None = None
    """Fine-tune: begin with the weights of this run, pipeline folder or official ckpt_N.pt, of this architecture."""
    autoencoder: str | None = None
    """Train on the latents of this AutoencoderKL (its mean) or AutoencoderTiny of diffusers: a folder, or
    hub:OWNER/NAME[/SUBFOLDER], which is fetched from the Hub."""
    conditional: bool = True
    """Tell the network the class; otherwise it is unconditional."""
    dropout: float | None = None
    """Replaces the preset's dropout, in [0, 1)."""


@dataclass(frozen=True)
class ProcessConfig:
    """The noise process."""

    kind: Annotated[Literal["ddpm", "flow"], tyro.conf.arg(name="process")] = "ddpm"
    """DDPM's, or a rectified flow: straight lines from images to noise, of which the network learns the velocity."""
    num_timesteps: int = NoiseSchedule.num_timesteps
    """T of ddpm, the number of noise levels."""
    beta_start: float = NoiseSchedule.beta_start
    """β of ddpm at t = 0, in (0, 1)."""
    beta_end: float = NoiseSchedule.beta_end
    """β of ddpm at t = T-1, in [beta_start, 1)."""
    prediction: Prediction = NoiseSchedule.prediction
    """What the network predicts with ddpm: noise (epsilon), the clean image (sample), or v of both (v_prediction)."""
    times: TimeDraw = "uniform"
    """How times of flow are drawn in training: uniformly, or more often mid-way."""

    @property
    def own(self) -> dict[str, Any]:
        """The options of its kind."""
        names = ("times",) if self.kind == "flow" else ("num_timesteps", "beta_start", "beta_end", "prediction")
        return {name: getattr(self, name) for name in names}

    def make(self) -> Process:
        """The process; a `UserError` for values out of range, or of the other kind."""
        others = [entry for entry in dataclasses.fields(self) if entry.name not in ("kind", *self.own)]
        if strange := [entry.name for entry in others if getattr(self, entry.name) != entry.default]:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in strange)
            raise UserError(f"{options}: not of --process {self.kind}; leave out one of them.")
        return RectifiedFlow(**self.own) if self.kind == "flow" else NoiseSchedule(**self.own)


@dataclass(frozen=True)
class LearningConfig:
    """How the network learns."""

    steps: int = 20_000
    """Optimisation steps; images seen = steps × batch size."""
    batch_size: int = 128
    """Images a step, over all processes and accumulated parts together."""
    accumulate: int = 1
    """Split each process's part of a batch into this many passes, to save memory. T2H's references are one part."""
    lr: float = 2e-4
    """Learning rate of Adam."""
    warmup_steps: int | None = None
    """Steps over which the learning rate rises from 0. Default: 5 % of all, at most the papers' 5,000."""
    grad_clip: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    ema_decay: float = 0.9999
    """Largest decay of the moving average of the weights."""
    ema_rampup: float | None = None
    """The average's half-life is at most this share of the images seen so far (EDM). 0: constant decay, as the papers.
    Default: 0.05."""
    label_dropout: float = 0.1
    """Chance that a label is dropped, for guidance."""
    dropout_unit: Literal["sample", "batch"] = "sample"
    """Drop each label on its own, or all labels of a batch together (as the official code)."""
    resampling: float = 1.0
    """q of p(class) ∝ (images of the class)^q: 1 as the data are, 0.5 square-root, 0 class-balanced."""
    flip: Literal["auto", "on", "off"] = "auto"
    """Mirror images left to right at random; auto does so for all but the digits."""
    augment: float = 0.0
    """p of the ADA augmentation, of which the network is told (papers: 0.12). It has mirrors of its own; 0 is none."""
    references: int = 0
    """Further images in which t2h and stf look for targets; 0: the batch alone, as in the papers' codes."""
    mixed_precision: Precision = "no"
    """Arithmetic of the network's passes."""
    seed: int = 0
    """Of initial weights, order, noise and everything else."""

    @property
    def warmup(self) -> int:
        """`warmup_steps`, or the default that follows from the length of the run."""
        return min(5_000, self.steps // 20) if self.warmup_steps is None else self.warmup_steps

    @property
    def rampup(self) -> float:
        """`ema_rampup`, or its default."""
        return 0.05 if self.ema_rampup is None else self.ema_rampup

    def warnings(self) -> list[str]:
        """What cannot work, in one line each."""
        lines = []
        if not self.rampup and (share := self.ema_decay**self.steps) > 0.05:
            still = f"{share:.0%} of the average that is sampled will still be initial weights at the end: noise"
            lines.append(f"{still}; give more --steps, a smaller --ema-decay, or no --ema-rampup 0")
        if self.warmup > self.steps / 2:
            lines.append(f"the learning rate rises for {self.warmup:,} of {self.steps:,} steps; lower --warmup-steps")
        return lines


@dataclass(frozen=True)
class MachineConfig:
    """What the run uses and what it writes on the way; none of it changes what is learned."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile the network; auto does so on CUDA."""
    workers: int = 4
    """Loader processes, for sets that do not fit on the device."""
    resident_gib: float = 4.0
    """Keep image sets up to this size on the device."""
    log_every: int = 100
    """Steps between lines of metrics.jsonl."""
    save_every: int = 5_000
    """Steps between checkpoints that are kept; the end is one as well."""
    keep: int | None = 2
    """How many of them to keep; None keeps all."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints to go on from, each in place of the one before; 0 writes none."""
    grid_every: int | None = 0
    """Steps between grids of samples from fixed noise; 0 draws one at the end only, None draws none."""
    trackers: tuple[str, ...] = ()
    """Also log to these trackers: tensorboard, wandb, trackio."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    data: Annotated[DataConfig, tyro.conf.arg(name="")] = field(default_factory=DataConfig)
    network: Annotated[NetworkConfig, tyro.conf.arg(name="")] = field(default_factory=NetworkConfig)
    process: Annotated[ProcessConfig, tyro.conf.arg(name="")] = field(default_factory=ProcessConfig)
    objective: str = "t2h"
    """The method (ddpm, t2h, ...), or several joined by +."""
    methods: Annotated[MethodOptions, tyro.conf.arg(name="")] = field(default_factory=MethodOptions)
    learning: Annotated[LearningConfig, tyro.conf.arg(name="")] = field(default_factory=LearningConfig)
    machine: Annotated[MachineConfig, tyro.conf.arg(name="")] = field(default_factory=MachineConfig)
    sampling: SamplingFlags = field(default_factory=SamplingFlags)
    """How the run's images are drawn. Default: the papers' DDIM, or ancestral sampling after a short training."""

    def __post_init__(self) -> None:
        self.process.make()
        check_finite(self)
        check_known("tracker", self.machine.trackers, ("tensorboard", "wandb", "trackio"))
        check_numbers(self.learning, steps=1, batch_size=1, accumulate=1, warmup_steps=0, grad_clip=0)
        check_numbers(self.learning, ema_rampup=0, references=0)
        check_numbers(self.machine, log_every=1, keep=1, save_every=0, grid_every=0, checkpoint_minutes=0)
        check_numbers(self.machine, workers=0, resident_gib=0)
        check_ranges(self.learning, lr="(0, 1]", ema_decay="[0, 1)", label_dropout="[0, 1]")
        check_ranges(self.learning, augment="[0, 1]", resampling="[-10, 10]")
        check_ranges(self.network, dropout="[0, 1)")
        if self.network.autoencoder is not None and (self.learning.augment or self.own_sampling.clip_sample):
            raise UserError("--augment and --sampling.clip-sample are of pixels; leave them out with --autoencoder.")

    @property
    def own_sampling(self) -> Sampling:
        """How the run's images are drawn: what its flags say, on what suits the length of the training."""
        images, process = self.learning.steps * self.learning.batch_size, self.process
        own = own_sampling(images, process.num_timesteps, self.sampling, flow=process.kind == "flow")
        latent = self.network.autoencoder is not None  # latents have no range to clip to
        return replace(own, clip_sample=False) if latent and not vars(self.sampling)["clip_sample"] else own

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in the YAML file."""
        tree = dataclasses.asdict(self) | {"process": {"kind": self.process.kind} | self.process.own}
        return json.loads(json.dumps(tree, default=str))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, text: str) -> TrainConfig:
        """The configuration of a YAML text; a `UserError` where it is none."""
        try:
            tree = from_yaml(text)
            if not isinstance(tree, dict):
                raise TypeError("it is empty" if tree is None else "it holds no named entries")
            return typed(cls, _moved(tree))
        except (yaml.YAMLError, TypeError, AttributeError) as error:
            raise UserError(f"this is not the configuration of a training run: {str(error).splitlines()[0]}") from error


def _moved(tree: dict[str, Any]) -> dict[str, Any]:
    """A configuration of version 0.1 with its entries where they are now."""
    tree = {"process" if part == "schedule" else part: entries for part, entries in tree.items()}
    machine = dict(tree.get("machine") or {})
    for old, part, new in (("mixed_precision", "learning", "mixed_precision"), ("grid_w", "sampling", "w")):
        if old in machine:
            tree |= {"machine": machine, part: {new: machine.pop(old), **(tree.get(part) or {})}}
    return tree
