"""All that changes while a run trains: networks, optimisers, how far it is."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from engine.config import RunConfig
from engine.data.batches import derive_seed
from engine.networks.architectures import build_discriminator, build_generator
from engine.networks.layers import lay_out


@dataclass
class TrainingState:
    """All that changes while a run trains; it may be saved between any two steps.

    Attributes:
        averaged: the generator's moving average, None without one.
        epoch: epochs done. step: steps done. pictures: training pictures seen.
        batches: steps done of the epoch under way; 0 at an epoch's end, when nothing random needs
            to be saved, for every epoch draws anew.
        seconds: spent on them.
        is_trainable: False where a checkpoint was loaded whose optimisers were pruned.
    """

    generator: nn.Module
    discriminator: nn.Module
    g_optimiser: torch.optim.Adam
    d_optimiser: torch.optim.Adam
    averaged: nn.Module | None = None
    epoch: int = 0
    step: int = 0
    pictures: int = 0
    batches: int = 0
    seconds: float = 0.0
    is_trainable: bool = True
    _random: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _modules: tuple[str, ...] = field(
        default=("generator", "discriminator", "g_optimiser", "d_optimiser", "averaged"), repr=False
    )

    @property
    def sampler(self) -> nn.Module:
        """The generator that is sampled, evaluated and served."""
        return self.generator if self.averaged is None else self.averaged

    def state_dict(self) -> dict[str, Any]:
        """Everything, as `checkpoint` writes it."""
        parts = {name: getattr(self, name) for name in self._modules}
        saved = {name: part.state_dict() for name, part in parts.items() if part is not None}
        saved |= {"epoch": self.epoch, "step": self.step, "pictures": self.pictures}
        if self.batches:
            saved |= {"batches": self.batches, "seconds": self.seconds}
            saved["random"] = self.random_state()
        return saved

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` gave, tensors on any device."""
        for name in self._modules:
            part = getattr(self, name)
            if isinstance(part, torch.optim.Optimizer):
                if name in saved:  # how it works is said by the run, only its moments are loaded
                    groups = part.state_dict()["param_groups"]
                    part.load_state_dict({**saved[name], "param_groups": groups})
                    _lay_out_as_weights(part)
            elif part is not None:
                part.load_state_dict(saved[name])
        self.is_trainable = "g_optimiser" in saved
        self.epoch, self.step, self.pictures = saved["epoch"], saved["step"], saved["pictures"]
        self.batches, self.seconds = saved.get("batches", 0), saved.get("seconds", 0.0)
        self._random = saved.get("random", {})

    def restore_random(self) -> None:
        """Goes on drawing where the state was saved in the midst of an epoch."""
        self.set_random_state(self._random)
        self._random = {}

    def random_state(self) -> dict[str, Tensor]:
        """How far the random streams are, by the device that draws from them."""
        return {name: module.get_rng_state() for name, module in self._random_modules().items()}

    def set_random_state(self, drawn: Mapping[str, Tensor]) -> None:
        """Goes on drawing from there, on the devices that there are."""
        for name, module in self._random_modules().items():
            if name in drawn:
                module.set_rng_state(drawn[name])

    def _random_modules(self) -> dict[str, Any]:
        """Where random numbers are drawn: the CPU, and the device that the networks are on."""
        device = next(self.generator.parameters()).device.type
        own = {} if device == "cpu" else {device: torch.get_device_module(device)}
        return {"cpu": torch, **own}


def _lay_out_as_weights(optimiser: torch.optim.Optimizer) -> None:
    """Fused updates go through weights and moments as they lie, so these must lie alike."""
    for weight, values in optimiser.state.items():
        for name, value in values.items():
            if value.shape == weight.shape:
                values[name] = torch.empty_like(weight).copy_(value)


def build_state(
    config: RunConfig, device: torch.device, encoder: ResNet | None = None
) -> TrainingState:
    """Fresh networks and optimisers, initialised from the run's seed."""
    torch.manual_seed(derive_seed(config.seed, 0, "weights"))
    chosen, execution = config.configuration, config.execution
    layout = torch.channels_last if execution.channels_last == "on" else torch.contiguous_format
    budget = config.budget
    generator = build_generator(budget, encoder).to(device)
    lay_out(generator, layout, budget.px, budget.batch)
    discriminator = build_discriminator(budget).to(device, memory_format=layout)  # type: ignore[call-overload]
    averaged = None
    if config.budget.ema:
        averaged = copy.deepcopy(generator).eval().requires_grad_(False)
    # A recorded step reads its rate, and counts its steps, on the device.
    is_recorded = execution.graph == "on" and device.type == "cuda"

    def adam(network: nn.Module, rate: float) -> torch.optim.Adam:
        return torch.optim.Adam(
            network.parameters(),
            lr=torch.tensor(rate, device=device) if is_recorded else rate,
            betas=(chosen.beta1, chosen.beta2),
            fused=device.type in ("cuda", "cpu"),
            capturable=is_recorded,
        )

    return TrainingState(
        generator=generator,
        discriminator=discriminator,
        g_optimiser=adam(generator, chosen.lr_g),
        d_optimiser=adam(discriminator, chosen.lr_d),
        averaged=averaged,
    )
