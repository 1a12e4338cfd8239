"""Runs the model server as a process, until it receives a signal or was idle for too long."""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn

from engine.errors import EngineError
from engine.serve import discovery
from engine.serve.app import build_app
from engine.serve.auth import require_token_beyond_loopback
from engine.serve.service import ModelService
from engine.settings import Settings
from engine.system.processes import ProcessId

logger = logging.getLogger(__name__)

START_POLL_S, IDLE_POLL_S = 0.02, 1.0
SHUTDOWN_TIMEOUT_S = 10
# Pages and monitoring request these paths every few seconds.
UNLOGGED_PATHS = ("/healthz", "/readyz", "/metrics")


@dataclass(frozen=True)
class ServerOptions:
    """Where a server listens and when it exits.

    Attributes:
        host: an IP address such as 127.0.0.1.
        port: the port; 0 uses any free port.
        idle_s: the server exits after this many seconds without a request to colorize a picture;
            None: the server never exits because of this.
    """

    host: str = "127.0.0.1"
    port: int = 5050
    idle_s: float | None = None


def serve(service: ModelService, settings: Settings, options: ServerOptions) -> None:
    """Serves until the process receives SIGTERM or SIGINT, or was idle for too long.

    Raises:
        BadInputError: other machines can reach the address and there is no token, or the selected
            run or study does not exist.
        EngineError: the port is in use, or the model cannot be loaded.
    """
    require_token_beyond_loopback(options.host, settings.server_token)
    service.reload_default()
    with _open_socket(options) as listener:
        port = listener.getsockname()[1]
        host = f"[{options.host}]" if ":" in options.host else options.host
        url, process = f"http://{host}:{port}", str(ProcessId.of(os.getpid()))

        def announce() -> None:
            discovery.write_address(settings, _local_url(url), process)
            model = service.default_model
            label = (
                "no model yet" if model is None else f"run {model.run.id}, {model.run.config.label}"
            )
            logger.info("Serving %s, at %s; API documentation: %s/docs", label, url, url)

        app = build_app(service, settings.server_token, options.host)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
                server_header=False,
            )
        )
        logging.getLogger("uvicorn.access").addFilter(_is_logged_request)
        # Uvicorn raises the signal again after its shutdown: without this handler the process
        # would end before it deletes the address file.
        signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            asyncio.run(_run(server, listener, options.idle_s, service, announce))
        finally:
            discovery.delete_address(settings, process)
        if not server.started:
            raise EngineError("The model server could not start; see its log.")


async def _run(
    server: uvicorn.Server,
    listener: socket.socket,
    idle_s: float | None,
    service: ModelService,
    announce: Callable[[], None],
) -> None:
    """Runs the server, calls `announce` when requests are accepted, and stops an idle server."""

    async def announce_and_watch() -> None:
        while not server.started:
            await asyncio.sleep(START_POLL_S)
        try:
            announce()
        except OSError:
            server.should_exit = True
            raise
        while idle_s is not None:
            await asyncio.sleep(IDLE_POLL_S)
            is_idle = time.monotonic() - service.last_request_at > idle_s
            if is_idle and not service.request_slots.used:
                server.should_exit = True
                return

    watching = asyncio.create_task(announce_and_watch())
    await server.serve(sockets=[listener])
    watching.cancel()
    if watching.done() and not watching.cancelled():
        watching.result()  # raises the error that stopped the server, if there was one


def _is_logged_request(record: logging.LogRecord) -> bool:
    """Returns whether Uvicorn's record of a request is logged; health checks are not."""
    assert isinstance(record.args, tuple), "client, method, path, version, status"
    return str(record.args[2]).partition("?")[0] not in UNLOGGED_PATHS


def _open_socket(options: ServerOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
    except OSError as error:
        listener.close()
        raise EngineError(
            f"Port {options.port} of {options.host} cannot be used ({error.strerror}); choose "
            f"another: --port {options.port % 65535 + 1}."
        ) from error
    return listener


def _local_url(url: str) -> str:
    """Returns the URL at which this machine reaches a server that listens on all addresses."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
