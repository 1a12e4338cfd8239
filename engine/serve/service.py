"""Holds what all requests to the model server share: models, the default model, and limits."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fastapi import HTTPException

from engine.errors import BadInputError, EngineError
from engine.options.decodings import Decoding
from engine.serve import pipeline
from engine.serve.batching import Batcher
from engine.serve.limits import PixelBudget, RequestLimits, RequestSlots
from engine.serve.model_cache import Model, ModelCache
from engine.serve.pipeline import InputMode, OutputFormat, PreparedImage
from engine.serve.prometheus import ServerMetrics
from engine.serve.ranking import best_candidate
from engine.settings import Settings
from engine.store import Store

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 5.0
N_IMAGE_THREADS = 4


@dataclass(frozen=True)
class ModelSelection:
    """Selects the default model, which answers requests that name no run.

    Attributes:
        run_id: the run whose model is the default; None uses the best model of a study.
        study_id: the study whose best model is used; None uses the newest study that has a model.
        follow: whether the selection is repeated every few seconds. It may then return another run,
            a newer study, or a newer checkpoint of `run_id`.
    """

    run_id: int | None = None
    study_id: int | None = None
    follow: bool = True


class ModelService:
    """Colorizes pictures with the models in a cache, within the limits of the server.

    Args:
        store: the store with the runs.
        settings: has the folder of the checkpoints.
        selection: selects the default model.
        limits: maximum sizes and numbers of requests.
        device: where models compute; `auto` uses a GPU if there is one.

    Attributes:
        default_model: the model that answers requests that name no run; None before it is loaded.
        unavailable_reason: why the last loading of a default model failed; shown only while
            `default_model` is None.
        last_request_at: when the last request to colorize began or ended, on the monotonic clock.
        request_slots: limits the number of requests in progress or waiting.
        upload_slots: limits the number of uploaded files in memory.
        pixel_budget: limits the number of pixels in memory.
        image_threads: threads that decode, compose and encode pictures.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        selection: ModelSelection,
        limits: RequestLimits | None = None,
        device: str = "auto",
    ) -> None:
        limits = limits or RequestLimits()
        self.store, self.selection, self.limits = store, selection, limits
        self.model_cache = ModelCache(store, settings, device)
        self.default_model: Model | None = None
        self.unavailable_reason = "the first model is being loaded"
        self.last_request_at = time.monotonic()
        self.request_slots = RequestSlots(limits.max_requests)
        self.upload_slots = asyncio.Semaphore(limits.concurrent_files)
        self.pixel_budget = PixelBudget(limits.concurrent_pixels)
        self.metrics = ServerMetrics(lambda: self.request_slots.used, lambda: len(self.model_cache))
        self.batcher = Batcher(self.metrics.batch.observe)
        self.image_threads = ThreadPoolExecutor(N_IMAGE_THREADS, "pictures")

    def reload_default(self) -> None:
        """Loads the selected run, or the best model of the study, as the default model.

        If loading fails, the current default model is kept.

        Raises:
            BadInputError: the selected run or study does not exist.
            EngineError: the model's checkpoint cannot be loaded.
        """
        run_id = self.selection.run_id
        if run_id is None:
            candidate = best_candidate(self.store, self.selection.study_id)
            run_id = None if candidate is None else candidate.run.id
        if run_id is None:
            self.unavailable_reason = "no run is done yet"
            return
        model, previous = self.model_cache.get(run_id), self.default_model
        if previous is not None and model.checkpoint != previous.checkpoint:
            self.metrics.swaps.inc()
            logger.info("the default model is now that of run %d", run_id)
        self.default_model = model

    async def poll_default(self) -> None:
        """Reloads the default model every few seconds until the task is cancelled.

        If `selection.follow` is False, the model is reloaded only while there is none.
        """
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            if self.default_model is None or self.selection.follow:
                try:
                    await asyncio.to_thread(self.reload_default)
                except EngineError as error:
                    self.unavailable_reason = str(error)
                    logger.warning("no new model: %s", error)
                except Exception:  # keep polling after an unexpected error
                    logger.exception("no new model")

    async def get_model(self, run_id: int | None) -> Model:
        """Returns the model of a run, or the default model.

        Raises:
            HTTPException: 404 if the run does not exist or has no checkpoint, 503 if there is no
                default model yet.
            EngineError: the model's checkpoint cannot be loaded.
        """
        if run_id is None:
            if self.default_model is None:
                detail = f"There is no model yet: {self.unavailable_reason}."
                raise HTTPException(503, detail, {"Retry-After": "5"})
            return self.default_model
        try:
            return await asyncio.to_thread(self.model_cache.get, run_id)
        except BadInputError as error:
            raise HTTPException(404, str(error)) from error

    async def colorize(
        self,
        model: Model,
        content: bytes,
        file_format: OutputFormat,
        given: InputMode,
        decoding: Decoding | None = None,
    ) -> tuple[bytes, PreparedImage]:
        """Colorizes an uploaded picture.

        Args:
            model: the model to use.
            content: bytes of the uploaded image file.
            file_format: image format of the answer.
            given: whether to extract lines from the picture, for a model that was trained on
                sketches; see `pipeline.prepare`.
            decoding: how the picture is read from the palette; None: as the run decodes it.

        Returns:
            Bytes of the coloured image file, and the model's input.

        Raises:
            PictureFaultError: the content cannot be decoded, or the picture is too large.
            EngineError: the model could not compute an answer.
        """
        loop, max_pixels = asyncio.get_running_loop(), self.limits.max_pixels
        width, height = pipeline.image_size(content, max_pixels)
        async with self.pixel_budget.hold(width * height):
            prepared = await loop.run_in_executor(
                self.image_threads,
                lambda: pipeline.prepare(content, model.expects, model.px, given, max_pixels),
            )
            answer = await self.batcher.colorize(model, prepared.letterboxed.square, decoding)
            encoded = await loop.run_in_executor(
                self.image_threads,
                lambda: pipeline.encode(pipeline.compose(prepared, answer), file_format),
            )
        return encoded, prepared
