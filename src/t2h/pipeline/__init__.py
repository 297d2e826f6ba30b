"""The pipeline: a trained network with its scheduler, its classes and its origin, in diffusers' layout on disk."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput, ModelMixin, SchedulerMixin
from jaxtyping import Float
from torch import Tensor

from t2h.backbones import null_label
from t2h.errors import UserError, check_known
from t2h.pipeline.autoencoder import decode, factor
from t2h.pipeline.card import model_card
from t2h.pipeline.guidance import guided, load_guide, scale_of
from t2h.pipeline.labels import Labels, check_classes, class_ids
from t2h.process import Process, is_flow
from t2h.randomness import one_per_image
from t2h.sampling import ALWAYS, OF_FLOW, Sampling, set_steps

Generators = torch.Generator | Sequence[torch.Generator] | None


class T2HPipeline(DiffusionPipeline):
    """Draws images of chosen classes, with classifier-free guidance.

    A pipeline carries how its images are drawn (`sampling`), and is saved with the scheduler of that; another scheduler
    may take its place, as in any pipeline of diffusers. `w` is the guidance weight of ε_c + w (ε_c - ε_∅), and
    diffusers' `guidance_scale` is 1 + w: no guidance is w = 0.

    Args:
        unet: the network, of any class of `t2h.backbones`: it predicts what the scheduler's `prediction_type` says; its
            class embedding has K+1 rows, the last one the null label, or it has none (unconditional).
        scheduler: any diffusers scheduler; those that match the training come from its `Process`.
        class_names: the names of the classes in the training data; None numbers them.
        class_counts: how many training images each class had.
        method: the name of the training objective, such as "t2h".
        w: replaces that of ``sampling``.
        images_seen: how many images training has shown.
        training: what else is worth knowing of the training run (plain values), for the model card.
        sampling: the values of a `Sampling`; what is missing is the papers'.
        vae: the autoencoder whose latents the network draws (`t2h.pipeline.autoencoder`); None: it draws images.
    """

    model_cpu_offload_seq = "unet->vae"
    _optional_components = ["vae"]  # noqa: RUF012, as diffusers declares it

    def __init__(
        self,
        unet: ModelMixin,
        scheduler: SchedulerMixin,
        class_names: Sequence[str] | None = None,
        class_counts: Sequence[int] | None = None,
        method: str = "ddpm",
        w: float | None = None,
        images_seen: int = 0,
        training: dict[str, Any] | None = None,
        sampling: Mapping[str, Any] | None = None,
        vae: ModelMixin | None = None,
    ) -> None:
        super().__init__()
        self._guides: dict[str, ModelMixin] = {}
        self.register_modules(unet=unet, scheduler=scheduler, vae=vae)
        k = null_label(unet)
        names = [str(c) for c in range(k or 0)] if class_names is None else [str(name) for name in class_names]
        check_classes(names, class_counts, k)
        given = OF_FLOW.plain() if sampling is None and is_flow(scheduler) else sampling or {}
        own = Sampling.of({**given, **({} if w is None else {"w": float(w)})})
        if sampling is None:  # a folder of version 0.1 has w alone
            own = own.within(scheduler.config.get("num_train_timesteps", own.steps))
        self.register_to_config(
            class_names=names,
            class_counts=None if class_counts is None else [int(n) for n in class_counts],
            method=method,
            images_seen=int(images_seen),
            training=dict(training or {}),
            sampling=own.plain(),
        )

    @property
    def sampling(self) -> Sampling:
        """How its images are drawn, unless a call says otherwise."""
        return Sampling.of(self.config["sampling"])

    @property
    def num_classes(self) -> int | None:
        """K; None for an unconditional network."""
        return null_label(self.unet)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        if self.vae is None:
            return self.noise_shape
        (_, height, width), up = self.noise_shape, factor(self.vae)
        return self.vae.config["out_channels"], up * height, up * width

    @property
    def noise_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what the network denoises: images, or latents."""
        size = self.unet.config["sample_size"]
        height, width = (size, size) if isinstance(size, int) else size
        return self.unet.config["in_channels"], height, width

    def class_ids(self, labels: Labels) -> list[int]:
        """Class ids of ids, names, or a mixture.

        Raises:
            UserError: for an id that is not one of 0 ... K-1 or a name that is no class.
        """
        return class_ids(labels, self.config["class_names"], self.num_classes)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Labels = None,
        guidance_scale: float | Sequence[float] | None = None,
        num_inference_steps: int | None = None,
        generator: Generators = None,
        latents: Float[Tensor, "b c h w"] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        *,
        batch_size: int = 1,
        eta: float | None = None,
        clip_sample: bool | None = None,
        w_interval: tuple[float, float] | None = None,
        guide: str | None = None,
        callback_on_step_end: Callable[[Any, int, Tensor, dict[str, Tensor]], dict[str, Tensor]] | None = None,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Draw one image per label. What is None is the pipeline's own `sampling`.

        Args:
            class_labels: class ids or names, one per image. None draws ``batch_size`` images without label.
            guidance_scale: 1 + w, of all images or of each. 1 is no guidance (one network pass per step, not two).
            num_inference_steps: how many denoising steps.
            generator: one generator, from which one seed per image is drawn, so that image i has the same noise in any
                batch; or a list with one generator per image.
            latents: the starting noise (B, C, H, W) (`noise_shape`), instead of drawing it.
            output_type: "pil", "np" (float in [0, 1], (B, H, W, C)) or "pt" (float in [0, 1], (B, C, H, W)).
            return_dict: False returns a plain tuple.
            batch_size: how many images to draw where ``class_labels`` is None.
            eta: η of DDIM; other schedulers ignore it.
            w_interval: (low, high); guidance acts where t/T lies between, ends included. Elsewhere there is one pass.
            guide: for autoguidance, the path of a run, pipeline folder or checkpoint of a run; "" is none.
            clip_sample: at every step, clip the x_0 that the output implies to [-1, 1], whatever the scheduler. The
                papers' samplers do not; it saves samples of a short training, whose first steps leave that range.
                Latents are not in that range.
            callback_on_step_end: as in other pipelines of diffusers; "latents" is x_t.

        Returns:
            An `ImagePipelineOutput` with `.images`.

        Raises:
            UserError: for labels, latents, generators, scales, a guide, steps or an output type that do not fit.
        """
        own = self.sampling
        check_known("output_type", [output_type], ("pil", "np", "pt"))
        device, k = self._execution_device, self.num_classes
        ids = None if class_labels is None else self.class_ids(class_labels)
        count = batch_size if ids is None else len(ids)
        generators = one_per_image(generator, count)
        xt = self._starting_noise(latents, count, generators)
        null = None if k is None else torch.full((count,), k, device=device)
        label = null if ids is None else torch.tensor(ids, device=device)
        scale = scale_of(self.guidance_scales(own, ids) if guidance_scale is None else guidance_scale, count, xt)
        low, high = interval = own.w_interval if w_interval is None else tuple(w_interval)
        other = self.guide(own.guide if guide is None else guide)

        set_steps(self.scheduler, own.steps if num_inference_steps is None else num_inference_steps, device)
        xt = xt * getattr(self.scheduler, "init_noise_sigma", 1.0)  # schedulers of flows have none
        scaled = getattr(self.scheduler, "scale_model_input", lambda sample, _t: sample)
        accepted = inspect.signature(self.scheduler.step).parameters
        given = {"generator": generators, "eta": own.eta if eta is None else eta}
        extra = {name: value for name, value in given.items() if name in accepted}
        clip_sample = own.clip_sample if clip_sample is None else clip_sample
        if clip_sample and self.vae is not None:
            raise UserError("clip_sample clips to the range of images, and this network draws latents; leave it out.")
        process = Process.of(self.scheduler) if clip_sample else None
        for i, t in enumerate(self.progress_bar(self.scheduler.timesteps)):
            model_input = scaled(xt, t)
            times = t.expand(count).to(device)
            acts = interval == ALWAYS or low <= float(t) / self.scheduler.config["num_train_timesteps"] <= high
            output = guided(self.unet, other, model_input, times, label, null, scale if acts else 1.0)
            if process is not None:
                x0 = process.x0_from_output(output, model_input, times).clamp(-1, 1)
                output = process.output_from_x0(x0, model_input, times)
            xt = self.scheduler.step(output, t, xt, **extra).prev_sample
            if callback_on_step_end is not None:
                xt = callback_on_step_end(self, i, t, {"latents": xt}).get("latents", xt)

        images = self.to_images(xt)
        self.maybe_free_model_hooks()
        drawn: Any = images if output_type == "pt" else images.cpu().permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            drawn = self.numpy_to_pil(drawn)
        return ImagePipelineOutput(images=drawn) if return_dict else (drawn,)

    def to_images(self, xt: Float[Tensor, "b c h w"]) -> Float[Tensor, "b _ i j"]:
        """Images in [0, 1] of what the network denoises, at any t."""
        return ((xt if self.vae is None else decode(self.vae, xt)).float() / 2 + 0.5).clamp(0, 1)

    def guidance_scales(self, sampling: Sampling, ids: Sequence[int] | None) -> float | list[float]:
        """1 + w of images of these classes, as ``sampling`` has it; of images without label one number."""
        if ids is None:
            return sampling.guidance_scale
        weights = sampling.weights(self.config["class_names"], self.config["class_counts"])
        return [1 + weights[i] for i in ids]

    def guide(self, source: str) -> ModelMixin | None:
        """The network of a guide, read once; None without one."""
        if source and source not in self._guides:
            self._guides[source] = load_guide(source, self)
        return self._guides[source].to(self._execution_device) if source else None

    def _starting_noise(self, latents: Tensor | None, count: int, generators: list[torch.Generator]) -> Tensor:
        shape, device = (count, *self.noise_shape), self._execution_device
        if latents is None:
            noise = [torch.randn(shape[1:], generator=g, device=g.device).to(device) for g in generators]
            return torch.stack(noise).to(self.unet.dtype)
        if tuple(latents.shape) != shape:
            raise UserError(f"latents have shape {tuple(latents.shape)}; {shape} is needed for {count} images.")
        return latents.to(device, self.unet.dtype)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write the pipeline folder, and a filled model card unless there is one. Arguments as in diffusers."""
        super().save_pretrained(save_directory, **kwargs)
        card = Path(save_directory) / "README.md"
        if not card.exists():
            card.write_text(model_card(self), encoding="utf-8")
