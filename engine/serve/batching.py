"""Batches the requests that wait while a model is busy."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from engine.options.decodings import Decoding
from engine.serve.compositing import Answer, Picture
from engine.serve.model_cache import Model

MAX_BATCH = 16


@dataclass
class _PendingSquare:
    model: Model
    square: Picture
    decoding: Decoding | None
    answer: "asyncio.Future[Answer]" = field(repr=False)


class Batcher:
    """Runs one model call at a time in a thread.

    Squares that arrive during a call form the next batch.

    Args:
        on_batch: called with the number of squares of each batch.
    """

    def __init__(self, on_batch: Callable[[int], None] = lambda count: None) -> None:
        self._pending: list[_PendingSquare] = []
        self._retries: list[_PendingSquare] = []
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "model")
        self._on_batch = on_batch
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Batcher":
        self._task = asyncio.create_task(self._run_batches())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for pending in (*self._pending, *self._retries):
            pending.answer.cancel()
        self._thread.shutdown(wait=True)

    async def colorize(
        self, model: Model, square: Picture, decoding: Decoding | None = None
    ) -> Answer:
        """Returns a model's answer to a square.

        Args:
            model: the model to use.
            square: the source, [px, px, 3].
            decoding: how the picture is read from the palette; None: as the run decodes it.

        Raises:
            EngineError: the model could not compute an answer.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        pending = _PendingSquare(model, square, decoding, answer)
        self._pending.append(pending)
        self._arrived.set()
        return await answer

    async def _run_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._next_batch()
            if not batch:
                self._arrived.clear()
                continue
            self._on_batch(len(batch))
            model, decoding = batch[0].model, batch[0].decoding
            squares = np.stack([item.square for item in batch])
            try:
                answers = await loop.run_in_executor(
                    self._thread, model.colorize, squares, decoding
                )
            except Exception as error:  # the caller of `colorize` gets the error
                # One square can make the whole batch fail: retry each square alone.
                if len(batch) > 1:
                    self._retries += batch
                elif not batch[0].answer.done():
                    batch[0].answer.set_exception(error)
                continue
            for item, answer in zip(batch, answers, strict=True):
                if not item.answer.done():  # the answer of a cancelled request is done
                    item.answer.set_result(answer)

    def _next_batch(self) -> list[_PendingSquare]:
        """Removes the squares of the next model call from the waiting squares and returns them.

        A square of a failed batch is returned alone. If there is none, the oldest square is
        returned with other squares for the same model and decoding.
        """
        self._pending = [item for item in self._pending if not item.answer.done()]
        self._retries = [item for item in self._retries if not item.answer.done()]
        if self._retries:
            return [self._retries.pop()]
        if not self._pending:
            return []
        oldest = self._pending[0]
        batch = [
            item
            for item in self._pending
            if item.model is oldest.model and item.decoding == oldest.decoding
        ][:MAX_BATCH]
        batched = {id(item) for item in batch}
        self._pending = [item for item in self._pending if id(item) not in batched]
        return batch
