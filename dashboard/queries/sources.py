"""Reads data sources: scan results, example pictures and single pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.queries import access
from engine.data.pairs import split_channels
from engine.data.sources.exclusions import load_exclusions
from engine.data.sources.interface import Source
from engine.data.sources.openmoji import OpenMoji
from engine.data.sources.registry import parse_source
from engine.data.survey import summary, survey
from engine.errors import BadInputError
from engine.images.faults import Fault, PictureFaultError
from engine.records.runs import Job

FULL_SIZE_PX = 512


@dataclass(frozen=True)
class SourceStatus:
    """The files, scan results and newest scan job of a data source.

    Attributes:
        source: the source with the files that are in its folder now.
        summary: statistics and names of examples; None if the present files have not been scanned.
        faults: the faults of all files; empty without a scan.
        shifts: sentences on how the splits differ.
        change: a sentence on how the files have changed since the last scan; None if they have not
            changed or have never been scanned.
        newest_scan: the newest scan job.
        n_excluded: number of files that the user has excluded.
        is_folder: whether the source is a folder, from which files can be excluded.
    """

    source: Source
    summary: Mapping[str, Any] | None
    faults: tuple[Fault, ...]
    shifts: tuple[str, ...]
    change: str | None
    newest_scan: Job | None
    n_excluded: int
    is_folder: bool


def source_status(text: str) -> SourceStatus:
    """Reads the status of a source.

    Args:
        text: the text of the source, for example `photos:/my/pictures`.

    Raises:
        EngineError: the source cannot be read; the message is meant for the user.
    """
    source, settings = allowed_source(text), access.settings()
    stored_survey = survey.load_survey(source, settings)
    stored_summary = summary.load_summary(source, settings)
    shifts = stored_summary["shifts"] if stored_summary is not None else ()
    is_folder = not isinstance(source, OpenMoji)
    exclusions = load_exclusions(source.text_without_options, settings) if is_folder else {}
    return SourceStatus(
        source=source,
        summary=stored_summary,
        faults=stored_survey.faults if stored_survey is not None else (),
        shifts=tuple(map(summary.shift_sentence, shifts)),
        change=summary.change_since_scan(source, settings),
        newest_scan=newest_scan(source.text),
        n_excluded=len(exclusions),
        is_folder=is_folder,
    )


def allowed_source(text: str) -> Source:
    """Returns the source in a form or a URL, if pages may read its folders.

    Raises:
        BadInputError: there is no such source, or one of its folders is outside the folders that
            CHROMABENCH_DATA_ROOTS allows.
    """
    source = parse_source(text, access.settings())
    roots = access.settings().data_roots
    for listing in getattr(source, "listings", ()):
        root = listing.root.resolve()
        if roots is not None and not any(root.is_relative_to(allowed) for allowed in roots):
            raise BadInputError(
                f"{listing.root} lies outside the folders that this dashboard may read. Add the "
                "folder to CHROMABENCH_DATA_ROOTS and restart the dashboard."
            )
    return source


def newest_scan(source: str) -> Job | None:
    """Returns the newest scan job of a source; None if there is none."""
    return access.store().jobs.read_newest("check", source)


def known_sources() -> dict[str, str]:
    """Maps the text of each source to its title: the built-in source and all scanned folders."""
    openmoji = parse_source("openmoji", access.settings())
    return {openmoji.text: openmoji.about, **summary.scanned_titles(access.settings())}


def example_picture(source: Source, name: str) -> str | bytes | None:
    """Returns an example picture; None if the pair can no longer be read.

    Returns:
        The path of the stored file, or the content if the artifacts folder cannot be written.
    """
    try:
        try:
            return str(summary.render_example(source, access.settings(), name))
        except OSError:
            return summary.draw_example(source, name)
    except PictureFaultError:
        return None


@dataclass(frozen=True)
class FullSizePair:
    """The pictures of one pair and the size of its file.

    Attributes:
        source: the source picture, [H, W, 3] in 0 to 255.
        target: the target picture, [H, W, 3] in 0 to 255.
        size: width and height of the file in pixels; None for vector graphics.
    """

    source: NDArray[np.uint8]
    target: NDArray[np.uint8]
    size: tuple[int, int] | None


def full_size_pair(source: Source, name: str) -> FullSizePair:
    """Reads one pair from its files; raises `EngineError` if the files cannot be read."""
    pair = source.load_pair(name, FULL_SIZE_PX)
    halves = split_channels(pair.render(FULL_SIZE_PX))
    return FullSizePair(*halves, pair.size)
