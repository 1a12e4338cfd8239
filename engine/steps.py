"""Single training steps: the discriminator, then the generator; or the generator alone."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.config import Budget, RunConfig
from engine.losses import FeatureMaps, Generated, discriminator_loss, generator_loss
from engine.state import TrainingState

Extract = Callable[[Tensor], FeatureMaps]

PRETRAINING = ("l1",)  # what is recorded while the generator is trained alone
EMA_RAMP_UP = 0.05  # the average never looks back further than this share of the pictures seen


class Steps:
    """One training step: the discriminator, then the generator, on one shared fake."""

    def __init__(self, config: RunConfig, state: TrainingState, extract: Extract) -> None:
        self.config, self.state, self.extract = config, state, extract
        self.layout = (
            torch.channels_last
            if config.execution.channels_last == "on"
            else torch.contiguous_format
        )
        terms = config.configuration.recipe.names
        self.names = ("g_loss", "d_loss", *terms, "d_train_accuracy", "g_grad_norm", "d_grad_norm")

    def take(self, source: Tensor, target: Tensor) -> Tensor:
        """One step on a batch -> [3 + terms] figures as `names` has them, still on the device."""
        state, recipe = self.state, self.config.configuration.recipe
        device = source.device.type
        source = source.contiguous(memory_format=self.layout)
        target = target.contiguous(memory_format=self.layout)
        with autocast(self.config, device):
            fake = state.generator(source)
        fake = fake.float()

        # Discriminator: tell the target from the fake.
        with autocast(self.config, device):
            logits_real = state.discriminator(source, target)
            logits_fake = state.discriminator(source, fake.detach())
        d_loss = discriminator_loss(logits_real, logits_fake)
        state.d_optimiser.zero_grad()
        d_loss.backward()  # type: ignore[no-untyped-call]
        state.d_optimiser.step()

        # Generator: be taken for the target, and be near it as the recipe says.
        state.discriminator.requires_grad_(False)
        with autocast(self.config, device):
            logits = state.discriminator(source, fake)
            g_loss, terms = generator_loss(recipe, Generated(target, fake, logits, self.extract))
        self.step_generator(g_loss, len(source))
        state.discriminator.requires_grad_(True)
        right = (logits_real > 0).float().mean() + (logits_fake < 0).float().mean()
        figures = (g_loss, d_loss, *terms.values(), right / 2)
        return torch.stack([figure.detach() for figure in figures])

    def pretrain(self, source: Tensor, target: Tensor) -> Tensor:
        """One step of the generator alone, by L1 -> [1] figure as `PRETRAINING` has it."""
        source = source.contiguous(memory_format=self.layout)
        target = target.contiguous(memory_format=self.layout)
        with autocast(self.config, source.device.type):
            fake = self.state.generator(source)
        loss = functional.l1_loss(fake.float(), target)
        self.step_generator(loss, len(source))
        return loss.detach()[None]

    def step_generator(self, loss: Tensor, n_pictures: int) -> None:
        """Lowers the generator's loss, and moves its average."""
        state = self.state
        state.g_optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        state.g_optimiser.step()
        if state.averaged is not None:
            seen = state.pictures + n_pictures
            update_average(state.averaged, state.generator, self.config.budget, seen)

    def gradient_norms(self) -> Tensor:
        """Norms of the last step's gradients, generator and discriminator -> [2]."""
        networks = (self.state.generator, self.state.discriminator)
        gradients = [
            [it.grad for it in net.parameters() if it.grad is not None] for net in networks
        ]
        return torch.stack([nn.utils.get_total_norm(each) for each in gradients])


def update_average(averaged: nn.Module, generator: nn.Module, budget: Budget, seen: int) -> None:
    """Moves the average towards the generator: weights and running statistics.

    The half-life, in pictures, ramps up with the pictures seen (Karras et al. 2024, EDM2, the
    traditional average of its section 3).
    """
    half_life = min(float(budget.ema), EMA_RAMP_UP * seen)
    keep = 0.5 ** (budget.batch / half_life)
    mine, theirs = averaged.state_dict(), generator.state_dict()
    floats = [name for name, value in mine.items() if value.is_floating_point()]
    torch._foreach_lerp_(
        [mine[name] for name in floats], [theirs[name] for name in floats], 1 - keep
    )


def autocast(config: RunConfig, device: str) -> AbstractContextManager[None]:
    """bf16 autocast when the run's precision says so.

    Each use is a context of its own, so that no cast of a weight outlives the weight's update.
    """
    enabled = config.execution.precision == "bf16"
    return torch.autocast(device, torch.bfloat16, enabled=enabled)
