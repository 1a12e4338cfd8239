"""Contenders in processes of their own, working in turn, so that each has its own memory.

A busy machine slows all of them alike, and none inherits the threads of another.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from engine.errors import EngineError

GOODBYE_S = 20.0


class Rival(Protocol):
    """What a contender's process holds."""

    def work(self, steps: int) -> int:
        """Takes at least so many steps, to their very end -> how many it took."""

    def tell(self) -> Mapping[str, Any]:
        """What else is known of it at the end."""


class Remote:
    """A contender as its judge sees it."""

    def __init__(self, name: str, process: BaseProcess, connection: Connection) -> None:
        self.name, self.process, self.connection = name, process, connection

    def run(self, steps: int) -> tuple[int, float]:
        """Steps taken, and the seconds that they took."""
        self.connection.send(steps)
        answer = self.receive()
        return answer["taken"], answer["seconds"]

    def tell(self) -> dict[str, Any]:
        """What it knows of itself."""
        self.connection.send(None)
        return self.receive()

    def receive(self) -> dict[str, Any]:
        """Its next answer.

        Raises:
            EngineError: it gave up, or its process has ended.
        """
        try:
            answer: dict[str, Any] | Exception = self.connection.recv()
        except EOFError:
            self.process.join(GOODBYE_S)
            raise EngineError(
                f"{self.name} ended by itself (exit {self.process.exitcode}); memory may have run "
                "out: try a smaller --batch or --px."
            ) from None
        if isinstance(answer, Exception):
            raise EngineError(f"{self.name}: {type(answer).__name__}: {answer}") from answer
        return answer


@contextmanager
def started(
    builders: Mapping[str, tuple[Callable[[], Rival], Mapping[str, str]]],
) -> Iterator[dict[str, Remote]]:
    """Contenders by name, built one after the other, and ended when this is left.

    Args:
        builders: name -> what builds it, and what its environment has besides.
    """
    spawn = multiprocessing.get_context("spawn")
    found: dict[str, Remote] = {}
    try:
        for name, (build, environment) in builders.items():
            here, there = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(there, build), daemon=False)
            before = dict(os.environ)
            os.environ.update(environment)
            try:
                process.start()
            finally:
                os.environ.clear()
                os.environ.update(before)
            there.close()
            found[name] = Remote(name, process, here)
            found[name].receive()
        yield found
    finally:
        for remote in found.values():
            remote.connection.close()
            remote.process.join(GOODBYE_S)
            if remote.process.is_alive():
                remote.process.kill()
                remote.process.join()


def _serve(connection: Connection, build: Callable[[], Rival]) -> None:
    try:
        rival = build()
        connection.send({})
        while True:
            steps = connection.recv()
            if steps is None:
                connection.send(dict(rival.tell()))
                continue
            began = time.perf_counter()
            taken = rival.work(steps)
            connection.send({"taken": taken, "seconds": time.perf_counter() - began})
    except EOFError:
        return  # the judge has left
    except Exception as error:  # whatever it is, the judge says it
        connection.send(error)
