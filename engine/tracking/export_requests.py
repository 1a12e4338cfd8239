"""Stores requests to export studies to MLflow, and the progress. Imports no MLflow client.

Each pair of a study and an MLflow server has two files in the artifacts folder. The process that
requests the export writes the request file. The uploader writes the progress file.
"""

import hashlib
import json
import os
import re
import secrets
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from engine.errors import BadInputError, EngineError
from engine.settings import Settings
from engine.system import extras, processes
from engine.system.child_environment import build_child_environment
from engine.system.files import is_locked, replacing

URI_VARIABLE = "MLFLOW_TRACKING_URI"
REQUEST_SUFFIX, PROGRESS_SUFFIX = ".json", ".sent"
REQUEST_FOLDER, LOG_FILE, LOCK_FILE = "tracking", "tracking.log", "tracking.lock"


@dataclass(frozen=True)
class UploadState:
    """The uploaded parts of a run. The names of the fields are keys of the progress file.

    Attributes:
        mlflow_id: id of the MLflow run.
        began: start time, as text, of the attempt that began at step 0. If the store has another
            time, the run was started again and the MLflow run is outdated.
        cursor: id of the last uploaded curve point.
        steps: curve -> its last uploaded step. The steps that a resumed run records a second time
            are not uploaded again.
        sample_id: id of the last uploaded sample.
        values: evaluation -> its uploaded value, or the uploaded reason why it has no value.
        params: whether the run's settings were uploaded.
        state: the last uploaded state of the run.
        model: SHA-256 of the checkpoint whose model was uploaded.
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
class ExportRequest:
    """A request to export a study to an MLflow server, with its progress.

    Attributes:
        path: the request file.
        study_id: the study to export.
        uri: address of the MLflow server.
        request_id: changes with every new request for this study and server.
        run_states: run id -> upload state of the run.
        completed_id: id of the last request that was completed.
        error: the reason why the last upload failed; empty if the upload succeeded.
    """

    path: Path
    study_id: int
    uri: str
    request_id: str
    run_states: Mapping[int, UploadState] = field(default_factory=dict)
    completed_id: str = ""
    error: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether the newest request has been completed."""
        return self.completed_id == self.request_id

    def with_run_state(self, run_id: int, state: UploadState) -> "ExportRequest":
        """Returns a copy with a new upload state of one run."""
        return replace(self, run_states={**self.run_states, run_id: state})

    def save_progress(self) -> None:
        """Writes the progress file."""
        runs = {run_id: asdict(state) for run_id, state in self.run_states.items()}
        progress = {"runs": runs, "done": self.completed_id, "trouble": self.error}
        _write_json(_progress_path(self.path), progress)


def check_uri(uri: str, origin: str) -> str:
    """Checks and returns the address of an MLflow server.

    Args:
        uri: the address.
        origin: the option or variable that contains the address.

    Raises:
        BadInputError: the text contains white space, a user name or a password, or is empty.
    """
    if not re.fullmatch(r"\S+", uri):
        raise BadInputError(
            f"{origin} must be the address of an MLflow server, such as http://127.0.0.1:5000, "
            f"not {uri[:60]!r}."
        )
    if re.search(r"://[^/]*@", uri):
        raise BadInputError(
            f"{origin} contains a password, which would be stored with the study: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead."
        )
    return uri


def set_client_credentials(settings: Settings) -> None:
    """Copies user and password of the settings into the variables that MLflow's client reads."""
    if settings.mlflow_username is not None:
        os.environ["MLFLOW_TRACKING_USERNAME"] = settings.mlflow_username
    if settings.mlflow_password is not None:
        os.environ["MLFLOW_TRACKING_PASSWORD"] = settings.mlflow_password


def is_installed() -> bool:
    """Returns whether MLflow's client is installed."""
    return extras.find_missing_module("mlflow") is None


def require_client() -> None:
    """Checks that MLflow's client is installed.

    Raises:
        BadInputError: the client is not installed.
    """
    extras.require("mlflow", "The export to MLflow")


def request_export(settings: Settings, study_id: int, uri: str) -> ExportRequest:
    """Requests the export of a study to a server; the progress of earlier exports is kept."""
    path = _request_path(settings, study_id, uri)
    _write_request(path, study_id, uri)
    request = load_request(path)
    assert request is not None
    return request


def renew_requests(settings: Settings, study_id: int) -> None:
    """Requests another export of a study to every server to which it was exported before.

    Call this function when further results of the study are expected.
    """
    for request in load_requests(settings):
        if request.study_id == study_id:
            _write_request(request.path, request.study_id, request.uri)


def load_requests(settings: Settings) -> list[ExportRequest]:
    """Loads all export requests of an installation."""
    paths = sorted((settings.artifacts / REQUEST_FOLDER).glob(f"study-*{REQUEST_SUFFIX}"))
    return [request for path in paths if (request := load_request(path)) is not None]


def load_request(path: Path) -> ExportRequest | None:
    """Loads a request and its progress; None if the file does not exist or is not a request."""
    request, progress = _load_json(path), _load_json(_progress_path(path))
    try:
        return ExportRequest(
            path,
            request["study_id"],
            request["uri"],
            request["asked"],
            {int(run): UploadState(**state) for run, state in progress.get("runs", {}).items()},
            progress.get("done", ""),
            progress.get("trouble", ""),
        )
    except (LookupError, ValueError, TypeError, AttributeError):
        return None


def _write_request(path: Path, study_id: int, uri: str) -> None:
    _write_json(path, {"study_id": study_id, "uri": uri, "asked": secrets.token_hex(8)})


def _load_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with replacing(path) as file:
        file.write(json.dumps(values).encode())


def _request_path(settings: Settings, study_id: int, uri: str) -> Path:
    digest = hashlib.sha256(uri.encode()).hexdigest()[:8]
    return settings.artifacts / REQUEST_FOLDER / f"study-{study_id:06d}-{digest}{REQUEST_SUFFIX}"


def _progress_path(request_path: Path) -> Path:
    return request_path.with_name(request_path.name.removesuffix(REQUEST_SUFFIX) + PROGRESS_SUFFIX)


def uploader_lock(settings: Settings) -> FileLock:
    """Returns the lock that the uploader process holds while it runs."""
    return FileLock(settings.artifacts / LOCK_FILE)


def ensure_uploader(settings: Settings) -> None:
    """Starts the uploader process if a request is incomplete and no uploader is running.

    Raises:
        EngineError: the process could not be started.
    """
    if not is_installed() or all(request.is_complete for request in load_requests(settings)):
        return
    if is_locked(uploader_lock(settings)):
        return
    command = [sys.executable, "-m", "engine.tracking.process"]
    log, environment = settings.artifacts / LOG_FILE, build_child_environment(settings)
    try:
        processes.spawn_detached(command, log, environment)
    except OSError as error:
        raise EngineError(f"The MLflow uploader could not be started ({error}).") from error
