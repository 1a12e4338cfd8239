"""What a model server has in its hands: models, which of them is the default, its limits."""

import asyncio
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fastapi import HTTPException

from engine.errors import BadInputError, EngineError
from engine.serve import pipeline
from engine.serve.batching import Batcher
from engine.serve.limits import Limits, Queue, Room
from engine.serve.model_cache import Model, Shelf
from engine.serve.pipeline import Format, Given, Question
from engine.serve.prometheus import Measures
from engine.serve.ranking import best
from engine.settings import Settings
from engine.store import Store

LOOK_EVERY_S = 5.0  # for a better model
DECODERS = 4  # pictures that are decoded, composed and encoded at a time


@dataclass(frozen=True)
class Choice:
    """What is served without `run=`.

    Attributes:
        run_id: this run, for ever.
        study_id: the best of this study; None: of the newest study that has a model.
        follow: look again and again, and change to a better one.
    """

    run_id: int | None = None
    study_id: int | None = None
    follow: bool = True


class Serving:
    """All that requests share.

    Attributes:
        default: the model that answers where no run is named; None while there is none.
        reason: why there is none.
        asked_at: when the last picture came or went, on the monotonic clock.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        choice: Choice,
        limits: Limits | None = None,
        device: str = "auto",
    ) -> None:
        limits = limits or Limits()
        self.store, self.choice, self.limits = store, choice, limits
        self.shelf = Shelf(store, settings, device)
        self.default: Model | None = None
        self.reason = "the first model is being looked for"
        self.asked_at = time.monotonic()
        self.queue, self.room = Queue(limits.queue), Room(limits.pixels_at_once)
        self.measures = Measures(lambda: self.queue.taken, lambda: len(self.shelf))
        self.turns = asyncio.Semaphore(limits.files_at_once)
        self.batcher = Batcher(self.measures.batch.observe)
        self.threads = ThreadPoolExecutor(DECODERS, "pictures")

    def look(self) -> None:
        """Makes the best model there is the default; one that cannot be loaded leaves the old.

        Raises:
            BadInputError: what was asked for by number is not there.
        """
        if self.choice.run_id is not None:
            wanted: int | None = self.choice.run_id
        else:
            found = best(self.store, self.choice.study_id)
            wanted = None if found is None else found.run.id
        if wanted is None:
            self.reason = "no run has ended `done` yet"
            return
        model = self.shelf.take(wanted)
        before = self.default
        if before is not None and model.saved != before.saved:
            self.measures.swaps.inc()
        self.default = model

    async def watch(self) -> None:
        """Looks for a better model again and again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.default is None or self.choice.follow:
                try:
                    await asyncio.to_thread(self.look)
                except EngineError as error:
                    self.reason = str(error)
                except Exception:  # a fault of ours must not be the last look
                    traceback.print_exc()

    async def model(self, run_id: int | None) -> Model:
        """The model of a run, or the default one.

        Raises:
            HTTPException: 404 for a run that is not there, 503 where there is no model yet.
        """
        if run_id is None:
            if self.default is None:
                raise HTTPException(
                    503, f"There is no model to ask: {self.reason}.", {"Retry-After": "5"}
                )
            return self.default
        try:
            return await asyncio.to_thread(self.shelf.take, run_id)
        except BadInputError as error:
            raise HTTPException(404, str(error)) from error

    async def answer(
        self, model: Model, content: bytes, form: Format, given: Given
    ) -> tuple[bytes, Question]:
        """A coloured picture's file, and what the model was asked."""
        loop, pixels = asyncio.get_running_loop(), self.limits.pixels
        size = pipeline.measure(content, pixels)
        async with self.room.hold(size[0] * size[1]):
            question = await loop.run_in_executor(
                self.threads, pipeline.read, content, model.expects, model.px, given, pixels
            )
            square = await self.batcher.ask(model, question.framed.square)
            made = await loop.run_in_executor(
                self.threads, lambda: pipeline.encode(pipeline.finish(question, square), form)
            )
        return made, question
