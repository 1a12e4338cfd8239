"""Binds an artifacts folder to one database.

The marker file in the artifacts folder holds the installation id of the database whose files the
folder contains. Files are named by run ids: two databases that share a folder would overwrite each
other's files.
"""

from pathlib import Path

from engine.errors import EngineError
from engine.settings import Settings
from engine.store import Store
from engine.system.files import replacing

MARKER = "installation"


def claim_artifacts(store: Store, settings: Settings) -> None:
    """Writes the marker file, or checks that it names this database.

    Raises:
        EngineError: the artifacts folder belongs to another database, or it is not writable.
    """
    settings.require_writable_artifacts()
    installation_id = store.machines.read_installation_id()
    if not _marker(settings).exists():
        write_marker(settings, installation_id)
    owner_id = load_marker(settings)
    if owner_id != installation_id:
        raise EngineError(
            f"The artifacts folder {settings.artifacts} belongs to another database ({owner_id}, "
            f"not {installation_id}). Set CHROMABENCH_ARTIFACTS to another folder. If the other "
            f"database is lost, remove {_marker(settings)}."
        )


def load_marker(settings: Settings) -> str | None:
    """Loads the installation id from the marker file; None if there is no such file."""
    marker = _marker(settings)
    return marker.read_text(encoding="utf-8").strip() if marker.exists() else None


def write_marker(settings: Settings, installation_id: str) -> None:
    """Writes the marker file."""
    with replacing(_marker(settings)) as file:
        file.write(installation_id.encode())


def _marker(settings: Settings) -> Path:
    return settings.artifacts / MARKER
