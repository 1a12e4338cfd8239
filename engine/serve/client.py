"""For those who ask the model server: pages and scripts. Torch-free."""

import sys
import threading
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

import requests

from engine.errors import EngineError
from engine.serve import discovery
from engine.settings import Settings
from engine.system import processes
from engine.system.child_environment import worker_environment
from engine.system.files import read_tail

LARGEST_FILE_MB = 32  # that a server takes
IDLE_S = 1800  # after which a server that a page has started ends by itself
QUICK_S, PATIENT_S = 3.0, 120.0
TAIL = 2000  # characters of a log

State = Literal["none", "starting", "waiting", "ready"]


@dataclass(frozen=True)
class Standing:
    """How the model server stands.

    Attributes:
        state: there is `none`; one is `starting`; one is `waiting` for a first model; `ready`.
        url: where it is; None where there is none yet.
        detail: what it waits for, or why it cannot be reached.
    """

    state: State
    url: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class Coloured:
    """A server's answer.

    Attributes:
        picture: the file's bytes.
        notes: what was done to the picture on the way; empty where nothing was.
        is_extracted: whether its lines were extracted first.
    """

    picture: bytes
    run_id: int
    configuration: str
    notes: str
    is_extracted: bool


def look(settings: Settings) -> Standing:
    """How the server stands that pages ask."""
    known = discovery.read(settings)
    url = settings.server_url or (None if known is None else known.url)
    if url is None:
        return Standing("starting") if discovery.is_held(settings) else Standing("none")
    try:
        said = _session().get(f"{url}/readyz", timeout=QUICK_S)
        detail = str(said.json().get("detail", ""))
    except (requests.RequestException, ValueError) as error:
        if settings.server_url is None:  # its process lives; it may not listen yet
            return Standing("starting")
        where = f"The model server at {url} cannot be reached ({type(error).__name__})."
        return Standing("none", url, where)
    return Standing("ready" if said.ok else "waiting", url, detail)


def start(settings: Settings) -> None:
    """Starts a detached server on a free port, unless one of its kind runs already.

    Raises:
        EngineError: no process could be started.
    """
    if discovery.is_held(settings):
        return
    settings.require_writable_artifacts()
    command = [sys.executable, "-m", "engine", "serve", "--port", "0", "--idle", str(IDLE_S)]
    try:
        child = processes.start_detached(
            command, discovery.log_path(settings), worker_environment(settings)
        )
    except OSError as error:
        raise EngineError(f"No model server could be started ({error}).") from error
    threading.Thread(target=child.wait, daemon=True).start()


def log_tail(settings: Settings) -> str:
    """The last that a server which was started by a page has said."""
    return read_tail(discovery.log_path(settings), TAIL)


def colorize(
    settings: Settings, url: str, picture: bytes, run_id: int, given: str = "auto"
) -> Coloured:
    """Asks a model for the colours of a picture.

    Raises:
        EngineError: it was refused, with the server's reason, or the server does not answer.
    """
    answer = _ask(
        settings,
        "POST",
        f"{url}/api/v1/colorize",
        PATIENT_S,
        params={"run": str(run_id), "given": given},
        files={"file": ("picture", picture)},
    )
    said = answer.headers
    return Coloured(
        answer.content,
        int(said["X-Chromabench-Run"]),
        said["X-Chromabench-Configuration"],
        unquote(said["X-Chromabench-Notes"]),
        said["X-Chromabench-Given"] == "extracted",
    )


def _session() -> requests.Session:
    """Without the environment's proxy: the server is on this machine or a neighbour."""
    session = requests.Session()
    session.trust_env = False
    return session


def _ask(
    settings: Settings,
    method: str,
    url: str,
    patience_s: float,
    params: dict[str, str] | None = None,
    files: dict[str, tuple[str, bytes]] | None = None,
) -> requests.Response:
    token = settings.server_token
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        answer = _session().request(
            method, url, params=params, files=files, headers=headers, timeout=patience_s
        )
    except requests.RequestException as error:
        raise EngineError(f"The model server does not answer ({type(error).__name__}).") from error
    if answer.ok:
        return answer
    try:
        reason = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        reason = f"status {answer.status_code}"
    raise EngineError(reason)
