"""All that changes while a run trains: networks, optimisers, how far it is."""

import copy
from dataclasses import dataclass, field

import torch
from torch import nn
from torchvision.models import ResNet

from engine.config import RunConfig
from engine.data.batches import derive_seed
from engine.networks import build_discriminator, build_generator


@dataclass
class TrainingState:
    """All that changes while a run trains; saved whole at an epoch's end.

    Attributes:
        averaged: the generator's moving average, None without one.
        epoch: epochs done. step: steps done. pictures: training pictures seen.
    """

    generator: nn.Module
    discriminator: nn.Module
    g_optimiser: torch.optim.Adam
    d_optimiser: torch.optim.Adam
    averaged: nn.Module | None = None
    epoch: int = 0
    step: int = 0
    pictures: int = 0
    _modules: tuple[str, ...] = field(
        default=("generator", "discriminator", "g_optimiser", "d_optimiser", "averaged"), repr=False
    )

    @property
    def sampler(self) -> nn.Module:
        """The generator that is sampled, evaluated and served."""
        return self.generator if self.averaged is None else self.averaged

    def state_dict(self) -> dict[str, object]:
        """Everything, as `checkpoint` writes it."""
        parts = {name: getattr(self, name) for name in self._modules}
        saved = {name: part.state_dict() for name, part in parts.items() if part is not None}
        return {**saved, "epoch": self.epoch, "step": self.step, "pictures": self.pictures}

    def load_state_dict(self, saved: dict[str, object]) -> None:
        """Takes over what `state_dict` gave, tensors on any device."""
        for name in self._modules:
            part = getattr(self, name)
            if part is not None:
                part.load_state_dict(saved[name])
        self.epoch, self.step = int(str(saved["epoch"])), int(str(saved["step"]))
        self.pictures = int(str(saved["pictures"]))


def build_state(
    config: RunConfig, device: torch.device, encoder: ResNet | None = None
) -> TrainingState:
    """Fresh networks and optimisers, initialised from the run's seed."""
    torch.manual_seed(derive_seed(config.seed, 0, "weights"))
    chosen, execution = config.configuration, config.execution
    layout = torch.channels_last if execution.channels_last == "on" else torch.contiguous_format
    generator = build_generator(config.budget, encoder).to(device, memory_format=layout)  # type: ignore[call-overload]
    discriminator = build_discriminator(config.budget).to(device, memory_format=layout)  # type: ignore[call-overload]
    averaged = None
    if config.budget.ema:
        averaged = copy.deepcopy(generator).eval().requires_grad_(False)
    if execution.compile == "on":
        generator.compile()
        discriminator.compile()
    betas, fused = (chosen.beta1, chosen.beta2), device.type in ("cuda", "cpu")
    return TrainingState(
        generator=generator,
        discriminator=discriminator,
        g_optimiser=torch.optim.Adam(
            generator.parameters(), lr=chosen.lr_g, betas=betas, fused=fused
        ),
        d_optimiser=torch.optim.Adam(
            discriminator.parameters(), lr=chosen.lr_d, betas=betas, fused=fused
        ),
        averaged=averaged,
    )
