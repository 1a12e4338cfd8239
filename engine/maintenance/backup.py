"""Everything that cannot be made again, in a folder: the database and the files it speaks of.

Consistent while runs write: the database is a snapshot, and the files are those that the snapshot
names. What can be made again, packed pairs and weights, is left out. Torch-free.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

from engine.errors import BadInputError, EngineError, StoreError
from engine.jobs import spawn
from engine.records.runs import RunState
from engine.settings import Settings
from engine.store import Store, check_address, database_path
from engine.system import processes
from engine.system.files import replacing_folder

FORMAT = 1
ROUNDS = 5  # snapshots until no checkpoint vanished while it was copied
DATABASE, FILES, ABOUT = "runs.db", "artifacts", "backup.json"
AT_WORK = "A supervisor is at work. Stop the runs; it leaves a minute after the last one."
LEFT_OUT = "data/left-out"  # what a person chose to leave out of a source

OnFile = Callable[[str], None]


@dataclass(frozen=True)
class Backup:
    """What a backup holds.

    Attributes:
        runs: how many.
        files: how many.
        absent: recorded files that were not on the disk any more.
    """

    runs: int
    files: int
    absent: tuple[str, ...]


def back_up(store: Store, settings: Settings, to: Path, now: datetime, on_file: OnFile) -> Backup:
    """Writes a backup into a new folder; it appears when it is whole.

    Args:
        store: the database.
        settings: where the files are.
        to: the folder.
        now: the moment, noted in the backup.
        on_file: told each file.

    Raises:
        BadInputError: the folder exists or is among the artifacts, or the database is not a file.
        EngineError: the folder cannot be written.
    """
    _require_file(settings)
    if to.exists():
        raise BadInputError(f"{to} exists already; name a new folder.")
    if to.is_relative_to(settings.artifacts):
        raise BadInputError(f"{to} is inside the artifacts folder, whose files it is to keep safe.")
    try:
        return _write(store, settings, to, now, on_file)
    except OSError as error:
        raise EngineError(f"The backup could not be written to {to} ({error.strerror}).") from error


def _write(store: Store, settings: Settings, to: Path, now: datetime, on_file: OnFile) -> Backup:
    with replacing_folder(to) as folder:
        for _ in range(ROUNDS):
            (folder / DATABASE).unlink(missing_ok=True)
            store.snapshot(folder / DATABASE)
            with closing(Store(f"sqlite:///{folder / DATABASE}")) as snapshot:
                runs = len(snapshot.read_runs())
                recorded = {**dict(_recorded(snapshot)), **dict(_others(snapshot, settings))}
            absent, vanished = _copy(recorded, settings, folder / FILES, on_file)
            if not vanished:
                break
        copied = [it for it in (folder / FILES).rglob("*") if it.is_file()]
        about = {"format": FORMAT, "made_at": now.isoformat(), "runs": runs, "absent": absent}
        (folder / ABOUT).write_text(json.dumps(about, indent=2), encoding="utf-8")
        for left in folder.glob(f"{DATABASE}-*"):  # the snapshot's own log, empty by now
            left.unlink()
    return Backup(runs, len(copied), tuple(absent))


def restore(settings: Settings, source: Path, now: datetime, on_file: OnFile) -> Path | None:
    """Puts a backup in place; what was there before is moved aside, not removed.

    Everything is copied and checked beside its place first; then names are exchanged. No
    supervisor can start meanwhile.

    Args:
        settings: where to.
        source: the folder of a backup.
        now: the moment, which names what is moved aside.
        on_file: told each file.

    Returns:
        Where the database of before is now; None where there was none.

    Raises:
        BadInputError: that is no backup, or the database is not a file.
        EngineError: runs are at work, or the backup cannot be used; nothing has changed.
    """
    require_restorable(settings, source)
    settings.require_writable_artifacts()
    lock = spawn.supervisor_lock(settings)
    try:
        with lock.acquire(timeout=0):
            return _restore(settings, source, now, on_file)
    except Timeout as error:
        raise EngineError(AT_WORK) from error


def _restore(settings: Settings, source: Path, now: datetime, on_file: OnFile) -> Path | None:
    stamp = now.strftime("%Y%m%d-%H%M%S")
    database = database_path(settings.database_url)
    _require_rest(settings, database)
    database.parent.mkdir(parents=True, exist_ok=True)
    arriving = database.with_name(f"{database.name}.arriving-{stamp}")
    files = settings.artifacts / f".arriving-{stamp}"
    try:
        for path in sorted((source / FILES).rglob("*")):
            if path.is_file():
                name = path.relative_to(source / FILES)
                on_file(name.as_posix())
                (files / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, files / name)
        shutil.copy2(source / DATABASE, arriving)
        installation = _settle(settings, source, arriving, files, now)
        return _exchange(settings, arriving, files, installation, stamp)
    finally:
        shutil.rmtree(files, ignore_errors=True)
        for left in database.parent.glob(f"{arriving.name}*"):
            left.unlink()


def _settle(settings: Settings, source: Path, arriving: Path, files: Path, now: datetime) -> str:
    """Brings the arriving database up to date and checks its files; returns its identity."""
    marker = settings.artifacts / spawn.MARKER
    mine = marker.read_text(encoding="utf-8").strip() if marker.exists() else ""
    try:
        with closing(Store(f"sqlite:///{arriving}")) as store:
            absent = set(_read_about(source)["absent"])
            lost = [
                it for it, _ in _recorded(store) if it not in absent and not (files / it).exists()
            ]
            if lost:
                raise BadInputError(
                    f"{source} is not whole: {len(lost)} files that it should have are missing, "
                    f"{lost[0]} for one."
                )
            store.settle_elsewhere(store.read_installation() != mine, now)
            return store.read_installation()
    except StoreError as error:
        reason = str(error).replace(str(arriving), str(source / DATABASE))
        raise EngineError(f"The backup cannot be used: {reason}") from error


def _exchange(
    settings: Settings, arriving: Path, files: Path, installation: str, stamp: str
) -> Path | None:
    """Old names aside, new names in; an error takes back what was done."""
    database, runs = database_path(settings.database_url), settings.artifacts / "runs"
    moves: list[tuple[Path, Path]] = []
    for part in ("", "-wal", "-shm"):  # a log that stayed would be replayed onto the new file
        old = database.with_name(f"{database.name}{part}")
        aside = database.with_name(f"{database.name}.before-{stamp}{part}")
        moves += [(old, aside)] if old.exists() else []
    moves += [(runs, runs.with_name(f"runs.before-{stamp}"))] if runs.exists() else []
    moves += [(files / "runs", runs)] if (files / "runs").exists() else []
    moves.append((arriving, database))
    done = []
    try:
        for old, new in moves:
            old.rename(new)
            done.append((old, new))
    except OSError as error:
        for old, new in reversed(done):
            new.rename(old)
        raise EngineError(f"The backup could not be put in place ({error}).") from error
    (settings.artifacts / spawn.MARKER).write_text(installation, encoding="utf-8")
    if (files / LEFT_OUT).exists():
        shutil.copytree(files / LEFT_OUT, settings.artifacts / LEFT_OUT, dirs_exist_ok=True)
    aside = database.with_name(f"{database.name}.before-{stamp}")
    return aside if aside.exists() else None


def require_restorable(settings: Settings, source: Path) -> None:
    """Raises `EngineError` unless the folder is a backup that could be put in place here now."""
    _require_file(settings)
    if not (source / DATABASE).is_file() or not (source / ABOUT).is_file():
        raise BadInputError(f"{source} is no backup: it has no {DATABASE} and {ABOUT}.")
    _read_about(source)
    if spawn.supervisor_lives(settings):
        raise EngineError(AT_WORK)


def _read_about(source: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((source / ABOUT).read_text(encoding="utf-8"))
        known, absent = about["format"], about["absent"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{source / ABOUT} is not that of a backup.") from error
    if known != FORMAT or not isinstance(absent, list):
        raise BadInputError(f"{source} is a backup of format {known}; this version reads {FORMAT}.")
    return about


def _require_file(settings: Settings) -> None:
    if check_address(settings.database_url) != "sqlite":
        raise BadInputError(
            "The database is PostgreSQL's: `pg_dump` backs it up, and a copy of "
            f"{settings.artifacts / 'runs'} the files."
        )


def _require_rest(settings: Settings, database: Path) -> None:
    """No process may be at work; a database that cannot be read is what restoring is for."""
    if not database.exists():
        return
    try:
        with closing(Store(settings.database_url)) as store:
            busy = store.read_jobs(RunState.RUNNING, RunState.STOPPING)
    except StoreError:
        return
    alive = [it for it in busy if it.process is not None and processes.is_alive(it.process)]
    if alive:
        raise EngineError(f"{len(alive)} jobs are at work; stop them before restoring.")


def _recorded(store: Store) -> Iterator[tuple[str, bool]]:
    """Every file that the database speaks of, and whether the run could not go on without it."""
    runs = [run.id for run in store.read_runs()]
    for run_id in runs:
        for saved in store.read_checkpoints(run_id):
            yield saved.path, True
    for sample in store.read_samples(runs):
        for name in (sample.grid, sample.source, sample.target, sample.fake, sample.thumbnail):
            yield name, False
    for split in ("val", "test"):
        for made in store.read_predictions(runs, split):
            yield made.path, False


def _others(store: Store, settings: Settings) -> Iterator[tuple[str, bool]]:
    """Logs, and lists of what was left out of sources, as far as there are any."""
    logs = [spawn.log_path(run.id, settings) for run in store.read_runs()]
    for path in (*logs, *sorted((settings.artifacts / LEFT_OUT).glob("*.txt"))):
        if path.exists():
            yield settings.relative(path), False


def _copy(
    recorded: dict[str, bool], settings: Settings, to: Path, on_file: OnFile
) -> tuple[list[str], bool]:
    """Copies what is not there yet; returns what is absent, and whether a checkpoint is."""
    absent, vanished = [], False
    for name, is_needed in recorded.items():
        if (to / name).exists():
            continue
        on_file(name)
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copy2(settings.artifacts / name, to / name)
        except FileNotFoundError:
            absent.append(name)
            vanished = vanished or is_needed
    return absent, vanished
