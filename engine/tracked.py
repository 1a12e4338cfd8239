"""Which studies are recorded in MLflow too, and how much of them has been sent. Torch-free.

A file per study and server in the artifacts folder is wish and progress in one. `tracking` sends;
here nothing knows MLflow, so that whoever starts a study can ask for it.
"""

import hashlib
import json
import re
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine import processes
from engine.errors import BadInputError, EngineError
from engine.files import replacing
from engine.settings import Settings
from engine.starting import worker_environment

VARIABLE = "MLFLOW_TRACKING_URI"
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
        evaluated: how many values of how many checkpoints were sent.
        state: of the run, when it was last sent.
        model: the checkpoint whose model was sent.
    """

    mlflow_id: str
    began: str
    cursor: int = 0
    steps: Mapping[str, int] = field(default_factory=dict)
    sample_id: int = 0
    evaluated: int = 0
    params: bool = False
    state: str = ""
    model: str = ""


@dataclass(frozen=True)
class Tracked:
    """A study that is recorded in MLflow too.

    Attributes:
        path: of the file that says so.
        uri: of the MLflow server.
        runs: run -> how much of it was sent.
        is_over: all there was has been sent.
        trouble: why the server took nothing when it was last asked; empty where it did.
    """

    path: Path
    study_id: int
    uri: str
    runs: Mapping[int, Sent] = field(default_factory=dict)
    is_over: bool = False
    trouble: str = ""

    def with_run(self, run_id: int, sent: Sent) -> "Tracked":
        """The same with one run further."""
        return replace(self, runs={**self.runs, run_id: sent})

    def save(self) -> None:
        """Writes it down."""
        values: dict[str, Any] = asdict(self)
        del values["path"]
        with replacing(self.path) as file:
            file.write(json.dumps(values).encode())


def check_uri(uri: str, origin: str) -> str:
    """The address of an MLflow server, or `BadInputError`.

    Args:
        uri: as it was given.
        origin: the option or variable that gave it.
    """
    if not re.fullmatch(r"(https?|file|sqlite)://?\S+", uri):
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


def is_installed() -> bool:
    """Whether MLflow's client is here."""
    return find_spec("mlflow") is not None


def require_client() -> None:
    """Raises `BadInputError` unless MLflow's client is here."""
    if not is_installed():
        raise BadInputError(f"MLflow's client is not installed: {INSTALL}.")


def ask(settings: Settings, study_id: int, uri: str) -> Tracked:
    """Asks for a study to be recorded there too; what was sent before is known still."""
    known = read_one(_path(settings, study_id, uri))
    tracked = (
        Tracked(_path(settings, study_id, uri), study_id, uri)
        if known is None
        else replace(known, is_over=False)
    )
    tracked.save()
    return tracked


def wait_for(tracked: Tracked, look_every_s: float) -> None:
    """Waits until somebody else has sent all there is of a study.

    Raises:
        EngineError: the server does not take it.
    """
    while (known := read_one(tracked.path)) is not None and not known.is_over:
        if known.trouble:
            raise EngineError(f"{known.uri} does not take it for now: {known.trouble}")
        time.sleep(look_every_s)


def wake(settings: Settings, study_id: int) -> None:
    """More is to come of a study: whoever it was sent to gets that too."""
    for it in read_all(settings):
        if it.study_id == study_id and it.is_over:
            replace(it, is_over=False).save()


def read_all(settings: Settings) -> list[Tracked]:
    """All studies that are recorded in MLflow too."""
    paths = sorted((settings.artifacts / FOLDER).glob("study-*.json"))
    return [it for path in paths if (it := read_one(path)) is not None]


def read_one(path: Path) -> Tracked | None:
    """What a file says; None where it is not there, or none of ours."""
    try:
        said = json.loads(path.read_bytes())
        runs = {int(run_id): Sent(**sent) for run_id, sent in said.pop("runs").items()}
        return Tracked(path, **said, runs=runs)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def mirror_lock(settings: Settings) -> FileLock:
    """The lock that the one process holds which sends."""
    return FileLock(settings.artifacts / LOCK)


def ensure_mirror(settings: Settings) -> None:
    """Makes sure that a process sends, where there is something left to send."""
    if not is_installed() or all(it.is_over for it in read_all(settings)):
        return
    try:
        with mirror_lock(settings).acquire(timeout=0):
            pass
    except Timeout:
        return
    command = [sys.executable, "-m", "engine.tracking.mirror"]
    try:
        child = processes.start_detached(
            command, settings.artifacts / LOG, worker_environment(settings)
        )
    except OSError as error:
        raise EngineError(f"Nothing can be sent to MLflow ({error}).") from error
    threading.Thread(target=child.wait, daemon=True).start()


def _path(settings: Settings, study_id: int, uri: str) -> Path:
    digest = hashlib.sha256(uri.encode()).hexdigest()[:8]
    return settings.artifacts / FOLDER / f"study-{study_id:06d}-{digest}.json"
