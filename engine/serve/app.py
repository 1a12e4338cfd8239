"""The FastAPI application of the model server: its endpoints and its middleware."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware import Middleware
from starlette.requests import Request

from engine.config import source_label
from engine.errors import BadInputError, EngineError
from engine.images.faults import PictureFaultError
from engine.serve.auth import build_access_middleware
from engine.serve.limits import MAX_FORM_BYTES, MaxBodyMiddleware, uploaded_file
from engine.serve.pipeline import OUTPUT_FORMATS, InputMode, OutputFormat
from engine.serve.ranking import Candidate, candidates_by_study
from engine.serve.service import ModelService

MAX_LISTED_MODELS = 200
# HTTP status by kind of fault; every other fault is a damaged picture.
STATUS_BY_FAULT = {"empty": 400, "not_a_picture": 415, "too_large": 413}
DAMAGED_STATUS = 422
UPLOAD_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}
STATUS_DESCRIPTIONS = {
    400: "The request has no file.",
    404: "The run does not exist or has no checkpoint.",
    413: "The file or the picture is too large.",
    415: "The file is not a picture.",
    422: "The picture is damaged, or a parameter is invalid.",
    503: "The server is busy or has no model yet.",
}

router = APIRouter()


def build_app(service: ModelService, token: str | None = None, host: str = "127.0.0.1") -> FastAPI:
    """Builds the model server as an ASGI application.

    Args:
        service: the models and limits.
        token: the bearer token that a request needs; None: the server answers requests of this
            machine only.
        host: the address on which the server listens.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service.batcher:
            polling = asyncio.create_task(service.poll_default())
            yield
            polling.cancel()
        service.image_threads.shutdown(wait=False, cancel_futures=True)

    max_bytes = service.limits.max_file_bytes + MAX_FORM_BYTES
    app = FastAPI(
        title="Chromabench model server",
        version="1",
        description="Colorizes sketches and grey photographs with the models of a study.",
        lifespan=lifespan,
        middleware=[
            build_access_middleware(token, host),
            Middleware(MaxBodyMiddleware, max_bytes=max_bytes),
        ],
    )
    app.state.service = service
    app.add_exception_handler(EngineError, _error_response)
    app.include_router(router)
    return app


async def _error_response(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EngineError)
    status, detail = _status_of(error), str(error)
    if isinstance(error, PictureFaultError):
        detail = f"The file cannot be colorized: {error}."
    headers = {"Retry-After": "5"} if status == 503 else None
    return JSONResponse({"detail": detail}, status, headers)


def _status_of(error: EngineError) -> int:
    if isinstance(error, PictureFaultError):
        return STATUS_BY_FAULT.get(error.kind, DAMAGED_STATUS)
    return 503


def _service(request: Request) -> ModelService:
    service: ModelService = request.app.state.service
    return service


Service = Annotated[ModelService, Depends(_service)]


