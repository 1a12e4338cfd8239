"""The training loop: `train` is a generator that trains a run and yields events.

The caller iterates over the events and does everything else: the caller records losses, draws
samples and saves checkpoints. To stop the run, the caller stops iterating. At every event, the
caller may save the state. A run that continues from a saved state gives the same numbers as a run
that was never stopped, for two reasons: all random numbers of an epoch are derived from the run's
seed and the epoch, and a state saved within an epoch contains the states of the random generators.

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
from engine.networks.palette_generator import predict
from engine.training import preparation
from engine.training.distributed import SINGLE_PROCESS, ProcessGroup
from engine.training.losses import FeatureExtractor, LossInputs, generator_loss
from engine.training.machine_profile import synchronize
from engine.training.optimizers import set_learning_rate
from engine.training.schedules import lr_factor
from engine.training.source_feature_cache import SourceFeatureCache
from engine.training.state import TrainingState
from engine.training.step import StepLosses, TrainingStep, autocast, require_finite
from engine.training.target_features import TargetFeatureCache

FETCH_INTERVAL_S = 1.0  # Losses stay on the device until the next fetch.
# Computing the norms reads the gradients of all weights: about 1 % of the time of a small step.
GRADIENT_NORM_INTERVAL_STEPS = 10
MIN_VALIDATION_BATCH = 16


@dataclass(frozen=True)
class StepsDone:
    """An event: some steps are done, or validation is in progress.

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
    """An event: an epoch is done and validated.

    Attributes:
        epoch: the epoch, from 1.
        step: number of steps of the run so far.
        metrics: the metrics of the epoch: validation, speed, memory, and the learning rates at its
            last step.
        state: the training state, which the caller may save and sample until the next event.
    """

    epoch: int
    step: int
    metrics: dict[str, float]
    state: TrainingState


@dataclass(frozen=True)
class WarningEvent:
    """An event: a warning for the user."""

    text: str


Event = StepsDone | EpochDone | WarningEvent


def train(
    config: RunConfig,
    state: TrainingState,
    pairs: PairSet,
    val_pairs: PairSet,
    extract: FeatureExtractor,
    group: ProcessGroup = SINGLE_PROCESS,
    source_features: SourceFeatureCache | None = None,
) -> Iterator[Event]:
    """Trains a run from its current state to the last epoch of its budget.

    Args:
        config: the config of the run; no setting is `auto`.
        state: the training state, new or loaded from a checkpoint; changed in place.
        pairs: the training split.
        val_pairs: the validation split.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        group: the processes that train the run together. This process is the leader; the other
            processes call `follow`.
        source_features: the cached features of the sources, for a generator that reads its sources
            with a pretrained network; None: they are computed at every step.

    Yields:
        `StepsDone` about once a second and after the last step of an epoch; `EpochDone` after
        every epoch; `WarningEvent` if the run is trained differently from its configuration.

    Raises:
        DivergedError: a recorded loss or a result of the validation is not finite.
        BadInputError: there are fewer training pairs than a batch holds.
    """
    budget = config.budget
    training_step = build_training_step(config, state, extract, pairs, group, source_features)
    if state.step == 0 and (warning := preparation.find_ink_warning(state, pairs)):
        yield WarningEvent(warning)

    # Training loop.
    while state.epoch < budget.epochs:
        epoch = state.epoch + 1

        # Train on the batches of the epoch.
        yield from train_epoch(config, state, training_step, pairs)

        # Validate the moving average of the generator, or the generator if there is no average.
        metrics = yield from validate(config, state, val_pairs, extract)

        # Report speed, memory and learning rates.
        metrics["epoch_seconds"] = state.seconds
        metrics["images_per_second"] = state.batches * budget.batch / state.seconds
        metrics["peak_memory_mb"] = peak_memory_mb(pairs.device)
        rates = learning_rates(config, state.step, epoch, len(pairs))
        metrics |= {name: rates[name] for name in state.rate_names}

        # Let the caller save the state.
        state.epoch, state.batches, state.seconds = epoch, 0, 0.0
        yield EpochDone(epoch, state.step, metrics, state)


