"""Measures which parts of a training step take how much time.

The benchmark waits for the device before and after every part, so that each part is charged its own
time.
"""

import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import torch

from engine.config import RunConfig
from engine.data.batches import PairSet
from engine.errors import EngineError
from engine.training import loop, machine_profile
from engine.training.state import TrainingState
from engine.training.step import TrainingStep
from engine.workers.recorder import Recorder

P = ParamSpec("P")
T = TypeVar("T")

MIN_STEPS = 10
# Method of `TrainingStep` -> the part of a step to which its time is charged.
PART_OF_METHOD = {
    "to_memory_format": "data",
    "generate": "generator",
    "update_generator": "generator",
    "update_discriminator": "discriminator",
    "optimiser_step": "optimisers",
    "advance_counters": "optimisers",
    "gradient_norms": "recording",
    "fetch_losses": "recording",
}


class Stopwatch:
    """Sums up the time of functions by part.

    The time of a nested function is charged only to the part of the nested function.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = dict.fromkeys(PART_OF_METHOD.values(), 0.0)
        # For each function that is running: the seconds that its nested functions took.
        self._nested_seconds: list[float] = []

    def wrap(self, function: Callable[P, T], part: str) -> Callable[P, T]:
        """Wraps a function so that its time is charged to a part."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> T:
            machine_profile.synchronize(self.device)
            self._nested_seconds.append(0.0)
            began = time.perf_counter()
            result = function(*args, **kwargs)
            machine_profile.synchronize(self.device)
            seconds = time.perf_counter() - began
            self.seconds[part] += seconds - self._nested_seconds.pop()
            if self._nested_seconds:
                self._nested_seconds[-1] += seconds
            return result

        return timed


def train_endlessly(
    config: RunConfig, state: TrainingState, training_step: TrainingStep, pairs: PairSet
) -> Iterator[loop.StepsDone]:
    """Trains epoch after epoch without an end, continuing from the state.

    Raises:
        EngineError: the training step issued a warning: it does not train with the configured
            settings.
    """
    while True:
        for event in loop.train_epoch(config, state, training_step, pairs):
            if isinstance(event, loop.WarningEvent):
                raise EngineError(event.text)
            yield event
        state.epoch, state.batches = state.epoch + 1, 0


def measure_breakdown(
    config: RunConfig,
    state: TrainingState,
    training_step: TrainingStep,
    pairs: PairSet,
    recorder: Recorder,
    min_seconds: float,
) -> dict[str, float]:
    """Trains for some seconds and measures each part's share of the time.

    A CUDA graph cannot be split into parts, so the steps run without one.

    Args:
        config: the run, with no setting left `auto`.
        state: the state to continue from.
        training_step: its methods are replaced by timed ones.
        pairs: the training pairs.
        recorder: records the losses.
        min_seconds: how long to train, unless `MIN_STEPS` steps take longer.

    Returns:
        Part -> share of the time; `other` is the time that belongs to none of the parts.
    """
    stopwatch = Stopwatch(pairs.device)
    training_step.graph_step = None
    for method, part in PART_OF_METHOD.items():
        setattr(training_step, method, stopwatch.wrap(getattr(training_step, method), part))
    add_steps = stopwatch.wrap(recorder.add_steps, "recording")
    began, first_step = time.perf_counter(), state.step
    for event in train_endlessly(config, state, training_step, pairs):
        add_steps(event)
        is_long_enough = time.perf_counter() - began >= min_seconds
        if is_long_enough and state.step >= first_step + MIN_STEPS:
            break
    total = time.perf_counter() - began
    shares = {part: seconds / total for part, seconds in stopwatch.seconds.items()}
    return {**shares, "other": 1 - sum(shares.values())}
