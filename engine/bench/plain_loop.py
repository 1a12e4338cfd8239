"""A plain training loop: float32, contiguous tensors, Adam, `.item()` after every step.

The benchmark compares the speed of `training.loop` with this loop, and tests require that both
compute the same losses. Except for the networks and the loss function `generator_loss`, this module
shares no code with `training.step`.
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
from engine.errors import BadInputError
from engine.networks.architectures import build_discriminator
from engine.networks.layers import DownConv, UpConv
from engine.networks.outputs import build_generator
from engine.networks.palette_generator import Prediction
from engine.training.losses import FeatureExtractor, LossInputs, generator_loss

N_DECODING_PROCESSES = 2


class PlainLoop:
    """The plain training loop: both networks, their optimisers and a training step.

    Args:
        config: the run; its execution settings are ignored.
        device: where the networks compute.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        two_forwards: whether each step runs the generator twice, once to update the discriminator
            and once to update the generator, as in the code published with study 1.

    Raises:
        BadInputError: the recipe has no adversarial term.
    """

    def __init__(
        self,
        config: RunConfig,
        device: torch.device,
        extract: FeatureExtractor,
        two_forwards: bool = False,
    ) -> None:
        require_adversarial(config)
        configuration = config.configuration
        self.recipe, self.extract, self.two_forwards = configuration.recipe, extract, two_forwards
        self.generator: nn.Module = build_generator(config.budget, config.configuration).to(device)
        self.discriminator: nn.Module = build_discriminator(config.budget).to(device)
        for layer in self.generator.modules():
            if isinstance(layer, DownConv | UpConv):
                layer.max_gemm_rows = 0  # torch's own convolutions
        betas = (configuration.beta1, configuration.beta2)
        self.g_optimiser = torch.optim.Adam(self.generator.parameters(), configuration.lr_g, betas)
        self.d_optimiser = torch.optim.Adam(
            self.discriminator.parameters(), configuration.lr_d, betas
        )

    def step(self, source: Tensor, target: Tensor) -> tuple[float, float]:
        """Takes one step on pictures [B, 3, H, W] in [-1, 1].

        Returns:
            The losses of the generator and of the discriminator.
        """
        # Discriminator: tell the target from the fake.
        fake = self.generator(source)
        target_logits = self.discriminator(source, target)
        fake_logits = self.discriminator(source, fake.detach())
        d_loss = 0.5 * (_bce(target_logits, 1.0) + _bce(fake_logits, 0.0))
        self.d_optimiser.zero_grad()
        d_loss.backward()  # type: ignore[no-untyped-call]
        self.d_optimiser.step()

        # Generator: lower the recipe's loss.
        if self.two_forwards:
            fake = self.generator(source)
        logits = self.discriminator(source, fake)
        inputs = LossInputs(source, target, Prediction(fake), logits, self.extract)
        g_loss, _ = generator_loss(self.recipe, inputs)
        self.g_optimiser.zero_grad()
        g_loss.backward()  # type: ignore[no-untyped-call]
        self.g_optimiser.step()
        return g_loss.item(), d_loss.item()


def require_adversarial(config: RunConfig) -> None:
    """Refuses configurations that the plain loop cannot train.

    Raises:
        BadInputError: the recipe has no adversarial term.
    """
    configuration = config.configuration
    if not configuration.recipe.is_adversarial:
        raise BadInputError(
            f"{configuration.name} has no adversarial term ({configuration.recipe}), and the plain "
            "loop trains only recipes with one: choose another configuration, for example standard."
        )


def _bce(logits: Tensor, label: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def batches_in_memory(
    source: Tensor, target: Tensor, batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields batches of pairs [N, 3, H, W] endlessly, in a new order in every epoch."""
    while True:
        order = torch.randperm(len(source), device=source.device)
        for start in range(0, len(order) - batch + 1, batch):
            indices = order[start : start + batch]
            yield source[indices], target[indices]


def batches_from_files(
    folder: Path, batch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields batches of pairs endlessly; other processes decode the files, one pair per file."""
    loader = DataLoader(
        _PairFiles(sorted(folder.glob("*.png"))),
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=N_DECODING_PROCESSES,
        persistent_workers=True,
    )
    while True:
        for source, target in loader:
            yield source.to(device), target.to(device)


class _PairFiles(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.paths[index]) as image:
            pixels = np.asarray(image.convert("RGB"))
        pair = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1
        source, target = pair.chunk(2, dim=2)
        return source, target