def train_epoch(
    config: RunConfig, state: TrainingState, training_step: TrainingStep, pairs: PairSet
) -> Iterator[StepsDone | WarningEvent]:
    """Trains on all batches of an epoch, or on the remaining batches of an epoch in progress.

    Losses stay on the device until they are fetched together. `state.seconds` does not include the
    time that the caller spends on an event.
    """
    budget, epoch = config.budget, state.epoch + 1
    is_pretraining = epoch <= budget.pretrain
    record_every = int(config.execution.record_every)

    # Set the random generators and the training mode.
    _begin_epoch(config, state, training_step.group)
    # Set the rates of the last step, so that a resumed epoch without further steps ends with them.
    _set_learning_rates(config, state, max(1, state.step), len(pairs))
    earlier_seconds, caller_seconds = state.seconds, 0.0
    started_at = fetched_at = time.monotonic()
    pending: list[tuple[int, Tensor]] = []

    for batch in _remaining_batches(config, state, pairs, training_step.group):
        # Start the step in all processes.
        training_step.group.announce_step()

        # Set the learning rates of the step.
        _set_learning_rates(config, state, state.step + 1, len(pairs))

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

        # Report about once a second, and after the run's first step, so that charts have a point.
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
    """Validates the moving average of the generator, or the generator if there is no average.

    Yields:
        `StepsDone` without losses, about once a second.

    Returns:
        `val_g_loss` and `val_psnr`, each a mean over the validation split.

    Raises:
        DivergedError: a result or a generated picture is not finite.
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
    source_features: SourceFeatureCache | None = None,
) -> None:
    """Runs this process's part of every step until the leader sends the message to stop.

    Args:
        config: the config of the run; no setting is `auto`.
        state: the training state, equal to the leader's; changed in place.
        pairs: the training split.
        extract: pictures -> feature maps, for recipes with a perceptual term.
        group: the processes that train the run together.
        source_features: the cached features of the sources, as in `train`.
    """
    training_step = build_training_step(config, state, extract, pairs, group, source_features)
    while state.epoch < config.budget.epochs:
        _begin_epoch(config, state, group)
        is_pretraining = state.epoch < config.budget.pretrain
        for batch in _remaining_batches(config, state, pairs, group):
            if not group.wait_for_step():
                return
            _set_learning_rates(config, state, state.step + 1, len(pairs))
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
    source_features: SourceFeatureCache | None = None,
) -> TrainingStep:
    """Builds the training step of a run, with a cache of the targets' feature maps if possible.

    The cache requires `keep_maps` and a whole training split on the training device. Before the
    first step, the generator gets what it needs from the training split.
    """
    preparation.prepare_generator(state, pairs, source_features)
    target_features = None
    if config.execution.keep_maps == "on" and pairs.is_on_device and pairs.rows is None:
        with autocast(config, pairs.device.type):
            target_features = TargetFeatureCache(extract, pairs)
    source_inputs = preparation.build_source_inputs(state, pairs, source_features)
    return TrainingStep(config, state, extract, target_features, group, source_inputs)


def count_steps(budget: Budget, n_train: int) -> int:
    """Returns the number of steps of a whole run; an incomplete last batch is left out."""
    return n_train // budget.batch * budget.epochs


def learning_rates(config: RunConfig, step: int, epoch: int, n_train: int) -> dict[str, float]:
    """Returns the learning rates `lr_g` and `lr_d` of a step.

    Args:
        config: the config of the run.
        step: the step of the run, from 1.
        epoch: the epoch of the step, from 1.
        n_train: number of training pairs.
    """
    configuration, budget = config.configuration, config.budget
    factor = lr_factor(configuration, budget, step, epoch, count_steps(budget, n_train))
    return {"lr_g": configuration.lr_g * factor, "lr_d": configuration.lr_d * factor}


def peak_memory_mb(device: torch.device) -> float:
    """Returns the peak memory in MiB: of a CUDA device in this epoch, else of this process.

    On a CUDA device, the reserved memory is measured: the replay of a CUDA graph allocates no
    memory, but uses the memory that the capture reserved.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    # `ru_maxrss` is in KiB on Linux and in bytes on macOS.
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
    """Sets the random generators and the training mode.

    Every epoch starts new random streams, so that no random state is carried over from the previous
    epoch. Each process has its own streams. If an epoch continues from a checkpoint, the leader
    continues its saved streams. The streams of followers are not saved, so followers start new
    streams.
    """
    epoch = state.epoch + 1
    if group.rank:
        stream = f"dropout {group.rank} {state.batches}"
        torch.manual_seed(derive_seed(config.seed, epoch, stream))
    elif state.batches:
        state.restore_random()
    else:
        torch.manual_seed(derive_seed(config.seed, epoch, "dropout"))
    for network in state.networks:
        network.train()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _set_learning_rates(config: RunConfig, state: TrainingState, step: int, n_train: int) -> None:
    """Sets the learning rates of a step of the epoch in progress."""
    rates = learning_rates(config, step, state.epoch + 1, n_train)
    for name, optimiser in zip(state.rate_names, state.optimisers, strict=True):
        set_learning_rate(optimiser, rates[name])


class _Validation:
    """Computes `val_g_loss` and `val_psnr` of the validation split."""

    def __init__(self, config: RunConfig, state: TrainingState, extract: FeatureExtractor) -> None:
        self.config, self.extract = config, extract
        self.epoch = state.epoch + 1
        self.sampler = state.sampler.eval()
        self.discriminator = None if state.discriminator is None else state.discriminator.eval()
        self.losses: list[float] = []
        self.batch_sizes: list[int] = []
        self.psnr: list[Tensor] = []

    @torch.no_grad()
    def add_batch(self, source: Tensor, target: Tensor) -> None:
        """Evaluates the generator on a batch [N, 3, H, W] in [-1, 1]."""
        with autocast(self.config, source.device.type):
            prediction = predict(self.sampler, source)
            prediction = prediction._replace(picture=prediction.picture.float())
            fake = prediction.picture
            if not fake.isfinite().all():
                raise DivergedError(
                    f"the generator's values were not finite after epoch {self.epoch}"
                )
            logits = None if self.discriminator is None else self.discriminator(source, fake)
            loss, _ = generator_loss(
                self.config.configuration.recipe,
                LossInputs(source, target, prediction, logits, self.extract),
            )
        self.losses.append(float(loss))
        self.batch_sizes.append(len(source))
        self.psnr.append(pixel.capped_psnr((fake + 1) / 2, (target + 1) / 2))

    def result(self) -> dict[str, float]:
        """Returns the means over all pictures; raises `DivergedError` if a mean is not finite."""
        total = sum(loss * size for loss, size in zip(self.losses, self.batch_sizes, strict=True))
        metrics = {
            "val_g_loss": total / sum(self.batch_sizes),
            "val_psnr": torch.cat(self.psnr).mean().item(),
        }
        for name, value in metrics.items():
            require_finite(name, value, f"after epoch {self.epoch}")
        return metrics
