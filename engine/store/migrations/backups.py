"""Writes consistent copies of SQLite databases, and the copy that is kept of an upgraded one."""

import filecmp
import itertools
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import Engine

from engine.errors import StoreError
from engine.system import disk
from engine.system.files import PARTIAL_SUFFIX, publish


def write_snapshot(engine: Engine, path: Path) -> None:
    """Writes a consistent copy of a SQLite database to a new file; writers are not blocked.

    Raises:
        StoreError: the copy could not be written.
    """
    try:
        with closing(engine.raw_connection()) as raw:
            raw.cursor().execute("VACUUM INTO ?", (str(path),))
    except sqlite3.Error as error:
        raise StoreError(f"No snapshot could be written to {path}: {error}.") from error


def back_up(engine: Engine, version: int) -> Path:
    """Copies a SQLite database before its upgrade; the caller must hold the write lock.

    The copy is beside the database: `runs.db.schema-5.bak`, or `runs.db.schema-5-2.bak` if that
    file exists. If an equal copy exists, for example from an upgrade that failed, it is used.

    Args:
        engine: the database.
        version: its schema version.

    Returns:
        The path of the copy.

    Raises:
        EngineError: the disk has no room for the copy.
        StoreError: the copy could not be written.
    """
    path = Path(str(engine.url.database))
    files = (path, path.with_name(f"{path.name}-wal"))
    n_bytes = sum(file.stat().st_size for file in files if file.exists())
    hint = "Free some space. The database was left as it is."
    disk.require_room(n_bytes, path.parent, f"The copy of {path} before its upgrade", hint)
    partial = path.with_name(f"{path.name}.schema-{version}{PARTIAL_SUFFIX}")
    partial.unlink(missing_ok=True)  # of a process that was killed during a backup
    try:
        write_snapshot(engine, partial)
        shutil.copymode(path, partial)
        backup = next(
            candidate
            for candidate in _numbered_paths(path, version)
            if not candidate.exists() or filecmp.cmp(partial, candidate, shallow=False)
        )
        if not backup.exists():
            publish(partial, backup)
        return backup
    except OSError as error:
        raise StoreError(
            f"{path} could not be copied before its upgrade ({error.strerror}); it was left as it "
            "is."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _numbered_paths(path: Path, version: int) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.schema-{version}.bak")
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}.schema-{version}-{number}.bak")


def find_backups(path: Path, newest_version: int) -> list[Path]:
    """Finds the copies of a SQLite database that have at most a schema version; newest first."""
    backups = []
    for backup in path.parent.glob(f"{path.name}.schema-*.bak"):
        number = backup.name.removeprefix(f"{path.name}.schema-").split(".")[0].split("-")[0]
        if number.isdecimal() and int(number) <= newest_version:
            backups.append(backup)
    return sorted(backups, key=lambda backup: backup.stat().st_mtime, reverse=True)
