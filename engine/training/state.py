"""The training state: networks, optimisers, counters and random generators of a run."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.config import RunConfig
from engine.data.batches import derive_seed
from engine.networks.architectures import build_discriminator, build_encoder
from engine.networks.layers import set_memory_format
from engine.networks.outputs import Pretrained, build_generator
from engine.networks.palette_generator import parameter_groups
from engine.training.optimizers import build_optimizer


@dataclass
class TrainingState:
    """Everything that training changes. A training state can be saved after any step.

    Attributes:
        generator: the generator that is trained.
        discriminator: the discriminator; None: the recipe has no adversarial term.
        g_optimiser: the generator's optimiser.
        d_optimiser: the discriminator's optimiser; None: there is no discriminator.
        averaged: the generator's moving average; None: the run computes no average.
        epoch: number of epochs done.
        step: number of steps done.
        pictures: number of training pictures so far.
        batches: number of steps done in the epoch in progress. If it is 0, the random generators
            are not saved, because every epoch starts new random streams.
        seconds: training time of the epoch in progress.
        is_trainable: False if the state was loaded from a checkpoint without optimisers.
    """

    generator: nn.Module
    discriminator: nn.Module | None
    g_optimiser: torch.optim.Adam
    d_optimiser: torch.optim.Adam | None
    averaged: nn.Module | None = None
    epoch: int = 0
    step: int = 0
    pictures: int = 0
    batches: int = 0
    seconds: float = 0.0
    is_trainable: bool = True
    _saved_random: dict[str, Tensor] = field(default_factory=dict, repr=False)
    _modules: tuple[str, ...] = field(
        default=("generator", "discriminator", "g_optimiser", "d_optimiser", "averaged"), repr=False
    )

    @property
    def sampler(self) -> nn.Module:
        """The network that is sampled and evaluated: the average, else the generator."""
        return self.generator if self.averaged is None else self.averaged

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks that are trained."""
        both = (self.generator, self.discriminator)
        return tuple(network for network in both if network is not None)

    @property
    def optimisers(self) -> tuple[torch.optim.Adam, ...]:
        """The optimisers, in the order of `networks`."""
        both = (self.g_optimiser, self.d_optimiser)
        return tuple(optimiser for optimiser in both if optimiser is not None)

    @property
    def rate_names(self) -> tuple[str, ...]:
        """The names of the learning rates, in the order of `optimisers`."""
        return ("lr_g",) if self.d_optimiser is None else ("lr_g", "lr_d")

    def state_dict(self) -> dict[str, Any]:
        """Returns the content of a checkpoint."""
        modules = {name: getattr(self, name) for name in self._modules}
        content = {
            name: module.state_dict() for name, module in modules.items() if module is not None
        }
        content |= {"epoch": self.epoch, "step": self.step, "pictures": self.pictures}
        if self.batches:
            content |= {"batches": self.batches, "seconds": self.seconds}
            content["random"] = self.random_state()
        return content

    def load_state_dict(self, content: Mapping[str, Any]) -> None:
        """Loads the content of a checkpoint, whose tensors may be on any device."""
        for name in self._modules:
            module = getattr(self, name)
            if isinstance(module, torch.optim.Optimizer):
                if name in content:  # Load only the moments, not the settings.
                    groups = module.state_dict()["param_groups"]
                    module.load_state_dict({**content[name], "param_groups": groups})
                    _match_memory_format(module)
            elif module is not None:
                module.load_state_dict(content[name])
        self.is_trainable = "g_optimiser" in content
        self.epoch, self.step = content["epoch"], content["step"]
        self.pictures = content["pictures"]
        self.batches, self.seconds = content.get("batches", 0), content.get("seconds", 0.0)
        self._saved_random = content.get("random", {})

    def restore_random(self) -> None:
        """Sets the random generators to the state in the loaded checkpoint."""
        self.set_random_state(self._saved_random)
        self._saved_random = {}

    def random_state(self) -> dict[str, Tensor]:
        """Returns the states of the random generators by device."""
        return {name: module.get_rng_state() for name, module in self._random_modules().items()}

    def set_random_state(self, states: Mapping[str, Tensor]) -> None:
        """Sets the random generators; ignores the states of devices that the run does not use."""
        for name, module in self._random_modules().items():
            if name in states:
                module.set_rng_state(states[name])

    def _random_modules(self) -> dict[str, Any]:
        """Returns the torch modules with the random generators of the devices, by device."""
        device = next(self.generator.parameters()).device.type
        others = {} if device == "cpu" else {device: torch.get_device_module(device)}
        return {"cpu": torch, **others}


def _match_memory_format(optimiser: torch.optim.Optimizer) -> None:
    """Puts each moment into the memory format of its weight, which fused updates require."""
    for weight, values in optimiser.state.items():
        for name, value in values.items():
            if value.shape == weight.shape:
                values[name] = torch.empty_like(weight).copy_(value)


def build_state(
    config: RunConfig,
    device: torch.device,
    encoder_path: Path | None = None,
    reader_weights: Path | None = None,
) -> TrainingState:
    """Builds new networks and optimisers, initialised from the run's seed.

    Args:
        config: the config of the run; no setting is `auto`.
        device: the training device.
        encoder_path: file of ImageNet weights for the generator's encoder; None: the
            encoder is initialised randomly.
        reader_weights: file of weights for the network that reads the source; None: the network is
            initialised randomly.
    """
    budget, execution = config.budget, config.execution
    is_channels_last = execution.channels_last == "on"
    memory_format = torch.channels_last if is_channels_last else torch.contiguous_format

    # Build the networks. The encoder has its own seed, so that the other initial weights do not
    # depend on the encoder.
    torch.manual_seed(derive_seed(config.seed, 0, "encoder"))
    encoder = build_encoder(budget, encoder_path)
    torch.manual_seed(derive_seed(config.seed, 0, "weights"))
    generator = build_generator(
        budget, config.configuration, Pretrained(encoder, reader_weights)
    ).to(device)
    set_memory_format(generator, memory_format, budget.px, budget.batch)
    discriminator = None
    if config.configuration.recipe.is_adversarial:
        discriminator = build_discriminator(budget).to(device, memory_format=memory_format)  # type: ignore[call-overload]
    averaged = None
    if budget.ema:
        averaged = copy.deepcopy(generator).eval().requires_grad_(False)

    # Build the optimisers.
    configuration = config.configuration
    has_graph = execution.graph == "on" and device.type == "cuda"

    def build_for(network: nn.Module, lr: float) -> torch.optim.Adam:
        return build_optimizer(configuration, lr, parameter_groups(network), device, has_graph)

    return TrainingState(
        generator=generator,
        discriminator=discriminator,
        g_optimiser=build_for(generator, configuration.lr_g),
        d_optimiser=None if discriminator is None else build_for(discriminator, configuration.lr_d),
        averaged=averaged,
    )
