"""What most pages may read.

Beside this, only `curves`, `galleries`, `looks`, `plans` and `actions` know the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from engine.config import REPORTED_SPLIT
from engine.data.sources.registry import Source, read_source
from engine.errors import BadInputError
from engine.jobs import lifecycle, spawn
from engine.metrics.catalog import CURVES
from engine.records.comparison import Comparison, RunStability
from engine.records.curves import MetricSummary
from engine.records.runs import Attempt, Checkpoint, Evaluation, Run, RunState, Sample, Study
from engine.report import charts
from engine.report import comparison as report_comparison
from engine.report.cases import Cases, Which, load_cases
from engine.report.export import bundle, writer
from engine.settings import Settings
from engine.store import Store, identify, utc_now
from engine.system import disk

LOG_LINES = 60


@st.cache_resource
def settings() -> Settings:
    """Where things live, as the server was started."""
    return Settings.from_environment()


def store() -> Store:
    """The one store of this server; another one when the database file was replaced."""
    url = settings().database_url
    if identify(url) is None:
        Store(url).close()  # makes the file
    return _open_store(url, identify(url))


def database() -> str:
    """Which database this is, for what is kept of it: another one when the file was replaced."""
    return f"{settings().database_url} {identify(settings().database_url)}"


@st.cache_resource
def _open_store(url: str, file: str | None) -> Store:
    """One for each file that stood behind the address; `file` is only the key."""
    return Store(url)


@dataclass(frozen=True)
class StudyCard:
    """A study with its runs, as the overview lists it."""

    study: Study
    runs: tuple[Run, ...]

    @property
    def progress(self) -> float:
        """The share of training done, over all runs."""
        return sum(_done(run) for run in self.runs) / max(1, len(self.runs))

    @property
    def is_unfinished(self) -> bool:
        """Whether any run has not ended."""
        return any(not run.is_over for run in self.runs)

    @property
    def first_seeds(self) -> list[Run]:
        """The run of the lowest seed of each configuration."""
        found: dict[str, Run] = {}
        for run in sorted(self.runs, key=lambda it: it.seed):
            found.setdefault(run.configuration, run)
        return list(found.values())

    @property
    def tags(self) -> tuple[str, ...]:
        """The study's tags."""
        return self.study.tags

    def count(self, *states: RunState) -> int:
        """How many runs are in any of the states."""
        return sum(run.state in states for run in self.runs)


def studies(asked: str = "") -> list[Study]:
    """The studies that are not archived, newest first, and the one that is asked for.

    Where all are archived, those.
    """
    found = store().read_studies()
    return [it for it in found if it.archived_at is None or str(it.id) == asked] or found


def study(study_id: int) -> Study:
    """One study; raises `EngineError` where there is none."""
    return store().read_study(study_id)


def runs(study_id: int) -> list[Run]:
    """The runs of a study; those whose process is gone are shown as what they are."""
    lifecycle.attend(store(), settings(), utc_now())
    return store().read_runs(study_id)


def run(run_id: int) -> Run:
    """One run; raises `EngineError` where there is none."""
    lifecycle.attend(store(), settings(), utc_now())
    return store().read_run(run_id)


def all_runs() -> list[Run]:
    """Every run there is."""
    return store().read_runs()


def evaluations(run: Run) -> dict[tuple[int, str], Evaluation]:
    """(epoch, metric) -> what a run's checkpoints are worth on the split that is reported."""
    found = store().read_evaluations([run.id], REPORTED_SPLIT)
    return {(it.epoch, it.name): it for it in found}


def checkpoints(run_id: int) -> list[Checkpoint]:
    """The saved states of a run, the newest first."""
    return store().read_checkpoints(run_id)


def attempts(runs: Sequence[Run]) -> dict[int, list[Attempt]]:
    """Run -> what processes did with it, the newest last."""
    found: dict[int, list[Attempt]] = {}
    for attempt in store().read_attempts([run.id for run in runs]):
        found.setdefault(attempt.run_id, []).append(attempt)
    return found


def queue() -> dict[int, int]:
    """Run that waits for its turn -> how many do before it."""
    queued = [job for job in store().read_jobs(RunState.QUEUED) if job.run_id is not None]
    return {job.run_id: before for before, job in enumerate(queued) if job.run_id is not None}


@st.cache_resource(ttl=60.0, refresh_mode="background", show_spinner=False)
def disk_used(run_ids: tuple[int, ...]) -> int:
    """What the files of some runs take, in bytes, as of a minute ago at most."""
    return disk.usage_of_runs(run_ids, settings()).total


def cards() -> list[StudyCard]:
    """All studies with their runs, the newest first, archived ones too."""
    lifecycle.attend(store(), settings(), utc_now())
    members: dict[int, list[Run]] = {}
    for run in store().read_runs():
        members.setdefault(run.study_id, []).append(run)
    return [StudyCard(it, tuple(members.get(it.id, ()))) for it in store().read_studies()]


