"""Where the time of a training step goes; the device is waited for after every part."""

import time
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import torch

from engine.config import RunConfig
from engine.data.batches import PairSet
from engine.errors import EngineError
from engine.training import loop, machine_profile
from engine.training.state import TrainingState
from engine.training.step import Steps
from engine.workers.recorder import Recorder

P = ParamSpec("P")
T = TypeVar("T")

FEWEST = 10  # steps, however long they take
PARTS = {  # method of a step -> what its time is spent on
    "lay_out": "data",
    "generate": "generator",
    "teach_generator": "generator",
    "teach_discriminator": "discriminator",
    "update": "optimisers",
    "count": "optimisers",
    "gradient_norms": "recording",
    "read": "recording",
}


class Stopwatch:
    """Counts what functions take; a part within a part counts once, as itself."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spent: dict[str, float] = dict.fromkeys(PARTS.values(), 0.0)
        self._inside: list[float] = []

    def around(self, function: Callable[P, T], part: str) -> Callable[P, T]:
        """The same function, its time counted as spent on the part."""

        def timed(*arguments: P.args, **named: P.kwargs) -> T:
            machine_profile.synchronise(self.device)
            self._inside.append(0.0)
            began = time.perf_counter()
            result = function(*arguments, **named)
            machine_profile.synchronise(self.device)
            seconds = time.perf_counter() - began
            self.spent[part] += seconds - self._inside.pop()
            if self._inside:
                self._inside[-1] += seconds
            return result

        return timed


def keep_training(
    config: RunConfig, state: TrainingState, steps: Steps, pairs: PairSet
) -> Iterator[loop.StepsDone]:
    """Epoch after epoch without end, from where the state is.

    Raises:
        EngineError: steps are not taken as they were asked for.
    """
    while True:
        for event in loop.train_epoch(config, state, steps, pairs):
            if isinstance(event, loop.Noted):
                raise EngineError(event.text)
            yield event
        state.epoch, state.batches = state.epoch + 1, 0


def split(
    config: RunConfig,
    state: TrainingState,
    steps: Steps,
    pairs: PairSet,
    recorder: Recorder,
    enough_s: float,
) -> dict[str, float]:
    """Trains on for some seconds -> share of the time by part; `other` is what is left over.

    A recorded step has no parts: it is taken as it was before the recording.
    """
    watch = Stopwatch(pairs.device)
    steps.recorded = None
    for method, part in PARTS.items():
        setattr(steps, method, watch.around(getattr(steps, method), part))
    add_steps = watch.around(recorder.add_steps, "recording")
    began, first = time.perf_counter(), state.step
    for event in keep_training(config, state, steps, pairs):
        add_steps(event)
        if time.perf_counter() - began >= enough_s and state.step >= first + FEWEST:
            break
    total = time.perf_counter() - began
    shares = {part: seconds / total for part, seconds in watch.spent.items()}
    return {**shares, "other": 1 - sum(shares.values())}
