"""THE training loop: `train` yields events; whoever iterates it records, draws and saves.

It prints nothing, writes nothing and knows no store. To stop it, do not ask for the next event:
at every one the state may be saved, and continues exactly as if it had never stopped. For that,
every random draw of an epoch comes from (seed, epoch); in its midst the state has what was drawn.
"""

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.config import Budget, RunConfig
from engine.data.batches import Batch, PairSet, derive_seed, evaluation_batches, training_batches
from engine.errors import DivergedError
from engine.metrics import pixel
from engine.training import machine_profile
from engine.training.distributed import ALONE, Team
from engine.training.losses import Extract, Generated, generator_loss
from engine.training.state import TrainingState
from engine.training.step import StepLosses, Steps, autocast, require_finite
from engine.training.target_features import KeptMaps

READ_EVERY_S = 1.0  # losses wait on the device about so long before they are read together
GRADIENTS_EVERY = 10  # steps; a norm reads every weight, about 1 % of a small step


@dataclass(frozen=True)
class StepsDone:
    """Some steps are done, or validation goes on; `recorded` holds the steps that are kept."""

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


@dataclass(frozen=True)
class Noted:
    """Something that a person should know."""

    text: str


Event = StepsDone | EpochDone | Noted


def steps_per_epoch(budget: Budget, n_train: int) -> int:
    """Whole batches in an epoch."""
    return n_train // budget.batch


def train(
    config: RunConfig,
    state: TrainingState,
    pairs: PairSet,
    val_pairs: PairSet,
    extract: Extract,
    team: Team = ALONE,
) -> Iterator[Event]:
    """Trains from where `state` is to the budget's last epoch.

    Args:
        config: the run, with nothing left `auto`.
        state: changed in place; fresh from `build_state` or loaded from a checkpoint.
        pairs: the training split.
        val_pairs: the validation split; draws the curves and chooses the checkpoint.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        team: led by this process; the others `follow`.

    Yields:
        `StepsDone` about once a second and at an epoch's last step, `EpochDone` after every epoch.

    Raises:
        DivergedError: a recorded loss was not finite.
        BadInputError: there are fewer pairs than a batch holds.
    """
    budget = config.budget
    steps = build_steps(config, state, extract, pairs, team)
    while state.epoch < budget.epochs:
        epoch = state.epoch + 1
        factor = rate_factor(budget, epoch)
        yield from train_epoch(config, state, steps, pairs)

        # Validate with the weights that would be used, and hand the state over.
        validation, told_at = _Validation(config, state, extract), time.monotonic()
        for source, target in evaluation_batches(val_pairs, max(budget.batch, 16)):
            validation.look(source, target)
            if time.monotonic() - told_at >= READ_EVERY_S:
                yield StepsDone(epoch, state.step, state.pictures, ())
                told_at = time.monotonic()
        metrics = validation.conclude()
        metrics |= {
            "epoch_seconds": state.seconds,
            "images_per_second": state.batches * budget.batch / state.seconds,
            "peak_memory_mb": peak_memory_mb(pairs.device),
            "lr_g": config.configuration.lr_g * factor,
            "lr_d": config.configuration.lr_d * factor,
        }
        state.epoch, state.batches, state.seconds = epoch, 0, 0.0
        yield EpochDone(epoch, state.step, metrics, state)


def build_steps(
    config: RunConfig,
    state: TrainingState,
    extract: Extract,
    pairs: PairSet,
    team: Team = ALONE,
) -> Steps:
    """How steps are taken on these pairs."""
    wanted = None
    if config.execution.keep_maps == "on" and pairs.is_near and pairs.rows is None:
        with autocast(config, pairs.device.type):
            wanted = KeptMaps(extract, pairs)
    return Steps(config, state, extract, wanted, team)


def train_epoch(
    config: RunConfig, state: TrainingState, steps: Steps, pairs: PairSet
) -> Iterator[StepsDone | Noted]:
    """Trains on every pair once, or on those that are left of an epoch under way.

    The losses stay on the device until they are read together. What the caller does with an event
    is not counted as time spent.
    """
    budget, epoch = config.budget, state.epoch + 1
    _begin_epoch(config, state, rate_factor(budget, epoch), steps.team)
    spent, away = state.seconds, 0.0
    started = read_at = time.monotonic()
    waiting: list[tuple[int, Tensor]] = []
    alone = epoch <= budget.pretrain
    for batch in _batches(config, state, pairs, steps.team):
        steps.team.goes_on()
        losses = (steps.pretrain if alone else steps.train)(batch)
        while steps.notes:
            yield Noted(steps.notes.pop())
        if state.step % int(config.execution.record_every) == 0:
            if state.step % GRADIENTS_EVERY == 0 and not alone:
                losses = torch.cat([losses, steps.gradient_norms()])
            waiting.append((state.step, losses))
        # A run's first step is told at once: somebody may sit before an empty chart.
        if state.step == 1 or time.monotonic() - read_at >= READ_EVERY_S:
            recorded = steps.read(waiting)
            left = time.monotonic()
            state.seconds = spent + left - started - away
            yield StepsDone(epoch, state.step, state.pictures, recorded)
            waiting, read_at = [], time.monotonic()
            away += read_at - left
    recorded = steps.read(waiting)
    machine_profile.synchronise(pairs.device)
    state.seconds = spent + time.monotonic() - started - away
    yield StepsDone(epoch, state.step, state.pictures, recorded)


