"""What a request may take: bytes, time, a place in the queue, and who may ask at all."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import HTTPException
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine.serve.client import LARGEST_FILE_MB

MIB = 2**20
FORM_BYTES = 64 * 1024  # of a form besides its file
HEARD_OUT = 4  # a body of at most so many times what is taken is read to its end
OPEN_PATHS = ("/healthz", "/readyz")


@dataclass(frozen=True)
class Limits:
    """Bounds of what is served.

    Attributes:
        file_bytes: of an uploaded file.
        pixels: of an uploaded picture.
        queue: requests at a time, the waiting ones too.
        files_at_once: of uploaded files that are in memory at a time.
        pixels_at_once: of the pictures that are decoded at a time: what memory follows from.
        upload_s: for the whole upload.
    """

    file_bytes: int = LARGEST_FILE_MB * MIB
    pixels: int = 25_000_000
    queue: int = 64
    files_at_once: int = 16
    pixels_at_once: int = 75_000_000
    upload_s: float = 60.0


class Queue:
    """Places for requests; who finds none is told to come again."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Holds a place; 503 with `Retry-After` where there is none."""
        if self.taken >= self.most:
            raise HTTPException(
                503,
                f"{self.taken} requests are waiting already; try again in a moment.",
                {"Retry-After": "1"},
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Room:
    """So many pixels at a time, first come first served; the rest waits."""

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0
        self._turn = asyncio.Lock()
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, pixels: int) -> AsyncIterator[None]:
        """Waits until there is room for so many pixels and holds it."""
        pixels = min(pixels, self.most)
        async with self._turn, self._freed:
            await self._freed.wait_for(lambda: self.used + pixels <= self.most)
            self.used += pixels
        try:
            yield
        finally:
            async with self._freed:
                self.used -= pixels
                self._freed.notify_all()


class BoundedBody:
    """Middleware: a body that grows too large is refused while it comes in; nothing keeps it.

    What is not far too large is read to its end, so that its sender can hear the refusal.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts what is received."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received = 0
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        is_far_too_large = announced.isdigit() and int(announced) > HEARD_OUT * self.most

        async def count() -> Message:
            nonlocal received
            while not is_far_too_large:
                message = await receive()
                received += len(message.get("body", b""))
                if received <= self.most:
                    return message
                if received > HEARD_OUT * self.most or not message.get("more_body"):
                    break
            raise HTTPException(
                413,
                f"The request is too large; at most {self.most / MIB:.0f} MB are taken.",
                {"Connection": "close"},
            )

        await self.app(scope, count, send)


class Token:
    """Middleware: only who sends the token is answered, but for questions after its health."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app, self.expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Compares in constant time."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not secrets.compare_digest(given, self.expected):
                headers = [(b"www-authenticate", b"Bearer"), (b"content-type", b"application/json")]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                body = b'{"detail":"This server asks for a token: Authorization: Bearer TOKEN."}'
                await send({"type": "http.response.body", "body": body})
                return
        await self.app(scope, receive, send)


@asynccontextmanager
async def uploaded(request: Request, limits: Limits) -> AsyncIterator[UploadFile]:
    """The file of a multipart form, its field `file`; a large one lies on the disk.

    Raises:
        HTTPException: 400 for no such form or field, 408 for an upload that takes too long, 413
            for one too large, 415 for a body of another type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise HTTPException(
            415,
            f"The body must be multipart/form-data with the picture in its field `file`, not "
            f"{kind[:60] or 'of no type'}; `curl -F file=@cat.png` sends it so.",
        )
    try:
        async with asyncio.timeout(limits.upload_s):
            form = await request.form(max_files=1, max_fields=8, max_part_size=FORM_BYTES)
    except TimeoutError as error:
        raise HTTPException(
            408, f"The upload took longer than {limits.upload_s:.0f} seconds."
        ) from error
    except ClientDisconnect as error:
        raise HTTPException(400, "The upload was cut off.") from error
    try:
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise HTTPException(400, "The form has no file in its field `file`.")
        if (sent.size or 0) > limits.file_bytes:
            raise HTTPException(
                413, f"The file is too large; at most {limits.file_bytes / MIB:.0f} MB are taken."
            )
        yield sent
    finally:
        await form.close()
