"""The training loop as one writes it first: float32, contiguous, Adam, `.item()` at every step.

What ours is measured against, and what its steps must equal. It knows nothing of `steps`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from engine.config import RunConfig
from engine.networks.architectures import build_discriminator, build_generator
from engine.networks.layers import Doubling, Halving
from engine.training.losses import Extract, Generated, generator_loss

WORKERS = 2  # processes that decode


class PlainLoop:
    """Both networks, both optimisers, and a step.

    Args:
        config: the run; how the machine does it is not looked at.
        device: where.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        makes_twice: the generator runs once for each network, as the sketch study's code has it.
    """

    def __init__(
        self, config: RunConfig, device: torch.device, extract: Extract, makes_twice: bool = False
    ) -> None:
        chosen = config.configuration
        self.recipe, self.extract, self.makes_twice = chosen.recipe, extract, makes_twice
        self.generator: nn.Module = build_generator(config.budget).to(device)
        self.discriminator: nn.Module = build_discriminator(config.budget).to(device)
        for layer in self.generator.modules():
            if isinstance(layer, Halving | Doubling):
                layer.most_rows = 0  # the library's own convolutions
        betas = (chosen.beta1, chosen.beta2)
        self.g_optimiser = torch.optim.Adam(self.generator.parameters(), chosen.lr_g, betas)
        self.d_optimiser = torch.optim.Adam(self.discriminator.parameters(), chosen.lr_d, betas)

    def step(self, source: Tensor, target: Tensor) -> tuple[float, float]:
        """One step on pictures [B, 3, H, W] in [-1, 1] -> losses of generator, discriminator."""
        fake = self.generator(source)
        real_logits = self.discriminator(source, target)
        fake_logits = self.discriminator(source, fake.detach())
        d_loss = 0.5 * (_bce(real_logits, 1.0) + _bce(fake_logits, 0.0))
        self.d_optimiser.zero_grad()
        d_loss.backward()  # type: ignore[no-untyped-call]
        self.d_optimiser.step()

        if self.makes_twice:
            fake = self.generator(source)
        logits = self.discriminator(source, fake)
        g_loss, _ = generator_loss(self.recipe, Generated(target, fake, logits, self.extract))
        self.g_optimiser.zero_grad()
        g_loss.backward()  # type: ignore[no-untyped-call]
        self.g_optimiser.step()
        return g_loss.item(), d_loss.item()


def _bce(logits: Tensor, wanted: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, wanted))


def in_memory(source: Tensor, target: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs [N, 3, H, W] that are pictures already, batch by batch in a new order, for ever."""
    while True:
        order = torch.randperm(len(source), device=source.device)
        for start in range(0, len(order) - batch + 1, batch):
            chosen = order[start : start + batch]
            yield source[chosen], target[chosen]


def decoded(folder: Path, batch: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs that are decoded from files side by side in other processes, for ever."""
    loader = DataLoader(
        _Files(sorted(folder.glob("*.png"))),
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )
    while True:
        for source, target in loader:
            yield source.to(device), target.to(device)


class _Files(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.paths[index]) as image:
            both = np.asarray(image.convert("RGB"))
        pictures = torch.from_numpy(both.copy()).permute(2, 0, 1).float() / 127.5 - 1
        source, target = pictures.chunk(2, dim=2)
        return source, target
