"""The training loop: `train` is a generator that trains a run and yields events.

The caller iterates over the events and does everything else: it records losses, draws samples and
saves checkpoints. To stop the run, the caller stops iterating. At every event it may save the
state; a run that continues from there gives the same numbers as one that was never stopped. For
that, all random numbers of an epoch are derived from the run's seed and the epoch, and a state
saved within an epoch contains the states of the random generators.

The loop prints nothing, writes no file and does not use the database.
"""

import resource
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.config import Budget, RunConfig
from engine.data.batches import Batch, PairSet, derive_seed, evaluation_batches, training_batches
from engine.errors import DivergedError
from engine.metrics import pixel
from engine.training.distributed import SINGLE_PROCESS, ProcessGroup
from engine.training.losses import FeatureExtractor, LossInputs, generator_loss
from engine.training.machine_profile import synchronize
from engine.training.state import TrainingState
from engine.training.step import StepLosses, TrainingStep, autocast, require_finite
from engine.training.target_features import TargetFeatureCache

FETCH_INTERVAL_S = 1.0  # Losses stay on the device until the next fetch.
# A norm reads every weight, which takes about 1 % of the time of a small step.
GRADIENT_NORM_INTERVAL_STEPS = 10
MIN_VALIDATION_BATCH = 16


@dataclass(frozen=True)
class StepsDone:
    """Some steps are done, or validation is in progress.

    Attributes:
        epoch: the epoch in progress, from 1.
        step: number of steps of the run so far.
        pictures: number of training pictures so far.
        recorded: the losses of the recorded steps since the last event.
    """

    epoch: int
    step: int
    pictures: int
    recorded: tuple[StepLosses, ...]


@dataclass(frozen=True)
class EpochDone:
    """An epoch is done and validated.

    Attributes:
        epoch: the epoch, from 1.
        step: number of steps of the run so far.
        metrics: the metrics of the epoch: validation, speed, memory and learning rates.
        state: may be saved and sampled until the next event.
    """

    epoch: int
    step: int
    metrics: dict[str, float]
    state: TrainingState


@dataclass(frozen=True)
class WarningEvent:
    """A warning for the user."""

    text: str


Event = StepsDone | EpochDone | WarningEvent


def train(
    config: RunConfig,
    state: TrainingState,
    pairs: PairSet,
    val_pairs: PairSet,
    extract: FeatureExtractor,
    group: ProcessGroup = SINGLE_PROCESS,
) -> Iterator[Event]:
    """Trains a run from its current state to the last epoch of its budget.

    Args:
        config: the run, with no setting left `auto`.
        state: changed in place; new from `build_state`, or loaded from a checkpoint.
        pairs: the training split.
        val_pairs: the validation split.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        group: the processes that train the run together; this one leads, the others `follow`.

    Yields:
        `StepsDone` about once a second and after the last step of an epoch; `EpochDone` after
        every epoch; `WarningEvent` if the run is trained differently from its configuration.

    Raises:
        DivergedError: a recorded loss is not finite.
        BadInputError: there are fewer pairs than a batch has.
    """
    budget = config.budget
    training_step = build_training_step(config, state, extract, pairs, group)

    # Training loop.
    while state.epoch < budget.epochs:
        epoch = state.epoch + 1

        # Train on every pair once.
        yield from train_epoch(config, state, training_step, pairs)

        # Validate the generator that is sampled.
        metrics = yield from validate(config, state, val_pairs, extract)

        # Report speed, memory and learning rates.
        metrics["epoch_seconds"] = state.seconds
        metrics["images_per_second"] = state.batches * budget.batch / state.seconds
        metrics["peak_memory_mb"] = peak_memory_mb(pairs.device)
        metrics["lr_g"] = config.configuration.lr_g * lr_factor(budget, epoch)
        metrics["lr_d"] = config.configuration.lr_d * lr_factor(budget, epoch)

        # Let the caller save the state.
        state.epoch, state.batches, state.seconds = epoch, 0, 0.0
        yield EpochDone(epoch, state.step, metrics, state)


