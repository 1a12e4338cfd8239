"""Moves the export requests of earlier versions from files into the database.

Until version 0.9, each pair of a study and an MLflow server had two files in the artifacts folder:
`tracking/study-*.json` with the request, and `tracking/study-*.sent` with the upload progress.
"""

import json
import logging
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine.records.exports import RunUpload
from engine.settings import Settings
from engine.store import Store, utc_now

FOLDER, LOCK_FILE = "tracking", "tracking.lock"
REQUEST_SUFFIX, PROGRESS_SUFFIX = ".json", ".sent"

logger = logging.getLogger(__name__)


def take_over_request_files(store: Store, settings: Settings) -> None:
    """Stores all requests in the database with their progress, and deletes their files.

    A file that cannot be read is kept. While the uploading process of an earlier version runs, it
    may still write its progress: nothing is taken over before it has ended.
    """
    folder, lock_path = settings.artifacts / FOLDER, settings.artifacts / LOCK_FILE
    if not folder.is_dir():
        return
    try:
        with FileLock(lock_path).acquire(timeout=0):
            for path in sorted(folder.glob(f"study-*{REQUEST_SUFFIX}")):
                _take_over(store, path)
    except Timeout:
        logger.warning("an uploader of an earlier version is running; its requests wait for it")
        return
    lock_path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _take_over(store: Store, path: Path) -> None:
    progress_path = path.with_suffix(PROGRESS_SUFFIX)
    try:
        request = json.loads(path.read_bytes())
        progress = json.loads(progress_path.read_bytes()) if progress_path.exists() else {}
        uploads = [_upload(int(run), state) for run, state in progress.get("runs", {}).items()]
        study_id, uri = int(request["study_id"]), str(request["uri"])
        is_complete = bool(progress.get("done")) and progress["done"] == request["asked"]
    except (OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        logger.warning("%s is no export request and was left as it is: %s", path, error)
        return
    store.exports.take_over(study_id, uri, is_complete, uploads, utc_now())
    # Delete the request first: progress without a request has no effect.
    path.unlink()
    progress_path.unlink(missing_ok=True)


def _upload(run_id: int, state: dict[str, Any]) -> RunUpload:
    values = {key: value for key, value in state.items() if key != "params"}
    return RunUpload(run_id, has_params=state.get("params", False), **values)
