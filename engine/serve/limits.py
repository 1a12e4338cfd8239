"""Limits of a request: size of its body and file, upload time, and concurrent work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import HTTPException
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.serve.client import MAX_FILE_MB

MIB = 2**20
# Bytes that a multipart form may have in addition to its file.
MAX_FORM_BYTES = 64 * 1024
# A body of up to this many times the limit is read to its end before it is refused.
DRAIN_FACTOR = 4


@dataclass(frozen=True)
class RequestLimits:
    """Limits of the model server.

    Attributes:
        max_file_bytes: size of an uploaded file.
        max_pixels: pixels of an uploaded picture.
        max_requests: requests that the server holds at the same time, including those that wait.
        concurrent_files: uploaded files in memory at the same time.
        concurrent_pixels: pixels of all pictures in memory at the same time; the server's memory
            grows with this number.
        upload_timeout_s: time for a whole upload.
    """

    max_file_bytes: int = MAX_FILE_MB * MIB
    max_pixels: int = 25_000_000
    max_requests: int = 64
    concurrent_files: int = 16
    concurrent_pixels: int = 75_000_000
    upload_timeout_s: float = 60.0


class RequestSlots:
    """Counts the requests that the server holds and refuses requests above the limit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Holds a slot during a request.

        Raises:
            HTTPException: 503 with `Retry-After` if no slot is free.
        """
        if self.used >= self.limit:
            raise HTTPException(
                503,
                f"{self.used} requests are waiting already; try again in a moment.",
                {"Retry-After": "1"},
            )
        self.used += 1
        try:
            yield
        finally:
            self.used -= 1


class PixelBudget:
    """Limits the pixels that are in memory; further pictures wait in the order of arrival."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Waits until the given number of pixels is free, then holds these pixels.

        A picture with more pixels than the limit holds the whole limit.
        """
        pixels = min(pixels, self.limit)
        async with self._turn, self._freed:
            await self._freed.wait_for(lambda: self.used + pixels <= self.limit)
            self.used += pixels
        try:
            yield
        finally:
            async with self._freed:
                self.used -= pixels
                self._freed.notify_all()


class MaxBodyMiddleware:
    """Middleware that refuses a request whose body exceeds the limit.

    A body of up to `DRAIN_FACTOR` times the limit is read to its end first, so that the client can
    read the refusal. A larger body is refused before it has arrived completely.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts the received bytes of a request.

        Raises:
            HTTPException: 413 if the body exceeds the limit.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        n_received = 0
        drain_limit = DRAIN_FACTOR * self.max_bytes
        content_length = dict(scope["headers"]).get(b"content-length", b"0")
        is_far_too_large = content_length.isdigit() and int(content_length) > drain_limit

        async def receive_counted() -> Message:
            nonlocal n_received
            while not is_far_too_large:
                message = await receive()
                n_received += len(message.get("body", b""))
                if n_received <= self.max_bytes:
                    return message
                if n_received > drain_limit or not message.get("more_body"):
                    break
            raise HTTPException(
                413,
                f"The request is too large; the limit is {self.max_bytes / MIB:.0f} MB.",
                {"Connection": "close"},
            )

        await self.app(scope, receive_counted, send)


@asynccontextmanager
async def uploaded_file(request: Request, limits: RequestLimits) -> AsyncIterator[UploadFile]:
    """Receives a multipart form and yields the file in its field `file`.

    A large file is stored on disk during the request.

    Raises:
        HTTPException: 400 if the form or its field is missing, 408 if the upload takes too long,
            413 if the file is too large, 415 if the body has another type.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise HTTPException(
            415,
            "The body must be multipart/form-data with the picture in its field `file`, not "
            f"{media_type[:60] or 'of no type'}; for example, use `curl -F file=@cat.png`.",
        )
    try:
        async with asyncio.timeout(limits.upload_timeout_s):
            form = await request.form(max_files=1, max_fields=8, max_part_size=MAX_FORM_BYTES)
    except TimeoutError as error:
        raise HTTPException(
            408, f"The upload took longer than {limits.upload_timeout_s:.0f} seconds."
        ) from error
    except ClientDisconnect as error:
        raise HTTPException(400, "The client disconnected during the upload.") from error
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise HTTPException(400, "The form has no file in its field `file`.")
        if (file.size or 0) > limits.max_file_bytes:
            max_mb = limits.max_file_bytes / MIB
            raise HTTPException(413, f"The file is too large; the limit is {max_mb:.0f} MB.")
        yield file
    finally:
        await form.close()
