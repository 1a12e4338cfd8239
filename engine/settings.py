"""Where things live: read from the environment once, at the edge, and passed on as a value."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadInputError, EngineError

PROJECT_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """The places and limits of one installation.

    Attributes:
        database_url: an SQLAlchemy URL; SQLite or PostgreSQL.
        artifacts: the folder of packed data, checkpoints, samples and logs.
        slots: how many runs train at the same time; None: one per GPU, else one.
    """

    database_url: str
    artifacts: Path
    slots: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Reads the three CHROMABENCH_ variables; what is unset lies in the project's root."""
        database = (
            environment.get("CHROMABENCH_DATABASE_URL") or f"sqlite:///{PROJECT_ROOT}/runs.db"
        )
        artifacts = environment.get("CHROMABENCH_ARTIFACTS") or str(PROJECT_ROOT / "artifacts")
        slots = environment.get("CHROMABENCH_SLOTS")
        if slots is not None and (not slots.isdigit() or int(slots) < 1):
            raise BadInputError(
                f"CHROMABENCH_SLOTS must be a whole number of at least 1, not {slots!r}."
            )
        return cls(database, Path(artifacts).expanduser().resolve(), int(slots) if slots else None)

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

    @property
    def supervisor_lock(self) -> Path:
        """Held by the one living supervisor of this artifacts folder."""
        return self.artifacts / "supervisor.lock"

    def run_dir(self, run_id: int) -> Path:
        """The folder of one run: log, checkpoints, samples."""
        return self.artifacts / "runs" / f"{run_id:06d}"

    def relative(self, path: Path) -> str:
        """The path as the database holds it: relative to the artifacts folder."""
        return path.relative_to(self.artifacts).as_posix()

    def require_writable_artifacts(self) -> None:
        """Raises `EngineError` unless a file can be made in the artifacts folder."""
        way_out = "Make it writable or set CHROMABENCH_ARTIFACTS to a folder that is."
        try:
            self.artifacts.mkdir(parents=True, exist_ok=True)
            # The superuser can write anywhere; a folder marked read-only is meant all the same.
            if not self.artifacts.stat().st_mode & 0o222:
                raise PermissionError("it is marked read-only")
            with tempfile.TemporaryFile(dir=self.artifacts):
                pass
        except OSError as error:
            reason = error.strerror or str(error)
            raise EngineError(
                f"The artifacts folder {self.artifacts} cannot be written ({reason}). {way_out}"
            ) from error
