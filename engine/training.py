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
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.config import Budget, RunConfig
from engine.data.batches import PairSet, derive_seed, evaluation_batches, training_batches
from engine.errors import DivergedError
from engine.losses import Generated, generator_loss
from engine.metrics import pixel
from engine.state import TrainingState
from engine.steps import PRETRAINING, Extract, Steps, autocast

READ_EVERY_S = 1.0  # losses wait on the device about so long before they are read together
GRADIENTS_EVERY = 10  # steps; a norm reads every weight, about 1 % of a small step


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