def train_epoch(
    config: RunConfig, state: TrainingState, training_step: TrainingStep, pairs: PairSet
) -> Iterator[StepsDone | WarningEvent]:
    """Trains on every pair once, or on the remaining pairs of an epoch in progress.

    Losses stay on the device until they are fetched together. `state.seconds` does not include the
    time that the caller spends with an event.
    """
    budget, epoch = config.budget, state.epoch + 1
    is_pretraining = epoch <= budget.pretrain
    record_every = int(config.execution.record_every)

    # Set the random generators, the learning rates and the training mode.
    _begin_epoch(config, state, training_step.group)
    earlier_seconds, caller_seconds = state.seconds, 0.0
    started_at = fetched_at = time.monotonic()
    pending: list[tuple[int, Tensor]] = []

    for batch in _remaining_batches(config, state, pairs, training_step.group):
        # Start the step in all processes.
        training_step.group.announce_step()

        # Update the weights.
        losses = training_step.pretrain(batch) if is_pretraining else training_step.train(batch)

        # Pass on the warnings of the step.
        while training_step.warnings:
            yield WarningEvent(training_step.warnings.pop())

        # Record the losses of every n-th step.
        if state.step % record_every == 0:
            if state.step % GRADIENT_NORM_INTERVAL_STEPS == 0 and not is_pretraining:
                losses = torch.cat([losses, training_step.gradient_norms()])
            pending.append((state.step, losses))

        # Report about once a second, and after the run's first step, so that its chart has a point.
        if state.step == 1 or time.monotonic() - fetched_at >= FETCH_INTERVAL_S:
            recorded = training_step.fetch_losses(pending)
            yielded_at = time.monotonic()
            state.seconds = earlier_seconds + yielded_at - started_at - caller_seconds
            yield StepsDone(epoch, state.step, state.pictures, recorded)
            pending, fetched_at = [], time.monotonic()
            caller_seconds += fetched_at - yielded_at

    # Report the last steps of the epoch.
    recorded = training_step.fetch_losses(pending)
    synchronize(pairs.device)
    state.seconds = earlier_seconds + time.monotonic() - started_at - caller_seconds
    yield StepsDone(epoch, state.step, state.pictures, recorded)


def validate(
    config: RunConfig, state: TrainingState, val_pairs: PairSet, extract: FeatureExtractor
) -> Generator[StepsDone, None, dict[str, float]]:
    """Validates the generator that is sampled.

    Yields:
        `StepsDone` without losses, about once a second.

    Returns:
        `val_g_loss` and `val_psnr`, means over the validation split.

    Raises:
        DivergedError: a value is not finite.
    """
    epoch = state.epoch + 1
    validation, yielded_at = _Validation(config, state, extract), time.monotonic()
    for source, target in evaluation_batches(
        val_pairs, max(config.budget.batch, MIN_VALIDATION_BATCH)
    ):
        validation.add_batch(source, target)
        if time.monotonic() - yielded_at >= FETCH_INTERVAL_S:
            yield StepsDone(epoch, state.step, state.pictures, ())
            yielded_at = time.monotonic()
    return validation.result()


def follow(
    config: RunConfig,
    state: TrainingState,
    pairs: PairSet,
    extract: FeatureExtractor,
    group: ProcessGroup,
) -> None:
    """Runs this process's part of every step until the leader stops.

    Args:
        config: the run, with no setting left `auto`.
        state: equal to the leader's.
        pairs: the training split.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        group: the processes that train the run together.
    """
    training_step = build_training_step(config, state, extract, pairs, group)
    while state.epoch < config.budget.epochs:
        _begin_epoch(config, state, group)
        is_pretraining = state.epoch < config.budget.pretrain
        for batch in _remaining_batches(config, state, pairs, group):
            if not group.wait_for_step():
                return
            if is_pretraining:
                training_step.pretrain(batch)
            else:
                training_step.train(batch)
        state.epoch, state.batches = state.epoch + 1, 0

    # Wait for the stop message, which the leader sends after the last validation.
    group.wait_for_step()


def build_training_step(
    config: RunConfig,
    state: TrainingState,
    extract: FeatureExtractor,
    pairs: PairSet,
    group: ProcessGroup = SINGLE_PROCESS,
) -> TrainingStep:
    """Builds the training step of a run; computes the targets' feature maps if they are cached."""
    target_features = None
    if config.execution.keep_maps == "on" and pairs.is_on_device and pairs.rows is None:
        with autocast(config, pairs.device.type):
            target_features = TargetFeatureCache(extract, pairs)
    return TrainingStep(config, state, extract, target_features, group)


