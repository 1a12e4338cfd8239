"""Making room: what may go, how much it would free, and letting it go."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.data import packing
from engine.data.sources.registry import read_source
from engine.data.survey import survey
from engine.errors import BadInputError, EngineError
from engine.jobs import spawn
from engine.records.runs import Checkpoint, Run, RunState, Sample
from engine.settings import Settings
from engine.store import Store
from engine.system import disk
from engine.system.files import PARTIAL
from engine.training import checkpoint

# What may go -> what that means; those of `NO_LOSS` can be made again, or are of no use.
PARTS = {
    "leftovers": "half-written files, and files of runs that no record names",
    "data": "packed pairs of folders that have changed since",
    "checkpoints": "of runs that are over: all but the newest and the best",
    "samples": "of runs that are over: all but the last epoch's and the best one's",
    "optimisers": "of runs that are done: what training further would need, and nothing else does",
}
NO_LOSS = ("leftovers", "data", "checkpoints")
OPTIMISERS = ("g_optimiser", "d_optimiser")
_MADE = re.compile(r"(?P<slug>.+)-(?:\d+px|survey)-\d+-(?P<version>[^-]+)")


@dataclass(frozen=True)
class Prunable:
    """Something that may go.

    Attributes:
        part: one of `PARTS`.
        path: a file or folder; of `optimisers` the checkpoint that gets smaller.
        n_bytes: what is freed.
        checkpoint: the record that speaks of it.
        sample: run and epoch of the samples that speak of it.
    """

    part: str
    path: Path
    n_bytes: int
    checkpoint: Checkpoint | None = None
    sample: tuple[int, int] | None = None


def read_parts(text: str | None, study_id: int | None) -> tuple[str, ...]:
    """Comma-separated names of parts, or `BadInputError`; None: what is no loss."""
    if text is None:
        return NO_LOSS if study_id is None else ("checkpoints",)
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in PARTS:
            raise BadInputError(f"There is no part {name[:40]!r}; they are {', '.join(PARTS)}.")
    return names


def find(
    store: Store, settings: Settings, parts: Sequence[str], study_id: int | None
) -> list[Prunable]:
    """What may go, of one study or of all; nothing is touched.

    Raises:
        BadInputError: leftovers or data are asked for, which belong to no study, and one is named.
        EngineError: the artifacts folder belongs to another database.
    """
    if study_id is not None and (common := sorted({"leftovers", "data"} & set(parts))):
        raise BadInputError(f"{' and '.join(common)} belong to no study; leave --study out.")
    spawn.claim_artifacts(store, settings)
    runs = [run for run in store.read_runs(study_id) if run.is_over]
    found: list[Prunable] = []
    found += _leftovers(store, settings) if "leftovers" in parts else []
    found += _old_data(store, settings) if "data" in parts else []
    for run in runs:
        saved = store.read_checkpoints(run.id)
        kept = [it for it in saved if it.is_best or it is saved[0]]
        if "checkpoints" in parts:
            found += [_checkpoint(it, settings) for it in saved if it not in kept]
        if "samples" in parts:
            found += _samples(store, settings, run)
        if "optimisers" in parts and run.state == RunState.DONE:
            found += [
                Prunable("optimisers", settings.artifacts / it.path, size, it)
                for it in (kept if "checkpoints" in parts else saved)
                if (size := _optimiser_bytes(settings.artifacts / it.path, it))
            ]
    return found


def prune(store: Store, settings: Settings, found: Sequence[Prunable]) -> int:
    """Lets it go, rows before files; returns the bytes that were freed.

    What belongs to a run that is at work again since it was found stays.
    """
    freed = 0
    for it in found:
        if it.part == "optimisers" and it.checkpoint is not None:
            freed += _slim(store, settings, it.checkpoint)
            continue
        if it.checkpoint is not None and not store.forget_checkpoint(it.checkpoint):
            continue
        if it.sample is not None and not store.forget_sample(*it.sample):
            continue
        freed += disk.usage_of(it.path)
        if it.path.is_dir():
            shutil.rmtree(it.path)
        else:
            it.path.unlink(missing_ok=True)
    return freed


def _checkpoint(saved: Checkpoint, settings: Settings) -> Prunable:
    return Prunable("checkpoints", settings.artifacts / saved.path, saved.n_bytes, saved)


def _samples(store: Store, settings: Settings, run: Run) -> list[Prunable]:
    """Pictures of epochs that are not kept; sketches and targets are all epochs' together."""
    samples = store.read_samples([run.id])
    kept = {run.best_epoch, *(it.epoch for it in samples[-1:])}
    needed = {name for sample in samples if sample.epoch in kept for name in _files(sample)}
    found = []
    for sample in samples:
        if sample.epoch not in kept:
            for name in _files(sample):
                if name not in needed:
                    needed.add(name)  # once is enough
                    path = settings.artifacts / name
                    size = disk.usage_of(path)
                    found.append(Prunable("samples", path, size, sample=(run.id, sample.epoch)))
    return found


