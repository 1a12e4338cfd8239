"""Lists the files of runs: the files that the database records, and the logs.

A backup copies these files, a restore requires them, and pruning deletes other files of a run. A
new kind of file must be added here. Otherwise backups do not contain such files, and pruning
deletes them as leftovers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.records.runs import Sample
from engine.settings import Settings
from engine.store.store import Store

LOG = "run.log"
PREDICTED_SPLITS = ("val", "test")


@dataclass(frozen=True)
class RecordedFile:
    """A file of a run that the database records.

    Attributes:
        path: the file, relative to the artifacts folder.
        kind: the record that names the file.
    """

    path: str
    kind: Literal["checkpoint", "sample", "prediction"]


def recorded_files(store: Store, run_ids: Sequence[int]) -> Iterator[RecordedFile]:
    """Yields every file that the database records of some runs.

    Samples of different epochs share files, which are yielded once for each epoch.
    """
    for run_id in run_ids:
        for checkpoint in store.checkpoints.read(run_id):
            yield RecordedFile(checkpoint.path, "checkpoint")
    for sample in store.runs.read_samples(run_ids):
        for path in sample_paths(sample):
            yield RecordedFile(path, "sample")
    for split in PREDICTED_SPLITS:
        for predictions in store.evaluations.read_predictions(run_ids, split):
            yield RecordedFile(predictions.path, "prediction")


def sample_paths(sample: Sample) -> tuple[str, ...]:
    """Returns the paths of a sample's files, relative to the artifacts folder."""
    return sample.grid, sample.source, sample.target, sample.fake, sample.thumbnail


def log_path(run_id: int, settings: Settings) -> Path:
    """Returns the path of a run's log, to which the run's workers append."""
    return settings.run_dir(run_id) / LOG
