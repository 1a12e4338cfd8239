"""Which studies are recorded in MLflow too, and how much of them has been sent. Torch-free.

Two files per study and server in the artifacts folder: the wish, and how much was sent of it.
`tracking` sends; here nothing knows MLflow, so that whoever starts a study can ask for it.
"""

import hashlib
import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from engine.errors import BadInputError, EngineError
from engine.settings import Settings
from engine.system import processes
from engine.system.child_environment import worker_environment
from engine.system.files import is_locked, replacing

VARIABLE = "MLFLOW_TRACKING_URI"
WISH = ".json"
FOLDER, LOG, LOCK = "tracking", "tracking.log", "tracking.lock"
INSTALL = "`pip install 'chromabench[mlflow]'`"


@dataclass(frozen=True)
class Sent:
    """How much of a run MLflow has.

    Attributes:
        mlflow_id: of its run there.
        began: when an attempt last started from the beginning, as text; another one means that
            what was sent is no longer what the store has.
        cursor: id of the last curve point that was sent.
        steps: curve -> the last step that was sent: what a resumed run repeats is not sent again.
        sample_id: of the last samples that were sent.
        values: value of an evaluation -> what was sent of it, a number or why there is none.
        params: whether its settings were sent.
        state: of the run, when it was last sent.
        model: hash of the checkpoint whose model was sent.
    """

    mlflow_id: str
    began: str
    cursor: int = 0
    steps: Mapping[str, int] = field(default_factory=dict)
    sample_id: int = 0
    values: Mapping[str, float | str] = field(default_factory=dict)
    params: bool = False
    state: str = ""
    model: str = ""


@dataclass(frozen=True)
class Tracked:
    """A study that is recorded in MLflow too.

    Attributes:
        path: of the file that says so. Who wishes writes it; who sends writes another beside it.
        uri: of the MLflow server.
        asked: the newest wish; another one with each.
        runs: run -> how much of it was sent.
        done: the wish that was fulfilled last.
        trouble: why the server took nothing when it was last asked; empty where it did.
    """

    path: Path
    study_id: int
    uri: str
    asked: str
    runs: Mapping[int, Sent] = field(default_factory=dict)
    done: str = ""
    trouble: str = ""

    @property
    def is_over(self) -> bool:
        """Whether all there was has been sent since it was last wished for."""
        return self.done == self.asked

    def with_run(self, run_id: int, sent: Sent) -> "Tracked":
        """The same with one run further."""
        return replace(self, runs={**self.runs, run_id: sent})

    def save(self) -> None:
        """Writes down how much was sent."""
        runs = {run_id: asdict(sent) for run_id, sent in self.runs.items()}
        _write(_sent_path(self.path), {"runs": runs, "done": self.done, "trouble": self.trouble})


def check_uri(uri: str, origin: str) -> str:
    """The address of an MLflow server, or `BadInputError`.

    Args:
        uri: as it was given.
        origin: the option or variable that gave it.
    """
    if not re.fullmatch(r"\S+", uri):
        raise BadInputError(
            f"{origin} must be the address of an MLflow server, such as http://127.0.0.1:5000, "
            f"not {uri[:60]!r}."
        )
    if re.search(r"://[^/]*@", uri):
        raise BadInputError(
            f"{origin} holds a password, which would be written down with the study: give it by "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    return uri


def take_credentials() -> None:
    """Hands the user and password of the variable to MLflow's client by themselves."""
    named = urlsplit(os.environ.get(VARIABLE, ""))
    if named.username:
        os.environ.setdefault("MLFLOW_TRACKING_USERNAME", unquote(named.username))
        os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", unquote(named.password or ""))


def is_installed() -> bool:
    """Whether MLflow's client is here."""
    return find_spec("mlflow") is not None


def require_client() -> None:
    """Raises `BadInputError` unless MLflow's client is here."""
    if not is_installed():
        raise BadInputError(f"MLflow's client is not installed: {INSTALL}.")


def ask(settings: Settings, study_id: int, uri: str) -> Tracked:
    """Asks for a study to be recorded there too; what was sent before is known still."""
    path = _path(settings, study_id, uri)
    _wish(path, study_id, uri)
    tracked = read_one(path)
    assert tracked is not None
    return tracked


def wake(settings: Settings, study_id: int) -> None:
    """More is to come of a study: whoever it was sent to gets that too."""
    for it in read_all(settings):
        if it.study_id == study_id:
            _wish(it.path, it.study_id, it.uri)


def read_all(settings: Settings) -> list[Tracked]:
    """All studies that are recorded in MLflow too."""
    paths = sorted((settings.artifacts / FOLDER).glob(f"study-*{WISH}"))
    return [it for path in paths if (it := read_one(path)) is not None]


def read_one(path: Path) -> Tracked | None:
    """What is wished and how much was sent; None where there is no such wish of ours."""
    wish, sent = _read(path), _read(_sent_path(path))
    try:
        runs = {int(run_id): Sent(**it) for run_id, it in sent.get("runs", {}).items()}
        progress = {"runs": runs, "done": sent.get("done", ""), "trouble": sent.get("trouble", "")}
        return Tracked(path, **wish, **progress)
    except (ValueError, TypeError, AttributeError):
        return None


def _wish(path: Path, study_id: int, uri: str) -> None:
    _write(path, {"study_id": study_id, "uri": uri, "asked": secrets.token_hex(8)})


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, values: Mapping[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(values).encode())


def _sent_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(WISH) + ".sent")


def mirror_lock(settings: Settings) -> FileLock:
    """The lock that the one process holds which sends."""
    return FileLock(settings.artifacts / LOCK)


def ensure_mirror(settings: Settings) -> None:
    """Makes sure that a process sends, where there is something left to send."""
    if not is_installed() or all(it.is_over for it in read_all(settings)):
        return
    if is_locked(mirror_lock(settings)):
        return
    command = [sys.executable, "-m", "engine.tracking.process"]
    try:
        child = processes.start_detached(
            command, settings.artifacts / LOG, worker_environment(settings)
        )
    except OSError as error:
        raise EngineError(f"Nothing can be sent to MLflow ({error}).") from error
    threading.Thread(target=child.wait, daemon=True).start()


def _path(settings: Settings, study_id: int, uri: str) -> Path:
    digest = hashlib.sha256(uri.encode()).hexdigest()[:8]
    return settings.artifacts / FOLDER / f"study-{study_id:06d}-{digest}{WISH}"
