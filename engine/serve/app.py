"""The routes of the model server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request

from engine.errors import EngineError
from engine.images.faults import PictureFaultError
from engine.serve.limits import FORM_BYTES, BoundedBody, Token
from engine.serve.routes import router, status_of
from engine.serve.service import Serving

LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]


def build_app(serving: Serving, token: str | None = None, host: str = "127.0.0.1") -> FastAPI:
    """The model server as an ASGI application.

    Args:
        serving: what it answers from.
        host: where it listens.
        token: asked of everybody; None: only this machine can reach it, and nobody is asked.
    """

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        async with serving.batcher:
            watching = asyncio.create_task(serving.watch())
            yield
            watching.cancel()
        serving.threads.shutdown(wait=False, cancel_futures=True)

    # Without a token, pages of other origins could reach it by a name of their own.
    guard = (
        Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, host])
        if token is None
        else Middleware(Token, token=token)
    )
    app = FastAPI(
        title="Chromabench model server",
        version="1",
        description="Colours sketches and grey photographs by the models of a study.",
        lifespan=life,
        middleware=[guard, Middleware(BoundedBody, most=serving.limits.file_bytes + FORM_BYTES)],
    )
    app.state.serving = serving
    app.add_exception_handler(EngineError, _refuse)
    app.include_router(router)
    return app


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, EngineError)
    status, sentence = status_of(error), str(error)
    if isinstance(error, PictureFaultError):
        sentence = f"The file is no picture to colour: {error}."
    again = {"Retry-After": "5"} if status == 503 else None
    return JSONResponse({"detail": sentence}, status, again)
