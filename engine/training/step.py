"""Single training steps: the discriminator, then the generator; or the generator alone."""

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.config import Budget, RunConfig
from engine.data.batches import Batch, cut
from engine.errors import DivergedError, EngineError
from engine.training.cuda_graph import RecordedStep
from engine.training.distributed import ALONE, Team
from engine.training.losses import (
    Extract,
    FeatureMaps,
    Generated,
    discriminator_loss,
    generator_loss,
)
from engine.training.state import TrainingState

PRETRAINING = ("l1",)  # what is recorded while the generator is trained alone
EMA_RAMP_UP = 0.05  # the average never looks back further than this share of the pictures seen


@dataclass(frozen=True)
class StepLosses:
    """One recorded step: `g_loss`, `d_loss`, each term before its weight, and what else is told."""

    step: int
    losses: dict[str, float]


Wanted = Callable[[Batch], FeatureMaps]
Network = Callable[..., Tensor]


class Steps:
    """One training step: the discriminator, then the generator, on one shared fake.

    Args:
        config: the run, with nothing left `auto`.
        state: changed by every step.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        wanted: the feature maps of a batch's targets, where they are kept; else they are extracted.
        team: those who train together.
    """

    def __init__(
        self,
        config: RunConfig,
        state: TrainingState,
        extract: Extract,
        wanted: Wanted | None = None,
        team: Team = ALONE,
    ) -> None:
        self.config, self.state, self.extract, self.wanted = config, state, extract, wanted
        self.team = team
        self.layout = (
            torch.channels_last
            if config.execution.channels_last == "on"
            else torch.contiguous_format
        )
        # The networks themselves stay as they are: validation has batches of other shapes.
        is_compiled = config.execution.compile == "on"
        prepare = partial(torch.compile, dynamic=False) if is_compiled else lambda network: network
        self.generator: Network = prepare(team.wrap(state.generator))
        self.discriminator: Network = prepare(team.wrap(state.discriminator))
        self.judge: Network = prepare(state.discriminator)  # it learns nothing from judging
        self.recorded: RecordedStep | None = None
        if config.execution.graph == "on":
            self.recorded = RecordedStep(self.take, state)
        self.notes: list[str] = []  # what a person should know
        self.averages = None
        if state.averaged is not None:
            self.averages = (float_tensors(state.averaged), float_tensors(state.generator))
        terms = config.configuration.recipe.names
        self.names = ("g_loss", "d_loss", *terms, "d_train_accuracy", "g_grad_norm", "d_grad_norm")

    def train(self, batch: Batch) -> Tensor:
        """One step on a batch -> [3 + terms] figures as `names` has them, still on the device."""
        figures = self.replay(batch) if self.recorded is not None else self.take(batch)
        self.count(batch)
        return self.team.mean(figures)

    def pretrain(self, batch: Batch) -> Tensor:
        """One step of the generator alone, by L1 -> [1] figure as `PRETRAINING` has it."""
        source, target = self.lay_out(batch)
        with autocast(self.config, source.device.type):
            fake = self.generator(source)
        loss = functional.l1_loss(fake.float(), target)
        self.learn(self.state.g_optimiser, loss)
        self.count(batch)
        return self.team.mean(loss.detach()[None])

    def count(self, batch: Batch) -> None:
        """Counts a batch that was trained on, and moves the generator's average."""
        state = self.state
        state.step += 1
        state.batches += 1
        state.pictures += self.config.budget.batch
        if self.averages is not None:
            update_average(*self.averages, self.config.budget, state.pictures)

    def replay(self, batch: Batch) -> Tensor:
        """The recorded step, or where it cannot be recorded, said in `notes`, the step itself."""
        assert self.recorded is not None
        try:
            return self.recorded(batch)
        except (RuntimeError, EngineError) as error:
            if self.recorded.batch is not None:
                raise  # it was recorded: this is no fault of the recording
            self.recorded = None
            self.notes.append(f"steps are not replayed from a CUDA graph: {error}")
        return self.take(batch)

    def take(self, batch: Batch) -> Tensor:
        """A step without what only Python knows, so that it can be recorded and replayed."""
        source, target = self.lay_out(batch)
        fake = self.generate(source)
        d_loss, accuracy = self.teach_discriminator(source, target, fake.detach())
        wanted = self.wanted(batch) if self.wanted is not None else None
        g_loss, terms = self.teach_generator(source, target, fake, wanted)
        figures = (g_loss, d_loss, *terms.values(), accuracy)
        return torch.stack([figure.detach() for figure in figures])

    def lay_out(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Source and target [B, 3, H, W] of a batch, in the memory layout of the networks."""
        source, target = cut(batch)
        return (
            source.contiguous(memory_format=self.layout),
            target.contiguous(memory_format=self.layout),
        )

    def generate(self, source: Tensor) -> Tensor:
        """The fakes [B, 3, H, W] that both networks learn from."""
        with autocast(self.config, source.device.type):
            return self.generator(source).float()

    def teach_discriminator(
        self, source: Tensor, target: Tensor, fake: Tensor
    ) -> tuple[Tensor, Tensor]:
        """To tell the target from the fake -> (loss, share of patches it was right about)."""
        with autocast(self.config, source.device.type):
            logits_real = self.discriminator(source, target)
            logits_fake = self.discriminator(source, fake)
        loss = discriminator_loss(logits_real, logits_fake)
        self.learn(self.state.d_optimiser, loss)
        right = (logits_real > 0).float().mean() + (logits_fake < 0).float().mean()
        return loss, right / 2

    def teach_generator(
        self, source: Tensor, target: Tensor, fake: Tensor, wanted: FeatureMaps | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """To be taken for the target, and to be near it as the recipe says -> (loss, terms)."""
        self.state.discriminator.requires_grad_(False)
        try:
            with autocast(self.config, source.device.type):
                logits = self.judge(source, fake)
                generated = Generated(target, fake, logits, self.extract, wanted)
                loss, terms = generator_loss(self.config.configuration.recipe, generated)
            self.learn(self.state.g_optimiser, loss)
        finally:
            self.state.discriminator.requires_grad_(True)
        return loss, terms

    def learn(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        """Lowers a loss."""
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.update(optimiser)

    def update(self, optimiser: torch.optim.Optimizer) -> None:
        """Follows the gradients."""
        optimiser.step()

    def read(self, waiting: Sequence[tuple[int, Tensor]]) -> tuple[StepLosses, ...]:
        """Fetches figures that wait on the device, (step, figures) each, in one transfer.

        A row may be shorter than the names: gradients are not measured at every step.

        Raises:
            DivergedError: one is not finite.
        """
        if not waiting:
            return ()
        flat = iter(torch.cat([figures for _, figures in waiting]).tolist())
        recorded = []
        for step, figures in waiting:
            names = PRETRAINING if len(figures) == len(PRETRAINING) else self.names
            row = dict(zip(names, itertools.islice(flat, len(figures)), strict=False))
            # The terms come before their sum, so that the first culprit is named.
            for name in sorted(row, key="g_loss".__eq__):
                require_finite(name, row[name], f"at step {step}")
            recorded.append(StepLosses(step, row))
        return tuple(recorded)

    def gradient_norms(self) -> Tensor:
        """Norms of the last step's gradients, generator and discriminator -> [2]."""
        networks = (self.state.generator, self.state.discriminator)
        gradients = [
            [it.grad for it in net.parameters() if it.grad is not None] for net in networks
        ]
        return torch.stack([nn.utils.get_total_norm(each) for each in gradients])


def require_finite(name: str, value: float, when: str) -> None:
    """Raises `DivergedError` where a figure is not a number or infinite."""
    if not math.isfinite(value):
        said = "not a number" if math.isnan(value) else "infinite"
        raise DivergedError(f"{name} became {said} {when}")


def float_tensors(network: nn.Module) -> list[Tensor]:
    """Weights and running statistics."""
    return [value for value in network.state_dict().values() if value.is_floating_point()]


def update_average(
    averaged: list[Tensor], generator: list[Tensor], budget: Budget, seen: int
) -> None:
    """Moves the average's tensors towards the generator's.

    The half-life, in pictures, ramps up with the pictures seen (Karras et al. 2024, EDM2, the
    traditional average of its section 3).
    """
    half_life = min(float(budget.ema), EMA_RAMP_UP * seen)
    keep = 0.5 ** (budget.batch / half_life)
    torch._foreach_lerp_(averaged, generator, 1 - keep)


def autocast(config: RunConfig, device: str) -> AbstractContextManager[None]:
    """bf16 autocast when the run's precision says so.

    Each use is a context of its own, so that no cast of a weight outlives the weight's update.
    """
    enabled = config.execution.precision == "bf16"
    return torch.autocast(device, torch.bfloat16, enabled=enabled)
