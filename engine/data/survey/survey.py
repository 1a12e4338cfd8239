"""Scans all pairs of a source once and stores the survey: faults, groups, splits, statistics.

The survey is stored beside the packed pairs, so that checking and describing a source do not read
the images again. Packing a source without a survey also makes the survey.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from engine.data.pairs import Pixels, assign_splits, shuffle_key
from engine.data.sources.interface import Source
from engine.data.survey import checks, duplicates, statistics
from engine.data.survey.measurements import (
    PairMeasurements,
    join_measurements,
    measure_pairs,
    to_planes,
)
from engine.data.survey.scan import DECODE_PX, PairChunk, ScanOptions, iterate_chunks
from engine.data.survey.statistics import ColourHistograms
from engine.errors import EngineError
from engine.images.faults import Fault, PictureFaultError
from engine.settings import Settings
from engine.system.files import delete_unfinished_folders, replacing_folder

SURVEY_FORMAT = 2  # increase when surveys made by older versions must not be used

ProgressCallback = Callable[[int, int], None]  # (pairs done, pairs in all)


@dataclass(frozen=True)
class Survey:
    """The readable pairs of a source, with their groups and splits, and all faults.

    Attributes:
        names: [N] names of the pairs that can be read, sorted.
        faults: the faults of all files, sorted by file name.
        groups: [N] groups; the pairs of a group look alike, or are variants of one drawing.
        splits: [N] train, val or test; the pairs of a group have the same split, unless splits are
            given.
    """

    names: tuple[str, ...]
    faults: tuple[Fault, ...]
    groups: tuple[str, ...]
    splits: tuple[str, ...]

    @property
    def unusable(self) -> tuple[Fault, ...]:
        """The first error of each file that has an error."""
        first_errors: dict[str, Fault] = {}
        for fault in self.faults:
            if fault.severity == "error":
                first_errors.setdefault(fault.file, fault)
        return tuple(first_errors.values())


def survey_dir(source: Source, settings: Settings) -> Path:
    """Returns the folder of a source's survey; the folder may not exist."""
    return settings.data_dir / f"{source.slug}-survey-{SURVEY_FORMAT}-{source.version}"


def load_survey(source: Source, settings: Settings) -> Survey | None:
    """Loads the survey of a source; None if its current version was not scanned.

    Raises:
        EngineError: the stored survey is damaged.
    """
    folder = survey_dir(source, settings)
    if not (folder / "survey.json").is_file():
        return None
    try:
        document = json.loads((folder / "survey.json").read_text(encoding="utf-8"))
        faults = tuple(Fault(**fault) for fault in document["faults"])
        names, groups, splits = (
            zip(*document["pairs"], strict=True) if document["pairs"] else ((),) * 3
        )
        return Survey(names, faults, groups, splits)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise EngineError(
            f"The survey of {source.title} is damaged ({error}). Remove {folder}; the next scan "
            "makes it again."
        ) from error


def make_survey(source: Source, settings: Settings, on_progress: ProgressCallback) -> Survey:
    """Loads the survey of a source, or scans the source and stores a new survey.

    Args:
        source: the source to scan.
        settings: the settings with the folder of the surveys.
        on_progress: called with the numbers of scanned pairs and of all pairs.
    """
    survey = load_survey(source, settings)
    if survey is not None:
        return survey
    settings.require_writable_artifacts()
    names, builder, n_scanned = source.names(), SurveyBuilder(source), 0
    options = ScanOptions(px=None, with_thumbnails=True)
    for result in iterate_chunks(source, names, options, builder.measure_chunk):
        builder.add(result)
        n_scanned += result.n_pairs
        on_progress(n_scanned, len(names))
    return builder.finish(settings, lambda: on_progress(n_scanned, len(names)))


def delete_survey(source: Source, settings: Settings) -> None:
    """Deletes the stored survey of a source, so that the next scan reads all images again."""
    folder = survey_dir(source, settings)
    if folder.exists():
        shutil.rmtree(folder)


@dataclass(frozen=True)
class ChunkResult:
    """The measurements and faults of one chunk of pairs.

    Attributes:
        n_pairs: the number of pairs, including the pairs that could not be read.
        measurements: the measurements of the pairs that could be read.
        faults: the faults of single files.
        histograms: the histograms of the pairs that are in the colour sample.
    """

    n_pairs: int
    measurements: PairMeasurements
    faults: tuple[Fault, ...]
    histograms: ColourHistograms


