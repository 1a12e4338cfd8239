"""The questions that a model server answers."""

import itertools
import time
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request

from engine.config import source_label
from engine.errors import BadInputError, EngineError
from engine.images.faults import PictureFaultError
from engine.serve import pipeline
from engine.serve.limits import uploaded
from engine.serve.pipeline import Format, Given
from engine.serve.ranking import Candidate, candidates
from engine.serve.service import Serving

MOST_LISTED = 200
STATUS = {"empty": 400, "not_a_picture": 415, "too_large": 413}
DAMAGED = 422
UPLOAD = {
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
REFUSALS = {
    400: "no file",
    404: "no such run",
    413: "too large",
    415: "no picture",
    422: "a damaged picture",
    503: "busy, or no model yet",
}

router = APIRouter()


def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.serving
    return serving


Served = Annotated[Serving, Depends(_serving)]


def status_of(error: EngineError) -> int:
    """The HTTP status of an error that a person can mend."""
    return STATUS.get(error.kind, DAMAGED) if isinstance(error, PictureFaultError) else 503


@router.post(
    "/api/v1/colorize",
    openapi_extra=UPLOAD,
    response_class=Response,
    responses={
        200: {"content": {f"image/{name}": {} for name in pipeline.FORMATS}},
        **{status: {"description": about} for status, about in REFUSALS.items()},
    },
)
async def colorize(
    request: Request,
    serving: Served,
    run: Annotated[int | None, Query(ge=1, lt=10**18, description="a run's number")] = None,
    format: Annotated[Format, Query(description="of the answer")] = "png",  # noqa: A002
    given: Annotated[
        Given,
        Query(
            description="`auto`: for a model of sketches, line art is extracted from pictures "
            "that are none; `as_is`: never"
        ),
    ] = "auto",
) -> Response:
    """Colours the picture in the form's field `file`; the answer has its size."""
    began, status, served = time.perf_counter(), 500, run
    serving.asked_at = time.monotonic()
    try:
        async with (
            serving.queue.place(),
            uploaded(request, serving.limits) as sent,
            serving.turns,
        ):
            model = await serving.model(run)
            served = model.run.id
            made, question = await serving.answer(model, await sent.read(), format, given)
        status = 200
        about = {
            "X-Chromabench-Run": str(model.run.id),
            "X-Chromabench-Configuration": model.run.configuration,
            "X-Chromabench-Checkpoint": model.saved.sha256,
            "X-Chromabench-Notes": quote(" ".join(question.notes)),
            "X-Chromabench-Given": "extracted" if question.is_extracted else "as_is",
            "Content-Disposition": f'inline; filename="coloured.{format}"',
        }
        return Response(made, media_type=f"image/{format}", headers=about)
    except (HTTPException, EngineError) as refusal:
        status = refusal.status_code if isinstance(refusal, HTTPException) else status_of(refusal)
        raise
    finally:
        # A number that nobody's run has must not become a series of its own.
        name = str(served) if status == 200 else ""
        serving.measures.requests.labels(name, str(status)).inc()
        serving.measures.seconds.observe(time.perf_counter() - began)
        serving.asked_at = time.monotonic()


@router.get("/api/v1/models")
def list_models(
    serving: Served, study: Annotated[int | None, Query(ge=1, lt=10**18)] = None
) -> dict[str, Any]:
    """The models that can be asked, newest study first, best first; and the default."""
    try:
        every = (it for group in candidates(serving.store, study) for it in group)
        found = list(itertools.islice(every, MOST_LISTED))
    except BadInputError as error:
        raise HTTPException(404, str(error)) from error
    served = None if serving.default is None else serving.default.run.id
    return {"default": served, "models": [_describe(it) for it in found]}


@router.get("/healthz")
def is_alive() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def is_ready(serving: Served) -> JSONResponse:
    """Whether there is a model to ask."""
    if serving.default is None:
        return JSONResponse({"status": "waiting", "detail": serving.reason}, 503)
    return JSONResponse({"status": "ready", "run": serving.default.run.id})


@router.get("/metrics", include_in_schema=False)
def tell_measures(serving: Served) -> Response:
    """For Prometheus."""
    return Response(serving.measures.text(), media_type=CONTENT_TYPE_LATEST)


def _describe(it: Candidate) -> dict[str, Any]:
    config = it.run.config
    return {
        "run": it.run.id,
        "study": it.study.id,
        "study_name": it.study.name,
        "configuration": it.run.configuration,
        "seed": it.run.seed,
        "px": config.budget.px,
        "expects": source_label(config.data),
        "epoch": it.checkpoint.epoch,
        "sha256": it.checkpoint.sha256,
        "mean_rank": it.mean_rank,
    }
