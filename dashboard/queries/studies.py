"""Reads studies, runs, samples and comparisons."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from dashboard.queries import access
from engine.config import REPORTED_SPLIT
from engine.metrics.catalog import CURVE_METRICS, LEADER_METRICS
from engine.records.comparison import Comparison, RunStability
from engine.records.curves import MetricSummary
from engine.records.runs import Attempt, Checkpoint, Evaluation, Run, RunState, Sample, Study
from engine.report import charts
from engine.report import comparison as report_comparison
from engine.report.cases import CaseKind, Cases, load_cases
from engine.report.export import bundle, writer
from engine.store import run_files
from engine.system import disk, logs
from engine.system.files import LOG_TAIL_LINES, load_tail

MAX_SEARCHED_LINES = 20_000  # for warnings, from the end of a log


@dataclass(frozen=True)
class StudyCard:
    """A study and its runs, as the Overview page lists them."""

    study: Study
    runs: tuple[Run, ...]

    @property
    def progress(self) -> float:
        """The mean progress of all runs, from 0 to 1; a run that has ended counts as 1."""
        return sum(_progress(run) for run in self.runs) / max(1, len(self.runs))

    @property
    def is_unfinished(self) -> bool:
        """Whether at least one run has not ended."""
        return any(not run.is_over for run in self.runs)

    @property
    def first_seeds(self) -> list[Run]:
        """The run with the lowest seed of each configuration."""
        first_runs: dict[str, Run] = {}
        for run in sorted(self.runs, key=lambda run: run.seed):
            first_runs.setdefault(run.configuration, run)
        return list(first_runs.values())

    @property
    def tags(self) -> tuple[str, ...]:
        """The study's tags."""
        return self.study.tags

    def count(self, *states: RunState) -> int:
        """Counts the runs that are in any of the states."""
        return sum(run.state in states for run in self.runs)


def listed_studies(open_id: str = "") -> list[Study]:
    """Lists the studies that are not archived, newest first.

    Args:
        open_id: the id of the open study, which is listed even if it is archived.

    Returns:
        The listed studies; all studies if every study is archived.
    """
    studies = access.store().studies.read_all()
    listed = [study for study in studies if study.archived_at is None or str(study.id) == open_id]
    return listed or studies


def study(study_id: int) -> Study:
    """Returns a study; raises `EngineError` if it does not exist."""
    return access.store().studies.read(study_id)


def runs(study_id: int) -> list[Run]:
    """Returns the runs of a study."""
    return access.store().runs.read_all(study_id)


def run(run_id: int) -> Run:
    """Returns a run; raises `EngineError` if it does not exist."""
    return access.store().runs.read(run_id)


def all_runs() -> list[Run]:
    """Returns the runs of all studies."""
    return access.store().runs.read_all()


def evaluations(run: Run) -> dict[tuple[int, str], Evaluation]:
    """Maps (epoch, metric) to the evaluation of the epoch's checkpoint on the reported split."""
    stored = access.store().evaluations.read([run.id], REPORTED_SPLIT)
    return {(evaluation.epoch, evaluation.name): evaluation for evaluation in stored}


def checkpoints(run_id: int) -> list[Checkpoint]:
    """Returns the checkpoints of a run, newest first."""
    return access.store().checkpoints.read(run_id)


def attempts(runs: Sequence[Run]) -> dict[int, list[Attempt]]:
    """Maps each run id to the attempts at the run, newest last."""
    by_run: dict[int, list[Attempt]] = {}
    for attempt in access.store().runs.read_attempts([run.id for run in runs]):
        by_run.setdefault(attempt.run_id, []).append(attempt)
    return by_run


def queue_positions() -> dict[int, int]:
    """Maps the id of each queued run to the number of runs before it."""
    queued = [
        job for job in access.store().jobs.read_all(RunState.QUEUED) if job.run_id is not None
    ]
    return {job.run_id: position for position, job in enumerate(queued) if job.run_id is not None}


@st.cache_resource(ttl=60.0, refresh_mode="background", show_spinner=False)
def disk_used(run_ids: tuple[int, ...]) -> int:
    """Measures the files of some runs in bytes; a cached value is renewed after a minute."""
    return disk.usage_of_runs(run_ids, access.settings()).total


def study_cards() -> list[StudyCard]:
    """Returns all studies with their runs, newest first, including archived studies."""
    members: dict[int, list[Run]] = {}
    for run in access.store().runs.read_all():
        members.setdefault(run.study_id, []).append(run)
    studies = access.store().studies.read_all()
    return [StudyCard(study, tuple(members.get(study.id, ()))) for study in studies]


