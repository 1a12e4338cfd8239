"""What the Data page may read of sources: what was found out, examples, single pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dashboard.queries import studies
from engine.data.pairs import split_pixels
from engine.data.sources.listing import read_left_out
from engine.data.sources.openmoji import OpenMoji
from engine.data.sources.registry import Source, left_out_path, read_source
from engine.data.survey import summary, survey
from engine.images.faults import Fault, PictureFaultError
from engine.images.pillow import lenient_pillow
from engine.jobs import lifecycle
from engine.records.runs import Job
from engine.store import utc_now

LARGE_PX = 512  # of one pair, looked at alone


@dataclass(frozen=True)
class Look:
    """What is known of a source.

    Attributes:
        source: as its folder was a moment ago.
        summary: figures and names of examples; None where nobody has looked yet.
        faults: of all files.
        shifts: sentences on how the splits differ.
        changed: how the folder differs from when it was last looked at.
        job: the newest look.
        left_out: how many files its list leaves out.
        is_folder: whether files can be left out at all.
    """

    source: Source
    summary: Mapping[str, Any] | None
    faults: tuple[Fault, ...]
    shifts: tuple[str, ...]
    changed: str | None
    job: Job | None
    left_out: int
    is_folder: bool


def look(text: str) -> Look:
    """What is known of a source; raises `EngineError` with a sentence for the form."""
    found = studies.source(text)
    known = survey.load_survey(found, studies.settings())
    described = summary.load_summary(found, studies.settings())
    is_folder = not isinstance(found, OpenMoji)
    return Look(
        source=found,
        summary=described,
        faults=known.faults if known is not None else (),
        shifts=tuple(map(summary.say_shift, described["shifts"])) if described else (),
        changed=summary.changed_since(found, studies.settings()),
        job=newest_check(found.text),
        left_out=len(read_left_out(left_out_path(found.where, studies.settings())))
        if is_folder
        else 0,
        is_folder=is_folder,
    )


def newest_check(source: str) -> Job | None:
    """The newest look at a source; one whose process is gone is shown as what it is."""
    lifecycle.attend(studies.store(), studies.settings(), utc_now())
    return studies.store().read_newest_job("check", source)


def known_sources() -> dict[str, str]:
    """SOURCE text -> what people call it: the embedded one, and folders looked at before."""
    openmoji = read_source("openmoji", studies.settings())
    return {openmoji.text: openmoji.about, **summary.known_titles(studies.settings())}


def example(source: Source, name: str) -> str | None:
    """The file of an example of a source; None where the pair cannot be read any more."""
    try:
        return str(summary.draw_example(source, studies.settings(), name))
    except PictureFaultError:
        return None


@dataclass(frozen=True)
class ShownPair:
    """One pair at full size: [H, W, 3] bytes each; `size` is None where it has none."""

    source: NDArray[np.uint8]
    target: NDArray[np.uint8]
    size: tuple[int, int] | None


def pair(source: Source, name: str) -> ShownPair:
    """One pair, read from its files."""
    with lenient_pillow():
        opened = source.open(name, LARGE_PX)
        halves = split_pixels(opened.draw(LARGE_PX))
    return ShownPair(*halves, opened.size)