class SurveyBuilder:
    """Collects the measurements of a source's pairs, then builds and stores the survey.

    Several threads may call `measure_chunk` at the same time. Only one thread may call `add` and
    `finish`.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        shuffled = sorted(source.names(), key=shuffle_key)
        self._colour_sample = frozenset(shuffled[: statistics.COLOUR_SAMPLE_PAIRS])
        self._results: list[ChunkResult] = []

    def measure_chunk(self, chunk: PairChunk) -> ChunkResult:
        """Measures the pairs of a chunk, which must have thumbnails."""
        if not chunk.names:
            no_histograms = statistics.join_histograms([])
            no_measurements = join_measurements([])
            return ChunkResult(len(chunk.faults), no_measurements, chunk.faults, no_histograms)
        notes = [
            Fault(name, kind, "note", detail)
            for name, pair in zip(chunk.names, chunk.pairs, strict=True)
            for kind, detail in pair.notes
        ]
        planes = to_planes(chunk.thumbnails)
        counted = [at for at, name in enumerate(chunk.names) if name in self._colour_sample]
        counted_names = [chunk.names[at] for at in counted]
        return ChunkResult(
            len(chunk.names) + len(chunk.faults),
            measure_pairs(chunk.names, chunk.pairs, chunk.thumbnails, planes),
            (*chunk.faults, *notes),
            statistics.count_colours(counted_names, planes[:, counted]),
        )

    def add(self, result: ChunkResult) -> None:
        """Adds the result of a chunk; chunks must come in the order of the pairs."""
        self._results.append(result)

    def finish(self, settings: Settings, poll: Callable[[], None] = lambda: None) -> Survey:
        """Compares all pairs with each other, then stores and returns the survey.

        Args:
            settings: the settings with the folder of the surveys.
            poll: called regularly; may raise an exception to stop.
        """
        measurements = join_measurements([result.measurements for result in self._results])
        histograms = statistics.join_histograms([result.histograms for result in self._results])
        copies = self._find_copies(measurements)
        near_duplicates = duplicates.find_near_duplicates(measurements, poll)
        given = [self.source.given_split(name) for name in measurements.names]
        groups = _group(self.source, measurements.names, copies, near_duplicates)
        survey = Survey(
            names=measurements.names,
            faults=self._collect_faults(measurements, given, copies, near_duplicates),
            groups=groups,
            splits=assign_splits(given, groups),
        )
        summary = _summarise(self.source, survey, measurements, histograms)
        _save(self.source, survey, summary, settings)
        return survey

    def _find_copies(self, measurements: PairMeasurements) -> dict[int, int]:
        """Finds exact copies: equal thumbnails, confirmed by equal pixels at a larger size."""
        copies = {}
        for position, original in duplicates.find_copies(measurements).items():
            copy_pixels = self._render(measurements.names[position])
            pixels = self._render(measurements.names[original])
            if copy_pixels is None or pixels is None:
                continue
            if np.array_equal(copy_pixels, pixels):
                copies[position] = original
        return copies

    def _render(self, name: str) -> Pixels | None:
        try:
            return self.source.load_pair(name, DECODE_PX).render(DECODE_PX)
        except PictureFaultError:  # the file was deleted or changed after the scan
            return None

    def _collect_faults(
        self,
        measurements: PairMeasurements,
        given: Sequence[str | None],
        copies: dict[int, int],
        near_duplicates: NDArray[np.intp],
    ) -> tuple[Fault, ...]:
        source = self.source
        faults = [fault for result in self._results for fault in result.faults]
        faults += source.structure_faults()
        faults += checks.set_faults(
            measurements,
            given,
            copies,
            near_duplicates,
            source.source_label,
            source.is_side_by_side,
        )
        faults.sort(key=lambda fault: (fault.file, fault.severity, fault.kind))
        return tuple(faults)


def _group(
    source: Source, names: Sequence[str], copies: dict[int, int], near_duplicates: NDArray[np.intp]
) -> tuple[str, ...]:
    """Returns the group of each pair; variants by name, copies and near duplicates share a group.

    A group is named after the member that comes first in a pseudorandom order. A picture that is
    added to a group therefore seldom changes the name and the split of the group.
    """
    sets = duplicates.DisjointSets(len(names))
    first_of_group: dict[str, int] = {}
    for position, name in enumerate(names):
        sets.join(first_of_group.setdefault(source.group(name), position), position)
    for position, original in copies.items():
        sets.join(original, position)
    for one, other in near_duplicates.tolist():
        sets.join(one, other)
    set_names: dict[int, str] = {}
    for position, name in enumerate(names):
        group, first = source.group(name), sets.find(position)
        set_names[first] = min(group, set_names.get(first, group), key=shuffle_key)
    return tuple(set_names[sets.find(position)] for position in range(len(names)))


def _summarise(
    source: Source,
    survey: Survey,
    measurements: PairMeasurements,
    histograms: ColourHistograms,
) -> dict[str, Any]:
    """Builds the content of summary.json."""
    return {
        "source": source.text,
        "title": source.title,
        "about": source.about,
        "source_label": source.source_label,
        "pairs": len(measurements),
        "given": any(source.given_split(name) for name in measurements.names[:1]),
        **statistics.summarise(measurements, survey.splits, histograms),
        "examples": _name_examples(survey, measurements),
    }


def _name_examples(
    survey: Survey, measurements: PairMeasurements
) -> dict[str, dict[str, list[str]]]:
    """Picks example pairs: split -> order -> names."""
    names = survey.names
    shuffle_keys = [shuffle_key(name) for name in names]
    examples = statistics.pick_examples(measurements, survey.splits, shuffle_keys)
    return {
        split: {label: [names[at] for at in positions] for label, positions in orders.items()}
        for split, orders in examples.items()
    }


def _save(source: Source, survey: Survey, summary: dict[str, Any], settings: Settings) -> None:
    document = {
        "pairs": list(zip(survey.names, survey.groups, survey.splits, strict=True)),
        "unread": sorted(set(source.names()) - set(survey.names)),
        "faults": [asdict(fault) for fault in survey.faults],
    }
    target = survey_dir(source, settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        delete_unfinished_folders(target)
        if (target / "survey.json").is_file():
            return  # another process stored the same survey first; its examples may be in use
        with replacing_folder(target) as folder:
            (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
            (folder / "survey.json").write_text(json.dumps(document), encoding="utf-8")
