"""Contenders timed in turn, round after round, so that a busy machine slows all of them alike."""

import time
from collections.abc import Callable, Collection, Mapping

from engine.records.comparison import Timing


def race(
    task: str,
    contenders: Mapping[str, Callable[[], float]],
    rounds: int,
    exact: float | None = None,
    cold: Collection[str] = (),
) -> list[Timing]:
    """Times all contenders on a task.

    Args:
        task: what it is called.
        contenders: name -> what does it once, and what comes out.
        rounds: how often, after a warm-up in which memory and threads are made ready.
        exact: what should come out; None where there is nothing to be off from.
        cold: names of those that gain nothing from a warm-up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    answers: dict[str, float] = {}
    for turn in range(rounds + 1):
        for name, contender in contenders.items():
            if turn == 0 and name in cold:
                continue
            started = time.perf_counter()
            answers[name] = contender()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return [
        Timing(
            task,
            name,
            tuple(seconds[name]),
            None if exact is None else abs(answers[name] - exact) / abs(exact),
        )
        for name in contenders
    ]
