"""Where things live: read from the environment once, at the edge, and passed on as a value."""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import BadInputError, EngineError

PROJECT_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """The places and limits of one installation.

    Attributes:
        database_url: an SQLAlchemy URL; SQLite or PostgreSQL.
        artifacts: the folder of packed data, checkpoints, samples and logs.
        slots: how many runs train at the same time; None: one per GPU, else one.
        ranks: how many processes train one run together, each on a GPU of its own if there are.
        webhook: an address that is told when a study has ended; None: nobody is told.
        launcher: where runs are started: `local`, on this machine; `ray`, on a Ray cluster.
        ray_address: of the cluster's dashboard, which takes jobs.
        ray_gpus: how many GPUs the cluster is asked for with each run; 0: a core instead.
        is_supervised_elsewhere: supervisors are somebody else's to start: another container's,
            another machine's.
        mlflow: the MLflow server that new studies are recorded in too; None: in none.
        server_url: where the model server is that pages ask; None: the one on this machine.
        server_token: what the model server asks for, and pages send; None: nothing.
        data_roots: folders inside which pages may read pictures; None: anywhere on this machine.
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

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Reads the CHROMABENCH_ variables; what is unset lies in the project's root."""
        database = (
            environment.get("CHROMABENCH_DATABASE_URL") or f"sqlite:///{PROJECT_ROOT}/runs.db"
        )
        slots = _read_count(environment, "CHROMABENCH_SLOTS")
        ranks = _read_count(environment, "CHROMABENCH_RANKS")
        folder = environment.get("CHROMABENCH_ARTIFACTS") or str(PROJECT_ROOT / "artifacts")
        try:
            artifacts = Path(folder).expanduser().resolve()
            artifacts.exists()
        except (OSError, RuntimeError, ValueError) as error:
            raise BadInputError(
                f"CHROMABENCH_ARTIFACTS is no folder's name: {folder[:80]!r} ({error})."
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
        return cls(
            database_url=database,
            artifacts=artifacts,
            slots=slots,
            data_roots=None
            if roots is None
            else tuple(Path(it).expanduser().resolve() for it in roots.split(os.pathsep) if it),
            webhook=_read_address(environment, "CHROMABENCH_WEBHOOK"),
            ranks=ranks or 1,
            is_supervised_elsewhere=supervisor == "elsewhere",
            launcher="ray" if launcher == "ray" else "local",
            ray_address=_read_address(environment, "CHROMABENCH_RAY_ADDRESS") or cls.ray_address,
            ray_gpus=int(ray_gpus),
            mlflow=_without_password(environment.get("MLFLOW_TRACKING_URI") or "") or None,
            server_url=_read_address(environment, "CHROMABENCH_SERVER_URL"),
            server_token=token,
        )

    @property
    def data_dir(self) -> Path:
        """Packed pairs, one folder per source and size."""
        return self.artifacts / "data"

    @property
    def weights_dir(self) -> Path:
        """Feature weights that were fetched or put there by hand."""
        return self.artifacts / "weights"

    @property
    def features_dir(self) -> Path:
        """Features of real splits, computed once."""
        return self.artifacts / "features"

    def run_dir(self, run_id: int) -> Path:
        """The folder of one run: log, checkpoints, samples."""
        return self.artifacts / "runs" / f"{run_id:06d}"

    def relative(self, path: Path) -> str:
        """The path as the database holds it: relative to the artifacts folder."""
        return path.relative_to(self.artifacts).as_posix()

    def check_artifacts(self) -> None:
        """Raises `EngineError` unless the artifacts folder is, or could be made, writable."""
        place = next(it for it in (self.artifacts, *self.artifacts.parents) if it.exists())
        if not place.is_dir():
            raise self._unwritable(f"{place} is not a folder")
        # The superuser can write anywhere; a folder marked read-only is meant all the same.
        if not place.stat().st_mode & 0o222 or not os.access(place, os.W_OK):
            raise self._unwritable(f"{place} is read-only")

    def require_writable_artifacts(self) -> None:
        """Makes the artifacts folder; raises `EngineError` unless a file can be made in it."""
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


def _read_address(environment: Mapping[str, str], name: str) -> str | None:
    """A web address from the environment; None where it is not set."""
    text = environment.get(name) or None
    if text is not None and not re.fullmatch(r"https?://[^\s/]+\S*", text):
        raise BadInputError(f"{name} must be an http:// or https:// address, not {text[:60]!r}.")
    return text


def _without_password(address: str) -> str:
    """An address as it may be stored and shown: without user and password."""
    return re.sub(r"://[^/@]*@", "://", address)


def _read_count(environment: Mapping[str, str], name: str) -> int | None:
    """A whole number from the environment; None where it is not set."""
    text = environment.get(name)
    if text is not None and not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise BadInputError(f"{name} must be a whole number from 1 to 9999, not {text[:40]!r}.")
    return None if text is None else int(text)
