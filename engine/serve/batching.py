"""Requests that wait while a model is busy are its next batch; each answer goes to its asker."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from engine.serve.compositing import Picture
from engine.serve.model_cache import Model

MOST = 16  # squares in a batch


@dataclass
class _Asked:
    model: Model
    square: Picture
    answer: "asyncio.Future[Picture]" = field(repr=False)


class Batcher:
    """One model call at a time, in a thread; what came meanwhile goes together into the next.

    Args:
        on_batch: told how many squares went into each call.
    """

    def __init__(self, on_batch: Callable[[int], None] = lambda count: None) -> None:
        self._waiting: list[_Asked] = []
        self._alone: list[_Asked] = []  # of batches that failed
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "model")
        self._on_batch = on_batch
        self._worker: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Batcher":
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._worker is not None
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        for asked in (*self._waiting, *self._alone):
            asked.answer.cancel()
        self._thread.shutdown(wait=True)

    async def ask(self, model: Model, square: Picture) -> Picture:
        """A model's answer to a square, [px, px, 3] bytes each.

        Raises:
            EngineError: the model could not answer.
        """
        asked = _Asked(model, square, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._arrived.set()
        return await asked.answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            self._on_batch(len(batch))
            squares = np.stack([asked.square for asked in batch])
            try:
                answers = await loop.run_in_executor(self._thread, batch[0].model.colour, squares)
            except Exception as error:  # it is the asker's to tell
                if len(batch) > 1:  # alone, most of them may do better
                    self._alone += batch
                elif not batch[0].answer.done():
                    batch[0].answer.set_exception(error)
                continue
            for asked, answer in zip(batch, answers, strict=True):
                if not asked.answer.done():  # who has left is not told
                    asked.answer.set_result(answer)

    def _take(self) -> list[_Asked]:
        """The next batch: who waits longest, and others who ask the same model."""
        self._waiting = [asked for asked in self._waiting if not asked.answer.done()]
        self._alone = [asked for asked in self._alone if not asked.answer.done()]
        if self._alone:
            return [self._alone.pop()]
        if not self._waiting:
            return []
        model = self._waiting[0].model
        batch = [asked for asked in self._waiting if asked.model is model][:MOST]
        taken = {id(asked) for asked in batch}
        self._waiting = [asked for asked in self._waiting if id(asked) not in taken]
        return batch