def steps_per_epoch(budget: Budget, n_train: int) -> int:
    """Returns the number of complete batches in an epoch."""
    return n_train // budget.batch


def lr_factor(budget: Budget, epoch: int) -> float:
    """Returns the factor of both learning rates in an epoch, from 1: 1, then linearly to 0."""
    decay_epochs = round(budget.epochs * budget.decay)
    decayed_epochs = max(0, epoch - (budget.epochs - decay_epochs))
    return 1 - decayed_epochs / (decay_epochs + 1)


def peak_memory_mb(device: torch.device) -> float:
    """Returns the peak memory: of the GPU in this epoch, or of the process if it uses the CPU.

    Reserved GPU memory counts, because the replay of a CUDA graph allocates no memory: it uses the
    memory that was reserved by the capture.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    # The unit of Linux is KiB, that of macOS is bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _remaining_batches(
    config: RunConfig, state: TrainingState, pairs: PairSet, group: ProcessGroup
) -> Iterator[Batch]:
    """Returns this process's part of the remaining batches of the epoch in progress."""
    budget, epoch = config.budget, state.epoch + 1
    return training_batches(
        pairs, budget.batch, budget.jitter, config.seed, epoch, state.batches, group.shard
    )


def _begin_epoch(config: RunConfig, state: TrainingState, group: ProcessGroup) -> None:
    """Sets the random generators, the learning rates and the training mode.

    Every epoch derives new random streams, so that nothing random is carried over from the epoch
    before. Each process has its own streams. If an epoch continues from a checkpoint, the leader
    continues its streams, and the followers, whose streams are not saved, start new ones.
    """
    epoch = state.epoch + 1
    if group.rank:
        stream = f"dropout {group.rank} {state.batches}"
        torch.manual_seed(derive_seed(config.seed, epoch, stream))
    elif state.batches:
        state.restore_random()
    else:
        torch.manual_seed(derive_seed(config.seed, epoch, "dropout"))
    factor = lr_factor(config.budget, epoch)
    _set_lr(state.g_optimiser, config.configuration.lr_g * factor)
    _set_lr(state.d_optimiser, config.configuration.lr_d * factor)
    state.generator.train()
    state.discriminator.train()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):  # A CUDA graph reads the learning rate from here.
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


class _Validation:
    """Computes `val_g_loss` and the mean `val_psnr` of the validation split."""

    def __init__(self, config: RunConfig, state: TrainingState, extract: FeatureExtractor) -> None:
        self.config, self.extract = config, extract
        self.epoch = state.epoch + 1
        self.sampler, self.discriminator = state.sampler.eval(), state.discriminator.eval()
        self.losses: list[float] = []
        self.batch_sizes: list[int] = []
        self.psnr: list[Tensor] = []

    @torch.no_grad()
    def add_batch(self, source: Tensor, target: Tensor) -> None:
        """Evaluates the generator on a batch [N, 3, H, W] in [-1, 1]."""
        with autocast(self.config, source.device.type):
            fake = self.sampler(source).float()
            if not fake.isfinite().all():
                raise DivergedError(
                    f"the generator's values were not finite after epoch {self.epoch}"
                )
            logits = self.discriminator(source, fake)
            loss, _ = generator_loss(
                self.config.configuration.recipe, LossInputs(target, fake, logits, self.extract)
            )
        self.losses.append(float(loss))
        self.batch_sizes.append(len(source))
        self.psnr.append(pixel.capped_psnr((fake + 1) / 2, (target + 1) / 2))

    def result(self) -> dict[str, float]:
        """Returns the means over all pictures; raises `DivergedError` if one is not finite."""
        total = sum(loss * size for loss, size in zip(self.losses, self.batch_sizes, strict=True))
        metrics = {
            "val_g_loss": total / sum(self.batch_sizes),
            "val_psnr": torch.cat(self.psnr).mean().item(),
        }
        for name, value in metrics.items():
            require_finite(name, value, f"after epoch {self.epoch}")
        return metrics