def _files(sample: Sample) -> tuple[str, ...]:
    return sample.grid, sample.source, sample.target, sample.fake, sample.thumbnail


def _leftovers(store: Store, settings: Settings) -> list[Prunable]:
    """Half-written files, files that no record names, and folders of runs that are gone."""
    folders = sorted(it for it in (settings.artifacts / "runs").glob("*") if it.is_dir())
    # Read after the folders were listed: a run that begins now is not taken for one that is gone.
    runs = {settings.run_dir(run.id): run for run in store.read_runs()}
    found = []
    for folder in folders:
        run = runs.get(folder)
        if run is None and (folder.name.isdecimal() or folder.name.startswith(disk.ASIDE)):
            found.append(folder)
        elif run is not None and run.is_over:
            recorded = _recorded(store, settings, run)
            found += [
                path
                for path, _ in disk.walk(folder)
                if path.suffix == PARTIAL
                or (path.parent != folder and settings.relative(path) not in recorded)
            ]
    return [Prunable("leftovers", it, disk.usage_of(it)) for it in found]


def _recorded(store: Store, settings: Settings, run: Run) -> set[str]:
    names = {it.path for it in store.read_checkpoints(run.id)}
    for sample in store.read_samples([run.id]):
        names |= set(_files(sample))
    for split in ("val", "test"):
        names |= {it.path for it in store.read_predictions([run.id], split)}
    return names


def _old_data(store: Store, settings: Settings) -> list[Prunable]:
    """Packed pairs and surveys of a version that no source has now.

    A source that cannot be read at the moment, on a disk that is not there, keeps all it has.
    """
    current: dict[str, str | None] = {"openmoji": read_source("openmoji", settings).version}
    for text in {study.data for study in store.read_studies()}:
        try:
            source = read_source(text, settings)
            current[source.slug] = source.version
        except EngineError:
            continue
    found = []
    for folder in sorted(settings.data_dir.glob("*")):
        made = _MADE.fullmatch(folder.name)
        if made is None or not folder.is_dir() or made["slug"] not in current:
            continue
        is_current = made["version"] == current[made["slug"]] and (
            f"-{packing.FORMAT}-" in folder.name or f"-survey-{survey.FORMAT}-" in folder.name
        )
        if not is_current:
            found.append(Prunable("data", folder, disk.usage_of(folder)))
    return found


def _optimiser_bytes(path: Path, saved: Checkpoint) -> int:
    """What the optimisers' states take in a checkpoint; 0 where they are gone, or it is damaged."""
    if saved.is_slim:
        return 0
    try:
        state = checkpoint.load(path, saved.sha256)
    except EngineError:
        return 0
    return sum(checkpoint.count_bytes(state.get(name)) for name in OPTIMISERS)


def _slim(store: Store, settings: Settings, saved: Checkpoint) -> int:
    """Writes the checkpoint without its optimisers, then takes its place; the bytes it freed."""
    old = settings.artifacts / saved.path
    state = checkpoint.load(old, saved.sha256)
    slim = {name: value for name, value in state.items() if name not in OPTIMISERS}
    path = old.with_name(f"slim-{old.name}")
    sha256, n_bytes = checkpoint.save(slim, path)
    if not store.slim_checkpoint(saved, settings.relative(path), sha256, n_bytes):
        path.unlink()
        return 0
    old.unlink(missing_ok=True)
    return saved.n_bytes - n_bytes
