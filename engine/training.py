"""THE training loop: `train` yields events; whoever iterates it records, draws and saves.

It prints nothing, writes nothing and knows no store. To stop it, do not ask for the next event.
Every random draw of an epoch comes from (seed, epoch), so a state saved at an epoch's end
continues exactly as if it had never stopped.
"""

import itertools
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.config import Budget, RunConfig
from engine.data.batches import PairSet, derive_seed, evaluation_batches, training_batches
from engine.errors import DivergedError
from engine.losses import FeatureMaps, Generated, discriminator_loss, generator_loss
from engine.metrics import pixel
from engine.state import TrainingState

Extract = Callable[[Tensor], FeatureMaps]

READ_EVERY_S = 1.0  # losses wait on the device about so long before they are read together
GRADIENTS_EVERY = 10  # steps; a norm reads every weight, about 1 % of a small step
PRETRAINING = ("l1",)  # what is recorded while the generator is trained alone
EMA_RAMP_UP = 0.05  # the average never looks back further than this share of the pictures seen


@dataclass(frozen=True)
class StepLosses:
    """One recorded step: `g_loss`, `d_loss`, each term before its weight, and what else is told."""

    step: int
    losses: dict[str, float]


@dataclass(frozen=True)
class StepsDone:
    """Some steps are done; `recorded` holds those that are kept."""

    epoch: int
    step: int
    pictures: int
    recorded: tuple[StepLosses, ...]


@dataclass(frozen=True)
class EpochDone:
    """An epoch is done and validated; `state` may be saved and sampled before going on."""

    epoch: int
    step: int
    metrics: dict[str, float]
    state: TrainingState


Event = StepsDone | EpochDone


def steps_per_epoch(budget: Budget, n_train: int) -> int:
    """Whole batches in an epoch."""
    return n_train // budget.batch


def train(
    config: RunConfig, state: TrainingState, pairs: PairSet, val_pairs: PairSet, extract: Extract
) -> Iterator[Event]:
    """Trains from where `state` is to the budget's last epoch.

    Args:
        config: the run, with nothing left `auto`.
        state: changed in place; fresh from `build_state` or loaded from a checkpoint.
        pairs: the training split.
        val_pairs: the validation split; draws the curves and chooses the checkpoint.
        extract: pictures -> feature maps, for recipes with a perceptual term.

    Yields:
        `StepsDone` about once a second, `EpochDone` after every epoch.

    Raises:
        DivergedError: a recorded loss was not finite.
        BadInputError: there are fewer pairs than a batch holds.
    """
    budget, steps = config.budget, Steps(config, state, extract)
    while state.epoch < budget.epochs:
        # Every random stream of this epoch is derived, none is carried over.
        epoch = state.epoch + 1
        torch.manual_seed(derive_seed(config.seed, epoch, "dropout"))
        factor = rate_factor(budget, epoch)
        _set_rate(state.g_optimiser, config.configuration.lr_g * factor)
        _set_rate(state.d_optimiser, config.configuration.lr_d * factor)
        state.generator.train()
        state.discriminator.train()

        # Train on every pair once; the losses stay on the device until they are read together.
        # What the caller does with an event is not training time.
        away = 0.0
        started = read_at = time.monotonic()
        waiting: list[tuple[int, Tensor]] = []
        alone = epoch <= budget.pretrain
        names = PRETRAINING if alone else steps.names
        first = state.step
        if pairs.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pairs.device)
        for source, target in training_batches(
            pairs, budget.batch, budget.jitter, config.seed, epoch
        ):
            losses = (steps.pretrain if alone else steps.take)(source, target)
            state.step += 1
            state.pictures += len(source)
            if state.step % int(config.execution.record_every) == 0:
                if state.step % GRADIENTS_EVERY == 0 and not alone:
                    losses = torch.cat([losses, steps.gradient_norms()])
                waiting.append((state.step, losses))
            if time.monotonic() - read_at >= READ_EVERY_S:
                recorded = _read(waiting, names)
                left = time.monotonic()
                yield StepsDone(epoch, state.step, state.pictures, recorded)
                waiting, read_at = [], time.monotonic()
                away += read_at - left
        recorded = _read(waiting, names)
        if pairs.device.type == "cuda":
            torch.cuda.synchronize(pairs.device)
        seconds = time.monotonic() - started - away
        yield StepsDone(epoch, state.step, state.pictures, recorded)

        # Validate with the weights that would be used, and hand the state over.
        state.epoch = epoch
        metrics = validate(config, state, val_pairs, extract)
        metrics |= {
            "epoch_seconds": seconds,
            "images_per_second": (state.step - first) * budget.batch / seconds,
            "peak_memory_mb": peak_memory_mb(pairs.device),
            "lr_g": config.configuration.lr_g * factor,
            "lr_d": config.configuration.lr_d * factor,
        }
        yield EpochDone(epoch, state.step, metrics, state)


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


@torch.no_grad()
def validate(
    config: RunConfig, state: TrainingState, pairs: PairSet, extract: Extract
) -> dict[str, float]:
    """`val_g_loss` and the mean `val_psnr` of the sampler over the validation split."""
    sampler = state.sampler.eval()
    state.discriminator.eval()
    total, psnr = 0.0, []
    for source, target in evaluation_batches(pairs, max(config.budget.batch, 16)):
        with autocast(config, source.device.type):
            fake = sampler(source).float()
            if not fake.isfinite().all():
                raise DivergedError(
                    f"the generator's values were not finite at epoch {state.epoch}"
                )
            logits = state.discriminator(source, fake)
            loss, _ = generator_loss(
                config.configuration.recipe, Generated(target, fake, logits, extract)
            )
        total += float(loss) * len(source)
        psnr.append(pixel.capped_psnr((fake + 1) / 2, (target + 1) / 2))
    val_psnr = torch.cat(psnr).mean().item()
    metrics = {"val_g_loss": total / len(pairs), "val_psnr": val_psnr}
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise DivergedError(f"{name} became {value} at epoch {state.epoch}")
    return metrics


def autocast(config: RunConfig, device: str) -> AbstractContextManager[None]:
    """bf16 autocast when the run's precision says so.

    Each use is a context of its own, so that no cast of a weight outlives the weight's update.
    """
    enabled = config.execution.precision == "bf16"
    return torch.autocast(device, torch.bfloat16, enabled=enabled)


def rate_factor(budget: Budget, epoch: int) -> float:
    """What both rates are multiplied by in an epoch (1-based): 1, then linearly towards 0."""
    decaying = round(budget.epochs * budget.decay)
    done = max(0, epoch - (budget.epochs - decaying))
    return 1 - done / (decaying + 1)


def peak_memory_mb(device: torch.device) -> float:
    """The most memory: the GPU's of this epoch, or the process's so far on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _read(waiting: list[tuple[int, Tensor]], names: tuple[str, ...]) -> tuple[StepLosses, ...]:
    """Fetches the waiting figures in one transfer; refuses those that are not finite.

    A row may be shorter than the names: gradients are not measured at every step.
    """
    if not waiting:
        return ()
    flat = iter(torch.cat([figures for _, figures in waiting]).tolist())
    recorded = []
    for step, figures in waiting:
        row = dict(zip(names, itertools.islice(flat, len(figures)), strict=False))
        # The terms come before their sum, so that the first culprit is named.
        for name in sorted(row, key="g_loss".__eq__):
            if not math.isfinite(row[name]):
                raise DivergedError(f"{name} became {row[name]} at step {step}")
        recorded.append(StepLosses(step, row))
    return tuple(recorded)


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
