"""Finds files that are no longer needed, and deletes them."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data.packing import PACKED_FORMAT
from engine.data.sources.registry import parse_source
from engine.data.survey.survey import SURVEY_FORMAT
from engine.errors import BadInputError, EngineError
from engine.jobs import installation
from engine.records.runs import Checkpoint, Run, RunState
from engine.settings import Settings
from engine.store import Store, run_files
from engine.system import disk
from engine.system.files import PARTIAL_SUFFIX, delete_leftover, is_leftover
from engine.training import checkpoint

# Name of a part -> the files that belong to it, as help text.
PARTS = {
    "leftovers": "half-written files, and files that no record names",
    "data": "packed pairs of folders that have changed since",
    "checkpoints": "checkpoints of ended runs, except the newest and the best",
    "samples": "samples of ended runs, except those of the last and the best epoch",
    "optimisers": "optimisers of done runs, which are needed only for further training",
}
# Parts whose files can be made again, or are not used any more.
DEFAULT_PARTS = ("leftovers", "data", "checkpoints")
PARTS_WITHOUT_STUDY = {"leftovers", "data"}
OPTIMISERS = ("g_optimiser", "d_optimiser")
_DATA_FOLDER = re.compile(r"(?P<slug>.+)-(?P<kind>\d+px|survey)-(?P<format>\d+)-(?P<version>[^-]+)")


@dataclass(frozen=True)
class Prunable:
    """A file or folder that can be deleted.

    Attributes:
        part: one of `PARTS`.
        path: the file or folder; for `optimisers`, the checkpoint that is made smaller.
        n_bytes: the bytes that are freed.
        checkpoint: the record of the checkpoint, if the file is a checkpoint.
        sample: run id and epoch of the sample, if the file belongs to a sample.
    """

    part: str
    path: Path
    n_bytes: int
    checkpoint: Checkpoint | None = None
    sample: tuple[int, int] | None = None


def parse_parts(text: str | None, study_id: int | None) -> tuple[str, ...]:
    """Parses names of parts, separated by commas.

    Args:
        text: the names; None: the parts that are pruned by default.
        study_id: the study to which the pruning is limited, if any.

    Raises:
        BadInputError: a name is unknown.
    """
    if text is None:
        return DEFAULT_PARTS if study_id is None else ("checkpoints",)
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in PARTS:
            raise BadInputError(f"There is no part {name[:40]!r}; they are {', '.join(PARTS)}.")
    return names


def find_prunable(
    store: Store, settings: Settings, parts: Sequence[str], study_id: int | None
) -> list[Prunable]:
    """Finds the files that can be deleted; deletes nothing.

    Args:
        store: the store with the runs.
        settings: the settings of the installation.
        parts: keys of `PARTS`.
        study_id: the study whose files are searched; None: all studies.

    Raises:
        BadInputError: `study_id` is given, but one of `parts` does not belong to studies.
        EngineError: the artifacts folder belongs to another database.
    """
    if study_id is not None and (wrong_parts := sorted(PARTS_WITHOUT_STUDY & set(parts))):
        raise BadInputError(f"{' and '.join(wrong_parts)} belong to no study; omit --study.")
    installation.claim_artifacts(store, settings)
    ended_runs = [run for run in store.runs.read_all(study_id) if run.is_over]
    prunable: list[Prunable] = []
    prunable += _find_leftovers(store, settings) if "leftovers" in parts else []
    prunable += _find_old_data(store, settings) if "data" in parts else []
    for run in ended_runs:
        saved = store.checkpoints.read(run.id)
        kept = [record for record in saved if record.is_best or record is saved[0]]
        if "checkpoints" in parts:
            prunable += [
                Prunable("checkpoints", settings.artifacts / record.path, record.n_bytes, record)
                for record in saved
                if record not in kept
            ]
        if "samples" in parts:
            prunable += _find_samples(store, settings, run)
        if "optimisers" in parts and run.state == RunState.DONE:
            for record in kept if "checkpoints" in parts else saved:
                path = settings.artifacts / record.path
                if n_bytes := _optimiser_bytes(path, record):
                    prunable.append(Prunable("optimisers", path, n_bytes, record))
    return prunable


def prune(store: Store, settings: Settings, prunable: Sequence[Prunable]) -> int:
    """Deletes files; the record that names a file is deleted before the file.

    Checkpoints and samples of a run that was queued again after the search are kept.

    Returns:
        The bytes that were freed.
    """
    n_freed = 0
    for item in prunable:
        if item.part == "optimisers" and item.checkpoint is not None:
            n_freed += _drop_optimisers(store, settings, item.checkpoint)
            continue
        if item.checkpoint and not store.checkpoints.delete_of_ended_run(item.checkpoint):
            continue
        if item.sample is not None and not store.runs.delete_sample(*item.sample):
            continue
        n_bytes = disk.usage_of(item.path)
        if item.path.suffix == PARTIAL_SUFFIX and not delete_leftover(item.path):
            continue
        n_freed += n_bytes
        if item.path.is_dir():
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)
    return n_freed


def _find_samples(store: Store, settings: Settings, run: Run) -> list[Prunable]:
    """Finds the files of the samples of all epochs but the last and the best.

    All epochs share the files of the sources and targets, which are kept.
    """
    samples = store.runs.read_samples([run.id])
    kept_epochs = {run.best_epoch, *(sample.epoch for sample in samples[-1:])}
    skipped = {
        name
        for sample in samples
        if sample.epoch in kept_epochs
        for name in run_files.sample_paths(sample)
    }
    prunable = []
    for sample in samples:
        for name in run_files.sample_paths(sample):
            if name not in skipped:
                skipped.add(name)  # list each file once
                path = settings.artifacts / name
                size = disk.usage_of(path)
                prunable.append(Prunable("samples", path, size, sample=(run.id, sample.epoch)))
    return prunable


def _find_leftovers(store: Store, settings: Settings) -> list[Prunable]:
    """Finds half-written files, files that no record names, and folders of deleted runs."""
    folders = sorted(path for path in (settings.artifacts / "runs").glob("*") if path.is_dir())
    # Read the runs after listing the folders: otherwise the folder of a run that is added in
    # between would look like the folder of a deleted run.
    runs = {settings.run_dir(run.id): run for run in store.runs.read_all()}
    leftovers = []
    for folder in folders:
        run = runs.get(folder)
        is_aside = folder.name.startswith(disk.PENDING_DELETE_PREFIX)
        if run is None and (folder.name.isdecimal() or is_aside):
            leftovers.append(folder)
        elif run is not None and run.is_over:
            recorded = {file.path for file in run_files.recorded_files(store, [run.id])}
            for path, _ in disk.iterate_files(folder):
                is_recorded = path.parent == folder or settings.relative(path) in recorded
                # The command `evaluate` may be writing a file of a run that has ended.
                if is_leftover(path) if path.suffix == PARTIAL_SUFFIX else not is_recorded:
                    leftovers.append(path)
    return [Prunable("leftovers", path, disk.usage_of(path)) for path in leftovers]


def _find_old_data(store: Store, settings: Settings) -> list[Prunable]:
    """Finds packed pairs and surveys of old versions of the sources.

    If a source cannot be read at the moment, for example because its disk is not mounted, its
    packed pairs and surveys are kept.
    """
    versions: dict[str, str | None] = {"openmoji": parse_source("openmoji", settings).version}
    for text in {study.data for study in store.studies.read_all()}:
        try:
            source = parse_source(text, settings)
            versions[source.slug] = source.version
        except EngineError:
            continue
    prunable = []
    for folder in sorted(settings.data_dir.glob("*")):
        parsed = _DATA_FOLDER.fullmatch(folder.name)
        if parsed is None or not folder.is_dir() or parsed["slug"] not in versions:
            continue
        newest_format = str(SURVEY_FORMAT if parsed["kind"] == "survey" else PACKED_FORMAT)
        if parsed["version"] != versions[parsed["slug"]] or parsed["format"] != newest_format:
            prunable.append(Prunable("data", folder, disk.usage_of(folder)))
    return prunable


def _optimiser_bytes(path: Path, record: Checkpoint) -> int:
    """Returns the bytes of the optimisers in a checkpoint; 0 if the file has none or is damaged."""
    if record.is_slim:
        return 0
    try:
        state = checkpoint.load(path, record.sha256)
    except EngineError:
        return 0
    return sum(checkpoint.tensor_bytes(state.get(name)) for name in OPTIMISERS)


def _drop_optimisers(store: Store, settings: Settings, record: Checkpoint) -> int:
    """Replaces a checkpoint by a file without optimisers; returns the bytes that were freed."""
    old_path = settings.artifacts / record.path
    state = checkpoint.load(old_path, record.sha256)
    smaller_state = {name: value for name, value in state.items() if name not in OPTIMISERS}
    new_path = old_path.with_name(f"slim-{old_path.name}")
    sha256, n_bytes = checkpoint.save(smaller_state, new_path)
    relative_path = settings.relative(new_path)
    if not store.checkpoints.replace_file(record, relative_path, sha256, n_bytes):
        new_path.unlink()
        return 0
    old_path.unlink(missing_ok=True)
    return record.n_bytes - n_bytes