def follow(
    config: RunConfig, state: TrainingState, pairs: PairSet, extract: Extract, team: Team
) -> None:
    """Takes a member's share of every step, as long as the leader goes on."""
    steps = build_steps(config, state, extract, pairs, team)
    while state.epoch < config.budget.epochs:
        _begin_epoch(config, state, rate_factor(config.budget, state.epoch + 1), team)
        alone = state.epoch < config.budget.pretrain
        for batch in _batches(config, state, pairs, team):
            if not team.goes_on():
                return
            (steps.pretrain if alone else steps.train)(batch)
        state.epoch, state.batches = state.epoch + 1, 0
    team.goes_on()  # the leader validates, and says goodbye


def _batches(
    config: RunConfig, state: TrainingState, pairs: PairSet, team: Team
) -> Iterator[Batch]:
    """The batches that are left of the epoch under way."""
    budget, epoch = config.budget, state.epoch + 1
    return training_batches(
        pairs, budget.batch, budget.jitter, config.seed, epoch, state.batches, team.share
    )


def _begin_epoch(config: RunConfig, state: TrainingState, factor: float, team: Team) -> None:
    """Every random stream of an epoch is derived, none is carried over from the one before.

    Those who follow have streams of their own; in the midst of an epoch they begin new ones.
    """
    epoch = state.epoch + 1
    if team.rank:
        stream = f"dropout {team.rank} {state.batches}"
        torch.manual_seed(derive_seed(config.seed, epoch, stream))
    elif state.batches:
        state.restore_random()
    else:
        torch.manual_seed(derive_seed(config.seed, epoch, "dropout"))
    _set_rate(state.g_optimiser, config.configuration.lr_g * factor)
    _set_rate(state.d_optimiser, config.configuration.lr_d * factor)
    state.generator.train()
    state.discriminator.train()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


class _Validation:
    """`val_g_loss` and the mean `val_psnr` of the sampler over the validation split."""

    def __init__(self, config: RunConfig, state: TrainingState, extract: Extract) -> None:
        self.config, self.extract = config, extract
        self.epoch = state.epoch + 1
        self.sampler, self.discriminator = state.sampler.eval(), state.discriminator.eval()
        self.losses: list[float] = []
        self.sizes: list[int] = []
        self.psnr: list[Tensor] = []

    @torch.no_grad()
    def look(self, source: Tensor, target: Tensor) -> None:
        """Takes in a batch."""
        with autocast(self.config, source.device.type):
            fake = self.sampler(source).float()
            if not fake.isfinite().all():
                raise DivergedError(
                    f"the generator's values were not finite after epoch {self.epoch}"
                )
            logits = self.discriminator(source, fake)
            loss, _ = generator_loss(
                self.config.configuration.recipe, Generated(target, fake, logits, self.extract)
            )
        self.losses.append(float(loss))
        self.sizes.append(len(source))
        self.psnr.append(pixel.capped_psnr((fake + 1) / 2, (target + 1) / 2))

    def conclude(self) -> dict[str, float]:
        """The means; refuses those that are not finite."""
        total = sum(loss * size for loss, size in zip(self.losses, self.sizes, strict=True))
        metrics = {
            "val_g_loss": total / sum(self.sizes),
            "val_psnr": torch.cat(self.psnr).mean().item(),
        }
        for name, value in metrics.items():
            require_finite(name, value, f"after epoch {self.epoch}")
        return metrics


def rate_factor(budget: Budget, epoch: int) -> float:
    """What both rates are multiplied by in an epoch (1-based): 1, then linearly towards 0."""
    decaying = round(budget.epochs * budget.decay)
    done = max(0, epoch - (budget.epochs - decaying))
    return 1 - done / (decaying + 1)


def peak_memory_mb(device: torch.device) -> float:
    """The most memory: the GPU's of this epoch, or the process's so far on a CPU.

    What is reserved counts: a recorded step allocates nothing, it works in what is kept for it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):  # a recorded step reads it where it lies
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