def thumbnails(cards: Sequence[StudyCard]) -> dict[int, str]:
    """Study -> the file of its newest samples, of those that have any."""
    study_of = {run.id: card.study.id for card in cards for run in card.runs}
    newest = sorted(store().read_newest_samples(list(study_of)), key=lambda it: it.id)
    files = {study_of[it.run_id]: artifact(it.thumbnail) for it in newest}
    return {study_id: path for study_id, path in files.items() if path is not None}


@dataclass(frozen=True)
class Leader:
    """The configuration that is clearly best in a metric."""

    metric: str
    configuration: str
    value: float


LEADING = ("kid", "kd_lite2", "psnr")  # the first that a study has is what its card tells


def leader(card: StudyCard) -> Leader | None:
    """Who leads a study, if anybody clearly does; asked anew when a run has ended."""
    if not any(run.state == RunState.DONE for run in card.runs):
        return None
    return _leader(database(), card.study.id, _state(card.runs))


def _state(runs: Sequence[Run]) -> tuple[object, ...]:
    """What a comparison of runs rests on: it is the same while this is."""
    evaluated = store().read_evaluation_mark([run.id for run in runs])
    return (*((run.id, run.state, run.best_epoch, run.ended_at) for run in runs), evaluated)


@st.cache_resource(max_entries=2000, show_spinner=False)
def _leader(database: str, study_id: int, state: tuple[object, ...]) -> Leader | None:
    found = report_comparison.compare(store(), study_id)
    for metric in LEADING:
        column = found.column(metric)
        if not column:
            continue
        first = [name for name, cell in column.items() if cell.rank == 1]
        if len(first) != 1 or len(column) < 2:
            return None
        value = column[first[0]].value
        return Leader(metric, first[0], value) if value is not None else None
    return None


def summaries(run_ids: Sequence[int]) -> dict[tuple[int, str], MetricSummary]:
    """(run, curve) -> its last and extreme values."""
    return {(it.run_id, it.name): it for it in store().read_metric_summaries(run_ids)}


def samples(run_ids: Sequence[int]) -> list[Sample]:
    """All samples of some runs, by epoch."""
    return store().read_samples(run_ids)


def newest_samples(run_ids: Sequence[int]) -> list[Sample]:
    """The last samples of each of some runs."""
    return store().read_newest_samples(run_ids)


def comparison(study_id: int) -> Comparison:
    """The comparison table as it stands; made anew when anything of its runs has changed."""
    name = store().read_study(study_id).name
    return _comparison(database(), study_id, name, _state(store().read_runs(study_id)))


@st.cache_resource(ttl=30.0, max_entries=50, show_spinner=False)
def _comparison(database: str, study_id: int, name: str, state: tuple[object, ...]) -> Comparison:
    return report_comparison.compare(store(), study_id)


def cases(study: Study, metric: str, which: Which, count: int, by: str | None) -> Cases | None:
    """Some pictures of the test split, chosen by their scores; None before any is evaluated."""
    return load_cases(store(), settings(), study, metric, which, count, by)


def curves(runs: Sequence[Run], parts: int) -> charts.Curves:
    """All curves of some runs, thinned to so many parts."""
    return store().read_curves([run.id for run in runs], CURVES, parts)


def steadiness(runs: Sequence[Run]) -> dict[int, RunStability]:
    """How steadily each run trained."""
    return bundle.steadiness(store(), runs)


def export_zip(study_id: int) -> bytes:
    """Everything there is of a study, as the content of a zip file."""
    return writer.export_zip(store(), settings(), study_id)


def artifact(path: str) -> str | None:
    """The absolute path of a recorded file; None when it is gone."""
    absolute = settings().artifacts / path
    return str(absolute) if absolute.is_file() else None


def log_tail(run_id: int) -> str:
    """The last lines of a run's log."""
    path = spawn.log_path(run_id, settings())
    if not path.is_file():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])


def source(text: str) -> Source:
    """The source that a form or an address names, if pages may read it.

    Raises:
        BadInputError: there is no such source, or it lies outside the folders that are open here.
    """
    found = read_source(text, settings())
    roots = settings().data_roots
    for listing in getattr(found, "listings", ()):
        root = listing.root.resolve()
        if roots is not None and not any(root.is_relative_to(allowed) for allowed in roots):
            raise BadInputError(
                f"{listing.root} lies outside the folders that this dashboard may read; whoever "
                "runs it names them in CHROMABENCH_DATA_ROOTS."
            )
    return found


def as_csv(table: pd.DataFrame) -> bytes:
    """A table as CSV; a text that a spreadsheet would take for a formula gets an apostrophe."""
    safe = table.map(lambda it: f"'{it}" if str(it).startswith(("=", "+", "-", "@", "\t")) else it)
    return safe.to_csv(index=False).encode()


def _done(run: Run) -> float:
    return 1.0 if run.is_over else run.progress
