"""Times contenders in turn, in this process or in separate processes.

In each round every contender takes one turn, so that a busy machine slows all of them alike.
"""

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from engine.errors import EngineError

WARM_UP_STEPS = 3
EXIT_TIMEOUT_S = 20.0

# Takes at least the given number of steps -> (number of steps taken, seconds).
TimedStepsFn = Callable[[int], tuple[int, float]]


@dataclass(frozen=True)
class Timing:
    """Time of one contender on one task.

    Attributes:
        task: name of the task.
        contender: name of the contender.
        seconds: seconds of each round.
        error: relative error of the result; None if the exact result is not known.
    """

    task: str
    contender: str
    seconds: tuple[float, ...]
    error: float | None = None

    @property
    def median(self) -> float:
        """Median of the seconds over the rounds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Speed:
    """Training speed of one contender.

    Attributes:
        contender: name of the contender.
        rounds: pictures per second in each round.
        peak_memory_mb: peak memory of the process; on a GPU, peak memory that torch allocated.
        share: share of the device's peak arithmetic throughput that was used.
        limit_tflops: the device's peak arithmetic throughput, measured in the same benchmark, in
            TFLOP/s.
        split: part of a training step, such as `forward`, -> its share of the step's time; None if
            it was not measured.
    """

    contender: str
    rounds: tuple[float, ...]
    peak_memory_mb: float
    share: float
    limit_tflops: float
    split: Mapping[str, float] | None = None

    @property
    def median(self) -> float:
        """Median of the pictures per second over the rounds."""
        return statistics.median(self.rounds)


def measure_in_turn(
    contenders: Mapping[str, Callable[[], float]],
    rounds: int,
    on_progress: Callable[[str], None] = lambda text: None,
) -> dict[str, list[float]]:
    """Measures all contenders once per round.

    Args:
        contenders: name -> function that measures the contender once.
        rounds: number of rounds.
        on_progress: called with the round and the contender before each turn.

    Returns:
        The measurements of each contender, round by round.
    """
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(1, rounds + 1):
        for name, measure in contenders.items():
            on_progress(f"round {number} of {rounds}: {name}")
            measured[name].append(measure())
    return measured


def time_contenders(
    task: str,
    contenders: Mapping[str, Callable[[], float]],
    rounds: int,
    exact: float | None = None,
    cold: Collection[str] = (),
) -> list[Timing]:
    """Times functions that solve the same task, after a warm-up.

    Args:
        task: name of the task.
        contenders: name -> function that solves the task and returns its result.
        rounds: number of timed rounds.
        exact: the exact result; None if it is not known.
        cold: names of contenders to time without a warm-up, because a warm-up would not make them
            faster.
    """
    results: dict[str, float] = {}

    def solve(name: str) -> float:
        began = time.perf_counter()
        results[name] = contenders[name]()
        return time.perf_counter() - began

    for name in contenders:
        if name not in cold:
            solve(name)
    seconds = measure_in_turn({name: partial(solve, name) for name in contenders}, rounds)
    errors = {
        name: None if exact is None else abs(results[name] - exact) / abs(exact)
        for name in contenders
    }
    return [Timing(task, name, tuple(seconds[name]), errors[name]) for name in contenders]


def measure_speeds(
    contenders: Mapping[str, TimedStepsFn],
    batch: int,
    rounds: int,
    round_s: float,
    on_progress: Callable[[str], None] = lambda text: None,
) -> dict[str, list[float]]:
    """Measures training speeds in pictures per second, after a warm-up.

    Args:
        contenders: name -> function that takes and times training steps.
        batch: pictures per step.
        rounds: number of timed rounds.
        round_s: target duration of a turn in seconds; the speed in the warm-up determines the
            number of steps.
        on_progress: called with the round and the contender before each turn.
    """
    n_steps = {}
    for name, take_steps in contenders.items():
        take_steps(WARM_UP_STEPS)
        taken, seconds = take_steps(WARM_UP_STEPS)
        n_steps[name] = max(1, round(round_s * taken / seconds))

    def pictures_per_second(name: str) -> float:
        taken, seconds = contenders[name](n_steps[name])
        return taken * batch / seconds

    functions = {name: partial(pictures_per_second, name) for name in contenders}
    return measure_in_turn(functions, rounds, on_progress)


class Contender(Protocol):
    """A training loop that runs in a separate process."""

    def take_steps(self, steps: int) -> int:
        """Runs at least `steps` steps, waits for the device, returns the number of steps."""

    def report(self) -> Mapping[str, Any]:
        """Returns measurements other than speed, such as memory; called after the last round."""


class ContenderProcess:
    """The benchmark's side of the connection to a contender's process."""

    def __init__(self, name: str, process: BaseProcess, connection: Connection) -> None:
        self.name, self.process, self.connection = name, process, connection

    def take_steps(self, steps: int) -> tuple[int, float]:
        """Runs at least `steps` steps in the contender's process; returns (steps, seconds).

        Raises:
            EngineError: the contender failed, or its process exited during the steps.
            BrokenPipeError: its process had exited before.
        """
        self.connection.send(steps)
        answer = self.receive()
        return answer["taken"], answer["seconds"]

    def report(self) -> dict[str, Any]:
        """Returns the contender's measurements other than speed.

        Raises:
            EngineError: the contender failed, or its process exited during the call.
            BrokenPipeError: its process had exited before.
        """
        self.connection.send(None)
        return self.receive()

    def receive(self) -> dict[str, Any]:
        """Waits for the contender's next answer.

        Raises:
            EngineError: the contender failed or its process has exited.
        """
        try:
            answer: dict[str, Any] | Exception = self.connection.recv()
        except EOFError:
            self.process.join(EXIT_TIMEOUT_S)
            raise EngineError(
                f"{self.name} exited unexpectedly (exit code {self.process.exitcode}); the machine "
                "may be out of memory: try a smaller --batch or --px."
            ) from None
        if isinstance(answer, Exception):
            raise EngineError(f"{self.name}: {type(answer).__name__}: {answer}") from answer
        return answer


@contextmanager
def start_contenders(
    builders: Mapping[str, tuple[Callable[[], Contender], Mapping[str, str]]],
) -> Iterator[dict[str, ContenderProcess]]:
    """Starts one process per contender, and ends all processes when the context exits.

    In a separate process, each contender has its own memory, threads and environment.

    Args:
        builders: name -> (function that builds the contender, additional environment variables).
    """
    spawn = multiprocessing.get_context("spawn")
    contenders: dict[str, ContenderProcess] = {}
    try:
        for name, (build, environment) in builders.items():
            own_end, child_end = spawn.Pipe()
            process = spawn.Process(target=_run_contender, args=(child_end, build), daemon=False)
            before = dict(os.environ)
            os.environ.update(environment)
            try:
                process.start()
            finally:
                os.environ.clear()
                os.environ.update(before)
            child_end.close()
            contenders[name] = ContenderProcess(name, process, own_end)
            contenders[name].receive()
        yield contenders
    finally:
        for contender in contenders.values():
            contender.connection.close()
            contender.process.join(EXIT_TIMEOUT_S)
            if contender.process.is_alive():
                contender.process.kill()
                contender.process.join()


def _run_contender(connection: Connection, build: Callable[[], Contender]) -> None:
    """Builds a contender, then answers requests until the connection closes or a step fails."""
    try:
        contender = build()
        connection.send({})
        while True:
            steps = connection.recv()
            if steps is None:
                connection.send(dict(contender.report()))
                continue
            began = time.perf_counter()
            taken = contender.take_steps(steps)
            connection.send({"taken": taken, "seconds": time.perf_counter() - began})
    except EOFError:
        return  # the benchmark has closed the connection
    except Exception as error:  # the benchmark's process raises it
        connection.send(error)