@router.post(
    "/api/v1/colorize",
    openapi_extra=UPLOAD_SCHEMA,
    response_class=Response,
    responses={
        200: {"content": {f"image/{name}": {} for name in OUTPUT_FORMATS}},
        **{status: {"description": text} for status, text in STATUS_DESCRIPTIONS.items()},
    },
)
async def colorize(
    request: Request,
    service: Service,
    run: Annotated[
        int | None, Query(ge=1, lt=10**18, description="Run number; the best model if missing.")
    ] = None,
    format: Annotated[  # noqa: A002
        OutputFormat, Query(description="Image format of the answer.")
    ] = "png",
    given: Annotated[
        InputMode,
        Query(
            description="How a model of sketches gets its input. `auto`: lines are extracted from "
            "a picture that is not line art; `as_is`: the picture is used unchanged."
        ),
    ] = "auto",
    decoding: Annotated[
        str | None,
        Query(
            max_length=100,
            description="How the colours are chosen, for a model with a palette: `mean` (pale), "
            "`sharp:0.1`, `median:4+flat` (vivid), or `sample:0.5+flat` (another answer for each "
            "seed). As the model was evaluated if missing.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        Query(ge=0, lt=2**31, description="Seed of a decoding with the rule `sample`."),
    ] = None,
) -> Response:
    """Colorizes the picture in the form's field `file`; the answer has the picture's size."""
    started_at, status, run_id = time.perf_counter(), 500, run
    service.last_request_at = time.monotonic()
    try:
        async with (
            service.request_slots.hold(),
            uploaded_file(request, service.limits) as file,
            service.upload_slots,
        ):
            model = await service.get_model(run)
            run_id = model.run.id
            try:
                chosen = model.choose_decoding(decoding, seed)
            except BadInputError as error:
                raise HTTPException(422, str(error)) from error
            content, prepared = await service.colorize(
                model, await file.read(), format, given, chosen
            )
        status = 200
        headers = {
            "X-Chromabench-Run": str(model.run.id),
            "X-Chromabench-Configuration": model.run.configuration,
            "X-Chromabench-Checkpoint": model.checkpoint.sha256,
            "X-Chromabench-Notes": quote(" ".join(prepared.notes)),
            "X-Chromabench-Decoding": "" if chosen is None else str(chosen),
            "X-Chromabench-Given": "extracted" if prepared.is_extracted else "as_is",
            "Content-Disposition": f'inline; filename="coloured.{format}"',
        }
        return Response(content, media_type=f"image/{format}", headers=headers)
    except (HTTPException, EngineError) as error:
        status = error.status_code if isinstance(error, HTTPException) else _status_of(error)
        raise
    finally:
        # Clients can request any run number. Only runs that exist become labels of the metric, so
        # that the number of labels stays small.
        run_label = str(run_id) if status == 200 else ""
        service.metrics.requests.labels(run_label, str(status)).inc()
        service.metrics.seconds.observe(time.perf_counter() - started_at)
        service.last_request_at = time.monotonic()


@router.get("/api/v1/models")
def list_models(
    service: Service, study: Annotated[int | None, Query(ge=1, lt=10**18)] = None
) -> dict[str, Any]:
    """Lists the models of every study and the run of the default model.

    The newest study comes first and, within a study, the best model.
    """
    try:
        every_candidate = itertools.chain.from_iterable(candidates_by_study(service.store, study))
        candidates = list(itertools.islice(every_candidate, MAX_LISTED_MODELS))
    except BadInputError as error:
        raise HTTPException(404, str(error)) from error
    default_run = None if service.default_model is None else service.default_model.run.id
    return {"default": default_run, "models": [_describe(candidate) for candidate in candidates]}


def _describe(candidate: Candidate) -> dict[str, Any]:
    config = candidate.run.config
    return {
        "run": candidate.run.id,
        "study": candidate.study.id,
        "study_name": candidate.study.name,
        "configuration": candidate.run.configuration,
        "seed": candidate.run.seed,
        "px": config.budget.px,
        "expects": source_label(config.data),
        "decoding": None if candidate.decoding is None else str(candidate.decoding),
        "epoch": candidate.checkpoint.epoch,
        "sha256": candidate.checkpoint.sha256,
        "mean_rank": candidate.mean_rank,
    }


@router.get("/healthz")
def is_alive() -> dict[str, str]:
    """Answers `ok` while the process runs."""
    return {"status": "ok"}


@router.get("/readyz")
def is_ready(service: Service) -> JSONResponse:
    """Answers `ready` if there is a default model, else 503 with the reason."""
    if service.default_model is None:
        return JSONResponse({"status": "waiting", "detail": service.unavailable_reason}, 503)
    return JSONResponse({"status": "ready", "run": service.default_model.run.id})


@router.get("/metrics", include_in_schema=False)
def prometheus_metrics(service: Service) -> Response:
    """Returns the server's metrics for Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
