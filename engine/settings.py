"""Paths and limits of an installation, parsed once from environment variables."""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, TypeAlias

import platformdirs

from engine.errors import BadInputError, EngineError

DISTRIBUTION = "chromabench-studio"


def is_checkout(folder: Path) -> bool:
    """Returns whether a folder is the project's folder, not the `site-packages` of a wheel."""
    try:
        project = (folder / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return f'name = "{DISTRIBUTION}"' in project


# The folder that contains the packages `engine` and `dashboard`.
PROJECT_ROOT = Path(__file__).resolve().parent.parent
IS_CHECKOUT = is_checkout(PROJECT_ROOT)
# The command line in messages. A wheel may be installed where `python` is another Python.
PROGRAM = "python -m engine" if IS_CHECKOUT else "chromabench"


def default_data_folder() -> Path:
    """Returns the folder of the database and the artifacts, if no variable names another one.

    A checkout stores its data in the project folder; an installed wheel in the user's data folder.
    """
    if IS_CHECKOUT:
        return PROJECT_ROOT
    return platformdirs.user_data_path("chromabench", appauthor=False)


def read_version() -> str:
    """Returns the version of the installed distribution, which only `pyproject.toml` defines.

    Raises:
        EngineError: the code runs without having been installed.
    """
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise EngineError(
            f"The version of {DISTRIBUTION} is unknown, because it is not installed. "
            f"Install it: `pip install -e {PROJECT_ROOT}`."
        ) from error


FetchMode: TypeAlias = Literal["auto", "ask", "never"]
FETCH_MODES: dict[str, FetchMode] = {"auto": "auto", "ask": "ask", "never": "never"}


@dataclass(frozen=True)
class Settings:
    """Paths and limits of one installation.

    Attributes:
        database_url: the SQLAlchemy URL of a SQLite or PostgreSQL database.
        artifacts: the folder of packed data, checkpoints, samples and logs.
        slots: the number of runs that train at the same time; None: one per GPU, or one without a
            GPU.
        data_roots: the folders inside which pages may read pictures; None: all folders.
        webhook: the URL that receives a POST when a study ends; None: no webhook.
        ranks: the number of processes that train one run together, one GPU each if there are GPUs.
        is_supervised_elsewhere: True if this process must not start a supervisor, because another
            container or machine runs it.
        launcher: where workers start: `local` on this machine, `ray` on a Ray cluster.
        ray_address: the URL of the Ray dashboard, which accepts jobs.
        ray_gpus: the number of GPUs that each Ray job requests; 0 requests one CPU core instead.
        mlflow: the URI of the MLflow server that new studies are exported to; None: no export.
        server_url: the URL of the model server that pages use; None: the server on this machine.
        server_token: the bearer token of the model server; None: no token.
        fetch: whether feature weights are downloaded: `auto` before the runs that use them, `ask`
            if the user requests it, or `never`.
        weights_url: the address of a folder with the files of feature weights, which are downloaded
            from there; None: from their authors.
    """

    database_url: str
    artifacts: Path
    slots: int | None = None
    data_roots: tuple[Path, ...] | None = None
    webhook: str | None = None
    ranks: int = 1
    is_supervised_elsewhere: bool = False
    launcher: Literal["local", "ray"] = "local"
    ray_address: str = "http://127.0.0.1:8265"
    ray_gpus: int = 1
    mlflow: str | None = None
    server_url: str | None = None
    server_token: str | None = None
    fetch: FetchMode = "ask"
    weights_url: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Parses the environment variables CHROMABENCH_* and MLFLOW_TRACKING_URI.

        By default, the database and the artifacts folder are in `default_data_folder`.

        Raises:
            BadInputError: a variable has an invalid value.
        """
        data_folder = default_data_folder()
        database = environment.get("CHROMABENCH_DATABASE_URL") or f"sqlite:///{data_folder}/runs.db"
        slots = _parse_count(environment, "CHROMABENCH_SLOTS")
        ranks = _parse_count(environment, "CHROMABENCH_RANKS")
        folder = environment.get("CHROMABENCH_ARTIFACTS") or str(data_folder / "artifacts")
        try:
            artifacts = Path(folder).expanduser().resolve()
            artifacts.exists()
        except (OSError, RuntimeError, ValueError) as error:
            raise BadInputError(
                f"CHROMABENCH_ARTIFACTS must be a folder, not {folder[:80]!r} ({error})."
            ) from error
        roots = environment.get("CHROMABENCH_DATA_ROOTS")
        supervisor = environment.get("CHROMABENCH_SUPERVISOR") or "here"
        if supervisor not in ("here", "elsewhere"):
            raise BadInputError(
                f"CHROMABENCH_SUPERVISOR is here or elsewhere, not {supervisor[:40]!r}."
            )
        launcher = environment.get("CHROMABENCH_LAUNCHER") or "local"
        if launcher not in ("local", "ray"):
            raise BadInputError(f"CHROMABENCH_LAUNCHER is local or ray, not {launcher[:40]!r}.")
        ray_gpus = environment.get("CHROMABENCH_RAY_GPUS") or str(ranks or 1)
        if not re.fullmatch(r"[0-9]{1,3}", ray_gpus):
            raise BadInputError(
                f"CHROMABENCH_RAY_GPUS must be a whole number from 0 to 999, not {ray_gpus[:40]!r}."
            )
        token = environment.get("CHROMABENCH_SERVER_TOKEN") or None
        if token is not None and not re.fullmatch(r"[!-~]{16,400}", token):
            raise BadInputError(
                "CHROMABENCH_SERVER_TOKEN must be 16 to 400 printable characters without spaces; "
                f"it has {len(token)}."
            )
        fetch = environment.get("CHROMABENCH_FETCH") or "ask"
        if fetch not in FETCH_MODES:
            raise BadInputError(f"CHROMABENCH_FETCH is auto, ask or never, not {fetch[:40]!r}.")
        weights_url = _parse_address(environment, "CHROMABENCH_WEIGHTS_URL")
        if weights_url is not None and "@" in weights_url:
            raise BadInputError(
                "CHROMABENCH_WEIGHTS_URL contains a password, which other users of this machine "
                "could read: put it into the file ~/.netrc instead."
            )
        return cls(
            database_url=database,
            artifacts=artifacts,
            slots=slots,
            data_roots=None if roots is None else _parse_folders(roots),
            webhook=_parse_address(environment, "CHROMABENCH_WEBHOOK"),
            ranks=ranks or 1,
            is_supervised_elsewhere=supervisor == "elsewhere",
            launcher="ray" if launcher == "ray" else "local",
            ray_address=_parse_address(environment, "CHROMABENCH_RAY_ADDRESS") or cls.ray_address,
            ray_gpus=int(ray_gpus),
            mlflow=_without_password(environment.get("MLFLOW_TRACKING_URI") or "") or None,
            server_url=_parse_address(environment, "CHROMABENCH_SERVER_URL"),
            server_token=token,
            fetch=FETCH_MODES[fetch],
            weights_url=weights_url,
        )

    @property
    def data_dir(self) -> Path:
        """The folder of packed pairs, one subfolder per source and size."""
        return self.artifacts / "data"

    @property
    def weights_dir(self) -> Path:
        """The folder of pretrained feature weights."""
        return self.artifacts / "weights"

    @property
    def features_dir(self) -> Path:
        """The folder of cached features of the targets."""
        return self.artifacts / "features"

    def run_dir(self, run_id: int) -> Path:
        """Returns the folder of one run: log, checkpoints, samples, predictions."""
        return self.artifacts / "runs" / f"{run_id:06d}"

    def relative(self, path: Path) -> str:
        """Returns a path relative to the artifacts folder, as the database stores it."""
        return path.relative_to(self.artifacts).as_posix()

    def check_artifacts(self) -> None:
        """Raises `EngineError` if the artifacts folder is not writable and cannot be created."""
        candidates = (self.artifacts, *self.artifacts.parents)
        nearest = next(folder for folder in candidates if folder.exists())
        if not nearest.is_dir():
            raise self._unwritable(f"{nearest} is not a folder")
        # The mode is checked too, because the superuser may write to a read-only folder.
        if not nearest.stat().st_mode & 0o222 or not os.access(nearest, os.W_OK):
            raise self._unwritable(f"{nearest} is read-only")

    def require_writable_artifacts(self) -> None:
        """Creates the artifacts folder; raises `EngineError` if no file can be written to it."""
        self.check_artifacts()
        try:
            self.artifacts.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.artifacts).close()
        except OSError as error:
            raise self._unwritable(error.strerror or str(error)) from error

    def _unwritable(self, reason: str) -> EngineError:
        return EngineError(
            f"The artifacts folder {self.artifacts} cannot be written ({reason}). "
            "Make it writable or set CHROMABENCH_ARTIFACTS to a folder that is."
        )


def _parse_address(environment: Mapping[str, str], name: str) -> str | None:
    """Returns a web address from the environment; None if the variable is not set."""
    text = environment.get(name) or None
    if text is not None and not re.fullmatch(r"https?://[^\s/]+\S*", text):
        raise BadInputError(f"{name} must be an http:// or https:// address, not {text[:60]!r}.")
    return text


def _parse_folders(text: str) -> tuple[Path, ...]:
    """Splits a list of folders at the path separator of the operating system."""
    return tuple(Path(name).expanduser().resolve() for name in text.split(os.pathsep) if name)


def _without_password(address: str) -> str:
    """Removes user and password from an address, so that it can be stored and shown."""
    return re.sub(r"://[^/@]*@", "://", address)


def _parse_count(environment: Mapping[str, str], name: str) -> int | None:
    """Returns a count from the environment; None if the variable is not set."""
    text = environment.get(name)
    if text is not None and not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise BadInputError(f"{name} must be a whole number from 1 to 9999, not {text[:40]!r}.")
    return None if text is None else int(text)
