"""What one pass over all pictures of a source found: facts, faults, look-alikes and splits.

Kept beside the packed pairs: checking and describing read no picture again, and packing looks at
them in the same pass where nobody looked before.
"""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from engine.data.sources.registry import Source
from engine.data.splits import draw_order, split_pairs
from engine.data.survey import checks, duplicates, statistics
from engine.data.survey.measurements import Facts, join, measure, to_planes
from engine.data.survey.scan import NEEDED, Portion, Wanted, read_portions
from engine.data.survey.statistics import Palette
from engine.errors import EngineError
from engine.images.faults import Fault, PictureFaultError
from engine.images.pillow import lenient_pillow
from engine.settings import Settings
from engine.system.files import replacing_folder, sweep_folders

FORMAT = 2  # raised when surveys of before must not be used any more

Progress = Callable[[int, int], None]  # pairs done, pairs in all


@dataclass(frozen=True)
class Survey:
    """What is known of a source's pairs.

    Attributes:
        names: [N] of the pairs that can be read, sorted.
        faults: of all files, by name.
        groups: [N] pairs of a group look alike, or are variants of each other.
        splits: [N] train, val or test; a group lies in one unless the user parted it.
    """

    names: tuple[str, ...]
    faults: tuple[Fault, ...]
    groups: tuple[str, ...]
    splits: tuple[str, ...]

    @property
    def unusable(self) -> tuple[Fault, ...]:
        """The first error of each file that has one."""
        first: dict[str, Fault] = {}
        for fault in self.faults:
            if fault.severity == "error":
                first.setdefault(fault.file, fault)
        return tuple(first.values())


def survey_dir(source: Source, settings: Settings) -> Path:
    """The folder of a source's survey, whether it is there or not."""
    return settings.data_dir / f"{source.slug}-survey-{FORMAT}-{source.version}"


def load_survey(source: Source, settings: Settings) -> Survey | None:
    """The survey of the source as it is now; None where none was made."""
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
            f"What was found out about {source.title} is damaged ({error}). Remove {folder}; it is "
            "made again."
        ) from error


def make_survey(source: Source, settings: Settings, on_progress: Progress) -> Survey:
    """Reads every pair once and stores what was found, unless that was done before.

    Args:
        source: whose pairs.
        settings: where it is kept.
        on_progress: told pairs done and in all.
    """
    known = load_survey(source, settings)
    if known is not None:
        return known
    settings.require_writable_artifacts()
    names, surveyor, done = source.names(), Surveyor(source), 0
    for seen in read_portions(source, names, Wanted(px=None, glance=True), surveyor.look):
        surveyor.take(seen)
        done += seen.n_pairs
        on_progress(done, len(names))
    return surveyor.conclude(settings, lambda: on_progress(done, len(names)))


def forget(source: Source, settings: Settings) -> None:
    """Removes what is known of a source, so that the next look is a new one."""
    folder = survey_dir(source, settings)
    if folder.exists():
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Seen:
    """What was seen of some pairs."""

    n_pairs: int
    facts: Facts
    faults: tuple[Fault, ...]
    palette: Palette


