"""HTTP client of the model server, for pages and scripts. Loads no torch."""

import sys
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

import requests

from engine.errors import EngineError
from engine.options.decodings import Decoding
from engine.serve import discovery
from engine.settings import Settings
from engine.system import processes
from engine.system.child_environment import build_child_environment

MAX_FILE_MB = 32
IDLE_TIMEOUT_S = 1800
STATUS_TIMEOUT_S, COLORIZE_TIMEOUT_S = 3.0, 120.0

ServerState = Literal["none", "starting", "waiting", "ready"]


@dataclass(frozen=True)
class ServerStatus:
    """State of the model server.

    Attributes:
        state: `none`: no server runs, or the server cannot be reached; `starting`: a server process
            runs and does not answer yet; `waiting`: the server answers and has no model yet;
            `ready`: the server has a model.
        url: the server's address; None if no address is known.
        detail: why the server has no model or cannot be reached; empty otherwise.
    """

    state: ServerState
    url: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class ColorizedImage:
    """The server's answer to a picture.

    Attributes:
        picture: bytes of the image file.
        run_id: the run whose model colorized the picture.
        configuration: name of that run's configuration.
        notes: what the server changed in the input picture; empty if it changed nothing.
        is_extracted: whether the server extracted line art from the input picture.
    """

    picture: bytes
    run_id: int
    configuration: str
    notes: str
    is_extracted: bool


def server_status(settings: Settings) -> ServerStatus:
    """Returns the state of the server that pages use.

    Pages use the server at `settings.server_url` or, without this setting, the server that runs on
    this machine.
    """
    address = discovery.load_address(settings)
    url = settings.server_url or (None if address is None else address.url)
    if url is None:
        return ServerStatus("starting") if discovery.is_running(settings) else ServerStatus("none")
    try:
        response = _session().get(f"{url}/readyz", timeout=STATUS_TIMEOUT_S)
        detail = str(response.json().get("detail", ""))
    except (requests.RequestException, ValueError) as error:
        if settings.server_url is None:  # the local process is alive, but may not listen yet
            return ServerStatus("starting")
        detail = f"The model server at {url} cannot be reached ({type(error).__name__})."
        return ServerStatus("none", url, detail)
    return ServerStatus("ready" if response.ok else "waiting", url, detail)


def start_server(settings: Settings) -> None:
    """Starts a detached server on a free port, unless such a server already runs.

    The server exits after `IDLE_TIMEOUT_S` seconds without a request to colorize a picture.

    Raises:
        EngineError: the process could not be started.
    """
    if discovery.is_running(settings):
        return
    settings.require_writable_artifacts()
    command = [sys.executable, "-m", "engine", "serve"]
    options = ["--port", "0", "--idle", str(IDLE_TIMEOUT_S)]
    log, environment = discovery.log_path(settings), build_child_environment(settings)
    try:
        processes.spawn_detached([*command, *options], log, environment)
    except OSError as error:
        raise EngineError(f"No model server could be started ({error}).") from error


def colorize(
    settings: Settings,
    url: str,
    picture: bytes,
    run_id: int,
    given: str = "auto",
    decoding: Decoding | None = None,
) -> ColorizedImage:
    """Colorizes a picture with the model of a run.

    Args:
        settings: has the server's bearer token.
        url: the server's address.
        picture: bytes of the image file.
        run_id: the run whose model is used.
        given: `auto` or `as_is`; see `pipeline.prepare`.
        decoding: how the colours are chosen; None: as the run decodes its pictures.

    Raises:
        EngineError: the server refused the picture (with the server's reason), or did not answer.
    """
    token = settings.server_token
    parameters = {"run": str(run_id), "given": given}
    if decoding is not None:
        parameters["decoding"] = str(decoding)
        if decoding.rule == "sample":
            parameters["seed"] = str(decoding.seed)
    try:
        response = _session().post(
            f"{url}/api/v1/colorize",
            params=parameters,
            files={"file": ("picture", picture)},
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=COLORIZE_TIMEOUT_S,
        )
    except requests.RequestException as error:
        raise EngineError(f"The model server does not answer ({type(error).__name__}).") from error
    if not response.ok:
        raise EngineError(_error_detail(response))
    headers = response.headers
    return ColorizedImage(
        response.content,
        int(headers["X-Chromabench-Run"]),
        headers["X-Chromabench-Configuration"],
        unquote(headers["X-Chromabench-Notes"]),
        headers["X-Chromabench-Given"] == "extracted",
    )


def _session() -> requests.Session:
    """Makes a session that ignores the environment's proxy: the server is in the local network."""
    session = requests.Session()
    session.trust_env = False
    return session


def _error_detail(response: requests.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The model server answered with status {response.status_code}."
