"""The model server's process: where it listens, who may ask, when it ends."""

import asyncio
import ipaddress
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn

from engine.errors import BadInputError, EngineError
from engine.serve import discovery
from engine.serve.app import build_app
from engine.serve.service import Serving
from engine.settings import Settings
from engine.system import processes

START_LOOK_S, IDLE_LOOK_S = 0.02, 1.0
LEAVE_S = 10  # for requests under way when it is told to end


@dataclass(frozen=True)
class Listening:
    """Where a server listens.

    Attributes:
        host: a number such as 127.0.0.1.
        port: 0: any that is free.
        idle_s: it ends when nobody has asked for so long; None: never.
    """

    host: str = "127.0.0.1"
    port: int = 5050
    idle_s: float | None = None


def serve(serving: Serving, settings: Settings, listening: Listening) -> None:
    """Serves until it is told to end.

    Raises:
        BadInputError: it would be open to others without a token; a run or study is not there.
        EngineError: the port is taken, or a model cannot be loaded.
    """
    token = settings.server_token
    if not _is_loopback(listening.host) and token is None:
        raise BadInputError(
            f"Beyond this machine ({listening.host}) the server asks for a token: set "
            "CHROMABENCH_SERVER_TOKEN to a long random text."
        )
    serving.look()
    with _listen(listening) as listener:
        port = listener.getsockname()[1]
        host = f"[{listening.host}]" if ":" in listening.host else listening.host
        url, process = f"http://{host}:{port}", processes.identify(os.getpid())

        def tell() -> None:
            discovery.write(settings, _reachable(url), process)
            model = serving.default
            about = (
                "no model yet" if model is None else f"run {model.run.id}, {model.run.config.label}"
            )
            sys.stderr.write(f"Serving {about}, on {url}; what it answers: {url}/docs\n")
            sys.stderr.flush()

        app = build_app(serving, settings.server_token, listening.host)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                timeout_graceful_shutdown=LEAVE_S,
                server_header=False,
            )
        )
        # What ends it is raised once more after its requests; by then there is more to do.
        signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            asyncio.run(_run(server, listener, listening.idle_s, serving, tell))
        finally:
            discovery.forget(settings, process)
        if not server.started:
            raise EngineError("The model server could not start; its log says why.")


async def _run(
    server: uvicorn.Server,
    listener: socket.socket,
    idle_s: float | None,
    serving: Serving,
    tell: Callable[[], None],
) -> None:
    async def look_after() -> None:
        while not server.started:
            await asyncio.sleep(START_LOOK_S)
        try:
            tell()
        except OSError:
            server.should_exit = True
            raise
        while idle_s is not None:
            await asyncio.sleep(IDLE_LOOK_S)
            if time.monotonic() - serving.asked_at > idle_s and not serving.queue.taken:
                server.should_exit = True
                return

    looking = asyncio.create_task(look_after())
    await server.serve(sockets=[listener])
    looking.cancel()
    if looking.done() and not looking.cancelled():
        looking.result()  # what went wrong there ended the server


def _listen(listening: Listening) -> socket.socket:
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((listening.host, listening.port))
    except OSError as error:
        listener.close()
        raise EngineError(
            f"Port {listening.port} of {listening.host} cannot be used ({error.strerror}); choose "
            f"another: --port {listening.port % 65535 + 1}."
        ) from error
    return listener


def _reachable(url: str) -> str:
    """The address by which this machine reaches itself."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise BadInputError(
            f"--host takes a number such as 127.0.0.1 or 0.0.0.0, not {host[:60]!r}."
        ) from error