class Surveyor:
    """Gathers what is seen of a source's pairs; `look` is safe in any number of threads."""

    def __init__(self, source: Source) -> None:
        self.source = source
        by_chance = sorted(source.names(), key=draw_order)
        self._counted = frozenset(by_chance[: statistics.PALETTE])
        self._seen: list[Seen] = []

    def look(self, portion: Portion) -> Seen:
        """Measures pairs by a glance at each."""
        if not portion.names:
            nothing = statistics.join_palettes([])
            return Seen(len(portion.faults), join([]), portion.faults, nothing)
        counted = [at for at, name in enumerate(portion.names) if name in self._counted]
        notes = [
            Fault(name, kind, "note", detail)
            for name, pair in zip(portion.names, portion.opened, strict=True)
            for kind, detail in pair.notes
        ]
        planes = to_planes(portion.glances)
        return Seen(
            len(portion.names) + len(portion.faults),
            measure(portion.names, portion.opened, portion.glances, planes),
            (*portion.faults, *notes),
            statistics.count_colours([portion.names[at] for at in counted], planes[:, counted]),
        )

    def take(self, seen: Seen) -> None:
        """Keeps what was seen, in the order of the pairs."""
        self._seen.append(seen)

    def conclude(self, settings: Settings, poll: Callable[[], None] = lambda: None) -> Survey:
        """Compares all pairs with each other, and stores everything.

        Args:
            settings: where.
            poll: called now and then; may raise to end it.
        """
        source, facts = self.source, join([seen.facts for seen in self._seen])
        copies = self._same_in_full(duplicates.find_copies(facts), facts)
        lookalikes = duplicates.find_lookalikes(facts, poll)
        given = [source.given_split(name) for name in facts.names]
        groups = _group(source, facts, copies, lookalikes)
        faults = [fault for seen in self._seen for fault in seen.faults]
        faults += source.structure_faults()
        faults += checks.set_faults(
            facts, given, copies, lookalikes, source.source_label, source.is_cut
        )
        faults.sort(key=lambda fault: (fault.file, fault.severity, fault.kind))
        survey = Survey(facts.names, tuple(faults), groups, split_pairs(given, groups))
        palette = statistics.join_palettes([seen.palette for seen in self._seen])
        _store(source, survey, facts, palette, settings)
        return survey

    def _same_in_full(self, copies: dict[int, int], facts: Facts) -> dict[int, int]:
        """Those that are the same at a larger size too; others only look alike."""
        found = {}
        with lenient_pillow():
            for position, original in copies.items():
                drawn = []
                for at in (position, original):
                    with suppress(PictureFaultError):  # it has gone since it was looked at
                        drawn.append(self.source.open(facts.names[at], NEEDED).draw(NEEDED))
                if len(drawn) == 2 and np.array_equal(drawn[0], drawn[1]):
                    found[position] = original
        return found


def _group(
    source: Source, facts: Facts, copies: dict[int, int], lookalikes: NDArray[np.intp]
) -> tuple[str, ...]:
    """Variants by name, exact copies and look-alikes together.

    Named after the member that comes first in an order as good as random: a picture that is added
    to a group seldom renames it, and so seldom moves it to another split.
    """
    clusters = duplicates.Clusters(len(facts))
    first: dict[str, int] = {}
    for position, name in enumerate(facts.names):
        clusters.join(first.setdefault(source.group(name), position), position)
    for position, original in copies.items():
        clusters.join(original, position)
    for one, other in lookalikes.tolist():
        clusters.join(one, other)
    names: dict[int, str] = {}
    for position, name in enumerate(facts.names):
        group, cluster = source.group(name), clusters.find(position)
        names[cluster] = min(group, names.get(cluster, group), key=draw_order)
    return tuple(names[clusters.find(position)] for position in range(len(facts)))


def _store(
    source: Source, survey: Survey, facts: Facts, palette: Palette, settings: Settings
) -> None:
    document = {
        "pairs": list(zip(survey.names, survey.groups, survey.splits, strict=True)),
        "unread": sorted(set(source.names()) - set(survey.names)),
        "faults": [asdict(fault) for fault in survey.faults],
    }
    summary = {
        "source": source.text,
        "title": source.title,
        "about": source.about,
        "source_label": source.source_label,
        "pairs": len(facts),
        "given": any(source.given_split(name) for name in facts.names[:1]),
        **statistics.summarise(facts, survey.splits, palette),
        "examples": _name_examples(survey, facts),
    }
    target = survey_dir(source, settings)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        sweep_folders(target)
        if (target / "survey.json").is_file():
            return  # another process was as quick; its examples may be in use
        with replacing_folder(target) as folder:
            (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
            (folder / "survey.json").write_text(json.dumps(document), encoding="utf-8")


def _name_examples(survey: Survey, facts: Facts) -> dict[str, dict[str, list[str]]]:
    """Split -> order -> names of pairs to look at."""
    names = survey.names
    chosen = statistics.choose_examples(facts, survey.splits, [draw_order(it) for it in names])
    return {
        split: {label: [names[at] for at in positions] for label, positions in orders.items()}
        for split, orders in chosen.items()
    }
