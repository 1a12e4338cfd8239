"""Backs up and restores a SQLite database with the files that it records.

A backup is consistent even if runs write at the same time: it contains a snapshot of the database
and the files that the snapshot names. Packed pairs and weights are not backed up, because they can
be made again.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

from engine.data.sources.exclusions import exclusions_dir
from engine.errors import BadInputError, EngineError, StoreError
from engine.jobs import installation, spawn
from engine.jobs.reaping import process_of
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import Store, check_address, database_path, run_files
from engine.system.files import replacing_folder

FORMAT = 1
MAX_SNAPSHOTS = 5
DATABASE_FILE, FILES_FOLDER, MANIFEST_FILE = "runs.db", "artifacts", "backup.json"
SUPERVISOR_IS_RUNNING = (
    "A supervisor is running. Stop the runs; it exits a minute after the last run has ended."
)

FileCallback = Callable[[str], None]


@dataclass(frozen=True)
class Backup:
    """The content of a backup.

    Attributes:
        runs: the number of runs.
        files: the number of files.
        absent: the recorded files that did not exist.
    """

    runs: int
    files: int
    absent: tuple[str, ...]


def back_up(
    store: Store, settings: Settings, to: Path, now: datetime, on_file: FileCallback
) -> Backup:
    """Writes a backup into a new folder, which appears when the backup is complete.

    Args:
        store: the store to back up.
        settings: the settings of the installation, which name the artifacts folder.
        to: the new folder.
        now: the time of the backup, which is stored in it.
        on_file: called with the name of each file before it is copied.

    Raises:
        BadInputError: the new folder exists or is inside the artifacts folder, or the database is
            not a SQLite database.
        EngineError: the folder cannot be written.
    """
    _require_sqlite(settings)
    if to.exists():
        raise BadInputError(f"{to} exists already; name a new folder.")
    if to.is_relative_to(settings.artifacts):
        raise BadInputError(f"{to} is inside the artifacts folder, which is to be backed up.")
    try:
        return _write_backup(store, settings, to, now, on_file)
    except OSError as error:
        raise EngineError(f"The backup could not be written to {to} ({error.strerror}).") from error


def _write_backup(
    store: Store, settings: Settings, to: Path, now: datetime, on_file: FileCallback
) -> Backup:
    with replacing_folder(to) as folder:
        for _ in range(MAX_SNAPSHOTS):
            (folder / DATABASE_FILE).unlink(missing_ok=True)
            store.snapshot(folder / DATABASE_FILE)
            with closing(Store(f"sqlite:///{folder / DATABASE_FILE}")) as snapshot:
                n_runs = len(snapshot.runs.read_all())
                is_checkpoint = _files_to_copy(snapshot, settings)
            absent = _copy_missing(list(is_checkpoint), settings, folder / FILES_FOLDER, on_file)
            # A run needs its checkpoints to continue. If a checkpoint was deleted after the
            # snapshot, take another snapshot, which names newer checkpoints.
            if not any(is_checkpoint[name] for name in absent):
                break
        n_files = sum(path.is_file() for path in (folder / FILES_FOLDER).rglob("*"))
        manifest = {"format": FORMAT, "made_at": now.isoformat(), "runs": n_runs, "absent": absent}
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        for log in folder.glob(f"{DATABASE_FILE}-*"):  # empty after the close
            log.unlink()
    return Backup(n_runs, n_files, tuple(absent))


def restore(settings: Settings, source: Path, now: datetime, on_file: FileCallback) -> Path | None:
    """Restores a backup; the present database and runs are renamed, not deleted.

    All files are copied to temporary paths and checked before any file is renamed. The lock of the
    supervisor is held during the restore, so that no supervisor can start.

    Args:
        settings: the settings of the installation to restore.
        source: the folder of the backup.
        now: the current time, which is part of the new names of the present database and runs.
        on_file: called with the name of each file before it is copied.

    Returns:
        The new path of the old database; None if there was none.

    Raises:
        BadInputError: the folder is not a complete backup, or the database is not a SQLite
            database; nothing has changed.
        EngineError: jobs are running, or the backup cannot be used; nothing has changed.
    """
    require_restorable(settings, source)
    settings.require_writable_artifacts()
    lock = spawn.supervisor_lock(settings)
    try:
        with lock.acquire(timeout=0):
            return _restore_locked(settings, source, now, on_file)
    except Timeout as error:
        raise EngineError(SUPERVISOR_IS_RUNNING) from error


def _restore_locked(
    settings: Settings, source: Path, now: datetime, on_file: FileCallback
) -> Path | None:
    stamp = now.strftime("%Y%m%d-%H%M%S")
    database = database_path(settings.database_url)
    _require_no_running_jobs(settings, database)
    database.parent.mkdir(parents=True, exist_ok=True)
    new_database = database.with_name(f"{database.name}.arriving-{stamp}")
    new_files = settings.artifacts / f".arriving-{stamp}"
    try:
        for path in sorted((source / FILES_FOLDER).rglob("*")):
            if path.is_file():
                name = path.relative_to(source / FILES_FOLDER)
                on_file(name.as_posix())
                (new_files / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, new_files / name)
        shutil.copy2(source / DATABASE_FILE, new_database)
        installation_id = _prepare_database(settings, source, new_database, new_files, now)
        return _replace_files(settings, new_database, new_files, installation_id, stamp)
    finally:
        shutil.rmtree(new_files, ignore_errors=True)
        for temporary in database.parent.glob(f"{new_database.name}*"):
            temporary.unlink()


def _prepare_database(
    settings: Settings, source: Path, new_database: Path, new_files: Path, now: datetime
) -> str:
    """Checks the files of a copied database and detaches its running jobs.

    Returns:
        The installation id of the copied database.
    """
    present_id = installation.load_marker(settings)
    try:
        # The backup itself is the copy from before an upgrade.
        with closing(Store(f"sqlite:///{new_database}", keep_copy=False)) as store:
            absent = set(_load_manifest(source)["absent"])
            run_ids = [run.id for run in store.runs.read_all()]
            recorded = [file.path for file in run_files.recorded_files(store, run_ids)]
            missing = [
                name for name in recorded if name not in absent and not (new_files / name).exists()
            ]
            if missing:
                raise BadInputError(
                    f"{source} is not complete: {len(missing)} of its files are missing, for "
                    f"example {missing[0]}."
                )
            is_copy = store.machines.read_installation_id() != (present_id or "")
            store.jobs.detach_running(is_copy, now)
            return store.machines.read_installation_id()
    except StoreError as error:
        reason = str(error).replace(str(new_database), str(source / DATABASE_FILE))
        raise EngineError(f"The backup cannot be used: {reason}") from error


def _replace_files(
    settings: Settings, new_database: Path, new_files: Path, installation_id: str, stamp: str
) -> Path | None:
    """Renames the old files and then the new ones; after an error, undoes the renames.

    Returns:
        The new path of the old database; None if there was none.
    """
    database, runs = database_path(settings.database_url), settings.artifacts / "runs"
    old_database = database.with_name(f"{database.name}.before-{stamp}")
    renames: list[tuple[Path, Path]] = []
    # Rename the write-ahead log too: SQLite would apply an old log to the new database.
    for suffix in ("", "-wal", "-shm"):
        path = database.with_name(f"{database.name}{suffix}")
        if path.exists():
            renames.append((path, old_database.with_name(f"{old_database.name}{suffix}")))
    if runs.exists():
        renames.append((runs, runs.with_name(f"runs.before-{stamp}")))
    if (new_files / "runs").exists():
        renames.append((new_files / "runs", runs))
    renames.append((new_database, database))
    done = []
    try:
        for before, after in renames:
            before.rename(after)
            done.append((before, after))
    except OSError as error:
        for before, after in reversed(done):
            after.rename(before)
        raise EngineError(f"The backup could not be put in place ({error}).") from error
    installation.write_marker(settings, installation_id)
    new_exclusions = new_files / settings.relative(exclusions_dir(settings))
    if new_exclusions.exists():
        shutil.copytree(new_exclusions, exclusions_dir(settings), dirs_exist_ok=True)
    return old_database if old_database.exists() else None


def require_restorable(settings: Settings, source: Path) -> None:
    """Checks that a folder is a backup, and that it can be restored now.

    Raises:
        BadInputError: the folder is not a backup of this version.
        EngineError: a supervisor is running.
    """
    _require_sqlite(settings)
    if not (source / DATABASE_FILE).is_file() or not (source / MANIFEST_FILE).is_file():
        raise BadInputError(
            f"{source} is not a backup: it has no {DATABASE_FILE} or no {MANIFEST_FILE}."
        )
    _load_manifest(source)
    if spawn.is_supervisor_running(settings):
        raise EngineError(SUPERVISOR_IS_RUNNING)


def _load_manifest(source: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((source / MANIFEST_FILE).read_text(encoding="utf-8"))
        version, absent = manifest["format"], manifest["absent"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{source / MANIFEST_FILE} does not describe a backup.") from error
    if version != FORMAT or not isinstance(absent, list):
        raise BadInputError(
            f"{source} is a backup of format {version}; this version reads format {FORMAT}."
        )
    return manifest


def _require_sqlite(settings: Settings) -> None:
    if check_address(settings.database_url) != "sqlite":
        raise BadInputError(
            "The database is a PostgreSQL database: back it up with `pg_dump`, and copy its files "
            f"from {settings.artifacts / 'runs'}."
        )


def _require_no_running_jobs(settings: Settings, database: Path) -> None:
    """Checks that no process works on a job of the present database.

    A database that cannot be read is accepted, so that a restore can replace a damaged database.

    Raises:
        EngineError: jobs are running.
    """
    if not database.exists():
        return
    try:
        with closing(Store(settings.database_url)) as store:
            active = store.jobs.read_all(RunState.RUNNING, RunState.STOPPING)
    except StoreError:
        return
    processes = [process_of(job) for job in active]
    n_alive = sum(process is not None and process.is_alive() for process in processes)
    if n_alive:
        raise EngineError(f"{n_alive} jobs are running; stop them before restoring.")


def _files_to_copy(snapshot: Store, settings: Settings) -> Mapping[str, bool]:
    """Maps the path of each file to copy to whether the file is a checkpoint.

    The files are the recorded files of all runs, the existing logs and the lists of excluded
    files. Paths are relative to the artifacts folder.
    """
    run_ids = [run.id for run in snapshot.runs.read_all()]
    recorded = run_files.recorded_files(snapshot, run_ids)
    is_checkpoint = {file.path: file.kind == "checkpoint" for file in recorded}
    logs = [run_files.log_path(run_id, settings) for run_id in run_ids]
    for path in (*logs, *sorted(exclusions_dir(settings).glob("*.txt"))):
        if path.exists():
            is_checkpoint[settings.relative(path)] = False
    return is_checkpoint


def _copy_missing(
    names: list[str], settings: Settings, to: Path, on_file: FileCallback
) -> list[str]:
    """Copies the files that are not in the backup yet; returns the files that do not exist."""
    absent = []
    for name in names:
        if (to / name).exists():
            continue
        on_file(name)
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(settings.artifacts / name, to / name)
        except FileNotFoundError:
            absent.append(name)
    return absent
