"""Paths and limits of an installation, which processes receive as one frozen object.

Not here: the names, values and meanings of the environment variables (`engine.environment`).
"""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

import platformdirs

from engine.environment import (
    FetchMode,
    LauncherName,
    LogLevel,
    Variables,
    find_file,
    find_ignored_variables,
    read_variables,
)
from engine.errors import EngineError

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


def default_env_file() -> Path:
    """Returns the file with environment variables, if no variable names another one.

    The file is not searched in the current folder: there it would belong to another project, and
    the settings would depend on the folder in which a command runs.
    """
    return default_data_folder() / ".env"


def used_env_file() -> Path | None:
    """Returns the file with environment variables that this process reads; None if there is none.

    Raises:
        BadInputError: the file that a variable names does not exist.
    """
    return find_file(os.environ, default_env_file())


def ignored_variables() -> list[str]:
    """Returns a sentence about each variable of this process that is ignored.

    Raises:
        BadInputError: the `.env` file cannot be read.
    """
    return find_ignored_variables(os.environ, default_env_file())


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


@dataclass(frozen=True)
class Settings:
    """Paths and limits of one installation.

    Every attribute has the name and the meaning of a field of `engine.environment.Variables`,
    except `is_supervised_elsewhere`: True if this process must not start a supervisor, because
    another container or machine runs it. An attribute that is None was not set.
    """

    database_url: str
    artifacts: Path
    slots: int | None = None
    data_roots: tuple[Path, ...] | None = None
    webhook: str | None = None
    ranks: int = 1
    is_supervised_elsewhere: bool = False
    launcher: LauncherName = "local"
    ray_address: str = "http://127.0.0.1:8265"
    ray_gpus: int = 1
    mlflow: str | None = None
    mlflow_username: str | None = None
    mlflow_password: str | None = field(default=None, repr=False)
    server_url: str | None = None
    server_token: str | None = field(default=None, repr=False)
    fetch: FetchMode = "ask"
    weights_url: str | None = None
    log_level: LogLevel = "info"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Builds settings from environment variables.

        By default, the database and the artifacts folder are in `default_data_folder`.

        Args:
            environment: the variables; None: those of this process and of the file `.env` in
                `default_data_folder`.

        Raises:
            BadInputError: a variable has an invalid value, or the file cannot be read.
        """
        if environment is None:
            variables = read_variables(os.environ, default_env_file())
        else:
            variables = read_variables(environment, None)
        data_folder = default_data_folder()
        mlflow = urlsplit(variables.mlflow or "")
        return cls(
            database_url=variables.database_url or f"sqlite:///{data_folder}/runs.db",
            artifacts=variables.artifacts or (data_folder / "artifacts").resolve(),
            slots=variables.slots,
            data_roots=variables.data_roots,
            webhook=variables.webhook,
            ranks=variables.ranks,
            is_supervised_elsewhere=variables.supervisor == "elsewhere",
            launcher=variables.launcher,
            ray_address=variables.ray_address,
            ray_gpus=variables.ranks if variables.ray_gpus is None else variables.ray_gpus,
            # The address is stored and shown, so the password is kept apart.
            mlflow=_without_password(variables.mlflow or "") or None,
            mlflow_username=variables.mlflow_username or unquote(mlflow.username or "") or None,
            mlflow_password=variables.mlflow_password or unquote(mlflow.password or "") or None,
            server_url=variables.server_url,
            server_token=variables.server_token,
            fetch=variables.fetch,
            weights_url=variables.weights_url,
            log_level=variables.log_level,
        )

    def as_environment(self) -> dict[str, str]:
        """Returns the variables from which `from_environment` builds the same settings."""
        special_values = {
            "supervisor": "elsewhere" if self.is_supervised_elsewhere else "here",
            "env_file": os.devnull,  # the file would complete the values that are None here
        }
        texts = {}
        for name, variable in Variables.model_fields.items():
            value = special_values[name] if name in special_values else getattr(self, name)
            if isinstance(value, tuple):
                value = os.pathsep.join(str(folder) for folder in value) or os.pathsep
            if value is not None:
                texts[str(variable.alias)] = str(value)
        return texts

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


def _without_password(address: str) -> str:
    """Removes user and password from an address, so that it can be stored and shown."""
    return re.sub(r"://[^/@]*@", "://", address)
