"""T2H in a training loop of your own, with any network.

    python examples/your_own_loop.py

T2H needs the class counts, the noise process and any denoiser that is called as denoiser(xt, t, class_labels). Here
that is a toy; a DiT or a latent model is used in the same way. NoiseSchedule(prediction="v_prediction") teaches v.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from t2h import NoiseSchedule
from t2h.data import DataConfig, load
from t2h.methods.base import Batch, Context
from t2h.methods.t2h import T2H


class Toy(nn.Module):
    """A denoiser of 8×8 images."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.label = nn.Embedding(num_classes + 1, 64)
        self.time = nn.Embedding(1000, 64)
        self.layers = nn.Sequential(nn.Linear(3 * 64, 256), nn.SiLU(), nn.Linear(256, 64))

    def forward(self, xt: Tensor, t: Tensor, class_labels: Tensor) -> Tensor:
        """What the process predicts (by default the noise) at (x_t, t, y)."""
        seen = torch.cat([xt.flatten(1), self.time(t), self.label(class_labels)], dim=1)
        return self.layers(seen).view_as(xt)


def main(steps: int = 300) -> list[float]:
    """Train; returns the losses."""
    table = load(DataConfig(data="digits", imbalance=0.05))
    images, labels = torch.as_tensor(table.images[:]), torch.as_tensor(table.labels)
    process, generator = NoiseSchedule(), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    denoiser = Toy(table.num_classes)
    context = Context(torch.as_tensor(table.class_counts), process, null_label=table.num_classes)
    aim = T2H(direction="t2h").aim(context)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=2e-3)
    losses = []
    for _ in range(steps):
        rows = torch.randint(len(images), (128,), generator=generator)
        x0 = images[rows].float() / 127.5 - 1
        batch = Batch.noised(process, x0, labels[rows], generator, null_label=table.num_classes)
        with torch.no_grad():
            target = process.target(x0, batch.eps, batch.t, aim(batch))
        loss = (denoiser(batch.xt, batch.t, batch.label) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    losses = main()
    print(f"loss {losses[0]:.3f} at first, {sum(losses[-20:]) / 20:.3f} at last")
