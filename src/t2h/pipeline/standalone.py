"""Draws images of chosen classes, with nothing but torch and diffusers. `t2h push` puts this file beside the network.

    pipeline = DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline=FOLDER, trust_remote_code=True)
    images = pipeline(["truck"] * 4, generator=torch.manual_seed(0)).images

For the same generator the images are those of `t2h.T2HPipeline`, of which this is the part that draws.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput


class T2HPipeline(DiffusionPipeline):  # type: ignore[misc, unused-ignore]
    """A class-conditional diffusion model. w is the weight of ε_c + w (ε_c - ε_∅), and `guidance_scale` is 1 + w."""

    _optional_components = ["vae"]  # noqa: RUF012, as diffusers declares it

    def __init__(
        self,
        unet: Any,
        scheduler: Any,
        class_names: Sequence[str] = (),
        class_counts: Sequence[int] | None = None,
        method: str = "",
        images_seen: int = 0,
        training: dict[str, Any] | None = None,
        sampling: dict[str, Any] | None = None,
        vae: Any = None,
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, vae=vae)
        self.register_to_config(class_names=list(class_names), class_counts=class_counts, sampling=dict(sampling or {}))
        self.register_to_config(method=method, images_seen=images_seen, training=training)
        unet.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Sequence[int | str] | None = None,
        guidance_scale: float | Sequence[float] | None = None,
        num_inference_steps: int | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        batch_size: int = 1,
    ) -> ImagePipelineOutput:
        """One image for each label (class id or name), or ``batch_size`` without label; None is the model's own value.

        One ``generator`` gives each image a seed, or give one for each. ``output_type`` is "pil", "np" or "pt".
        """
        own, device, dtype = self.config["sampling"], self._execution_device, self.unet.dtype
        ids = None if class_labels is None else [self._class_id(label) for label in class_labels]
        n, steps_in_all = batch_size if ids is None else len(ids), self.scheduler.config["num_train_timesteps"]
        null = self._null(n, device)
        label = null if ids is None else torch.tensor(ids, device=device)
        both = None if ids is None or null is None or label is None else torch.cat([label, null])
        scale: Any = self._own_scales(own, ids) if guidance_scale is None else guidance_scale
        scale = torch.tensor([scale] * n if isinstance(scale, int | float) else scale, dtype=dtype, device=device)
        scale = scale.reshape(n, 1, 1, 1)
        if generator is None or isinstance(generator, torch.Generator):
            source = generator or torch.Generator().manual_seed(torch.seed())
            seeds = torch.randint(2**62, (n,), generator=source, device=source.device).tolist()
            generator = [torch.Generator().manual_seed(seed) for seed in seeds]
        size = self.unet.config["sample_size"]
        shape = (self.unet.config["in_channels"], *((size, size) if isinstance(size, int) else size))
        xt = torch.stack([torch.randn(shape, generator=g, device=g.device).to(device) for g in generator]).to(dtype)

        self.scheduler.set_timesteps(num_inference_steps or own["steps"], device=device)
        xt = xt * getattr(self.scheduler, "init_noise_sigma", 1.0)
        accepted = inspect.signature(self.scheduler.step).parameters
        extra = {k: v for k, v in {"generator": generator, "eta": own["eta"]}.items() if k in accepted}
        low, high = own["w_interval"]
        for t in self.progress_bar(self.scheduler.timesteps):
            x = self.scheduler.scale_model_input(xt, t) if hasattr(self.scheduler, "scale_model_input") else xt
            times, acts = t.expand(n).to(device), low <= float(t) / steps_in_all <= high
            if both is None or not acts or bool((scale == 1).all()):
                output = self.unet(x, times, label, return_dict=False)[0]
            else:
                f, g = self.unet(torch.cat([x, x]), times.repeat(2), both, return_dict=False)[0].chunk(2)
                output = g + scale * (f - g)
            if own["clip_sample"]:  # the x_0 that the output implies
                a, b, c, d = (number.to(dtype).reshape(-1, 1, 1, 1) for number in self._numbers(times))
                x0 = ((d * x - b * output) / (a * d - b * c)).clamp(-1, 1)
                output = c * x0 + d * ((x - a * x0) / b)
            xt = self.scheduler.step(output, t, xt, **extra).prev_sample

        if self.vae is not None:  # the network draws latents
            scale, shift = self.vae.config["scaling_factor"], self.vae.config.get("shift_factor") or 0.0
            xt = self.vae.decode((xt.float() / scale + shift).to(self.vae.dtype)).sample
        images: Any = (xt.float() / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.cpu().permute(0, 2, 3, 1).numpy()
        return ImagePipelineOutput(images=self.numpy_to_pil(images) if output_type == "pil" else images)

    def _class_id(self, label: int | str) -> int:
        names = self.config["class_names"]
        found = names.index(label) if label in names else label
        if not isinstance(found, int) or not 0 <= found < len(names):
            raise ValueError(f"{label!r} is no class; the classes are {', '.join(names)}, or 0 ... {len(names) - 1}.")
        return found

    def _null(self, n: int, device: Any) -> torch.Tensor | None:
        """The label that means "none", K; None for a network without labels."""
        config = self.unet.config
        k = config.get("num_embeds_ada_norm") or (config.get("num_class_embeds") or 0) - 1
        return torch.full((n,), k, device=device) if k > 0 else None

    def _own_scales(self, own: dict[str, Any], ids: list[int] | None) -> float | list[float]:
        """1 + w: of each class its entry in ``w_table``, else w (n̄/n)^p."""
        if ids is None:
            return 1 + own["w"]
        names, counts = self.config["class_names"], self.config["class_counts"]
        n = counts if own["w_power"] and counts else [1] * len(names)
        w = [own["w"] * (sum(n) / len(n) / n[c]) ** own["w_power"] for c in range(len(names))]
        return [1 + own["w_table"].get(names[c], w[c]) for c in ids]

    def _numbers(self, t: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """x_t = a x_0 + b ε, and the network predicts c x_0 + d ε."""
        config = self.scheduler.config
        if "beta_start" not in config:  # a rectified flow
            b = t.float() / config["num_train_timesteps"]
            return 1 - b, b, -torch.ones_like(b), torch.ones_like(b)
        beta = torch.linspace(config["beta_start"], config["beta_end"], config["num_train_timesteps"]).double()
        alpha_bar = torch.cumprod(1 - beta, dim=0)
        sigma = ((1 - alpha_bar).sqrt() / alpha_bar.sqrt()).to(t.device)
        low = t.long()  # between whole times σ is linear
        s = torch.lerp(sigma[low], sigma[(low + 1).clamp(max=len(sigma) - 1)], (t - low).double())
        a = (1 + s.square()).rsqrt()
        b, none, one = s * a, torch.zeros_like(a), torch.ones_like(a)
        kinds = {"epsilon": (none, one), "sample": (one, none), "v_prediction": (-b, a)}
        return a, b, *kinds[config["prediction_type"]]