def thumbnails(cards: Sequence[StudyCard]) -> dict[int, str]:
    """Maps study ids to the file of the newest samples; studies without samples are left out."""
    study_of = {run.id: card.study.id for card in cards for run in card.runs}
    newest = sorted(
        access.store().runs.read_newest_samples(list(study_of)), key=lambda sample: sample.id
    )
    files = {study_of[sample.run_id]: access.artifact_path(sample.thumbnail) for sample in newest}
    return {study_id: path for study_id, path in files.items() if path is not None}


@dataclass(frozen=True)
class Leader:
    """The only configuration of rank 1 in a metric."""

    metric: str
    configuration: str
    value: float


def leader(card: StudyCard) -> Leader | None:
    """Finds the leader of a study; None if no configuration is significantly better than others."""
    if not any(run.state == RunState.DONE for run in card.runs):
        return None
    return _leader(access.database_id(), card.study.id, comparison_version(card.runs))


def comparison_version(runs: Sequence[Run]) -> tuple[object, ...]:
    """Builds a cache key that changes if the comparison of these runs may have changed."""
    evaluated = access.store().evaluations.read_version([run.id for run in runs])
    return (*((run.id, run.state, run.best_epoch, run.ended_at) for run in runs), evaluated)


@st.cache_resource(max_entries=2000, show_spinner=False)
def _leader(database_id: str, study_id: int, version: tuple[object, ...]) -> Leader | None:
    table = report_comparison.compare(access.store(), study_id)
    for metric in LEADER_METRICS:
        column = table.column(metric)
        if not column:
            continue
        first = [name for name, cell in column.items() if cell.rank == 1]
        if len(first) != 1 or len(column) < 2:
            return None
        value = column[first[0]].value
        return Leader(metric, first[0], value) if value is not None else None
    return None


def summaries(run_ids: Sequence[int]) -> dict[tuple[int, str], MetricSummary]:
    """Maps (run id, curve) to the last and the extreme values of the curve."""
    stored = access.store().curves.read_summaries(run_ids)
    return {(summary.run_id, summary.name): summary for summary in stored}


def samples(run_ids: Sequence[int]) -> list[Sample]:
    """Returns the samples of some runs, ordered by epoch."""
    return access.store().runs.read_samples(run_ids)


def newest_samples(run_ids: Sequence[int]) -> list[Sample]:
    """Returns the newest samples of each run."""
    return access.store().runs.read_newest_samples(run_ids)


def comparison(study_id: int) -> Comparison:
    """Builds the comparison table of a study; cached for 30 s, or less if a run changes."""
    name, runs = study(study_id).name, access.store().runs.read_all(study_id)
    return _comparison(access.database_id(), study_id, name, comparison_version(runs))


@st.cache_resource(ttl=30.0, max_entries=50, show_spinner=False)
def _comparison(
    database_id: str, study_id: int, name: str, version: tuple[object, ...]
) -> Comparison:
    return report_comparison.compare(access.store(), study_id)


def cases(study: Study, metric: str, which: CaseKind, count: int, by: str | None) -> Cases | None:
    """Chooses test pictures by their scores; None if no run has been evaluated.

    Args:
        study: the study with the test pictures.
        metric: the metric of the scores.
        which: `worst`, `best` or `typical` pictures.
        count: the maximum number of pictures.
        by: the configuration whose scores decide; None for the mean scores of all configurations.
    """
    return load_cases(access.store(), access.settings(), study, metric, which, count, by)


def curves(runs: Sequence[Run], parts: int) -> charts.Curves:
    """Returns all curves of some runs, each averaged over at most `parts` parts."""
    return access.store().curves.read_thinned([run.id for run in runs], CURVE_METRICS, parts)


def stability(runs: Sequence[Run]) -> dict[int, RunStability]:
    """Maps run ids to figures on how stable the training was."""
    return bundle.read_stability(access.store(), runs)


def export_zip(study_id: int) -> bytes:
    """Builds a zip file with all results of a study."""
    return writer.export_zip(access.store(), access.settings(), study_id)


def log_tail(run_id: int, *, warnings_only: bool = False) -> str:
    """Returns the last lines of a run's log, or the last of its warnings and errors."""
    path = run_files.log_path(run_id, access.settings())
    if not warnings_only:
        return load_tail(path)
    warnings = logs.select_warnings(load_tail(path, MAX_SEARCHED_LINES))
    return "\n".join(warnings.splitlines()[-LOG_TAIL_LINES:])


def _progress(run: Run) -> float:
    return 1.0 if run.is_over else run.progress
