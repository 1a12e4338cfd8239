"""What pages may read. With `looks` and `actions`, the only file here that knows the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from engine import charts, disk, jobs, planning, report, starting, weights
from engine.cases import Cases, Which, load_cases
from engine.changes import changed_settings, parse_settings
from engine.config import RunConfig
from engine.data.packing import bytes_to_pack, count_pairs, is_packed
from engine.data.sources import Source, read_source
from engine.errors import BadInputError
from engine.estimates import Estimate, estimate
from engine.export import bundle, folder
from engine.metrics.catalog import CURVES
from engine.records import Attempt, MetricPoint, MetricSummary, Run, RunState, Sample, Study
from engine.results import Comparison, RunStability
from engine.settings import Settings
from engine.store import Store, identify, utc_now

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


@st.cache_resource
def _open_store(url: str, file: str | None) -> Store:
    """One for each file that stood behind the address; `file` is only the key."""
    return Store(url)


@dataclass(frozen=True)
class StudyCard:
    """What the overview shows of a study."""

    study: Study
    runs: tuple[Run, ...]
    thumbnail: str | None
    n_bytes: int
    before: Mapping[int, int]  # run -> how many wait before it

    @property
    def progress(self) -> float:
        """The share of training done, over all runs."""
        return sum(_done(run) for run in self.runs) / max(1, len(self.runs))

    @property
    def is_unfinished(self) -> bool:
        """Whether any run has not ended."""
        return any(not run.is_over for run in self.runs)

    def count(self, *states: RunState) -> int:
        """How many runs are in any of the states."""
        return sum(run.state in states for run in self.runs)


def studies(asked: str = "") -> list[Study]:
    """The studies that are not archived, newest first, and the one that is asked for.

    Where all are archived, those.
    """
    found = store().read_studies()
    return [it for it in found if it.archived_at is None or str(it.id) == asked] or found


def runs(study_id: int) -> list[Run]:
    """The runs of a study; those whose process is gone are shown as what they are."""
    jobs.attend(store(), settings(), utc_now())
    return store().read_runs(study_id)


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


@st.cache_data(ttl=60.0, show_spinner=False)
def disk_used(run_ids: tuple[int, ...]) -> int:
    """What the files of some runs take, in bytes, as of a minute ago at most."""
    return disk.usage_of_runs(run_ids, settings()).total


def cards() -> list[StudyCard]:
    """The studies with their runs and newest sample, archived ones too."""
    jobs.attend(store(), settings(), utc_now())
    everything, before = store().read_runs(), queue()
    samples = {it.run_id: it for it in store().read_newest_samples()}
    found = []
    for study in store().read_studies():
        members = tuple(run for run in everything if run.study_id == study.id)
        thumbnails = [samples[run.id].thumbnail for run in members if run.id in samples]
        path = artifact(thumbnails[0]) if thumbnails else None
        used = disk_used(tuple(run.id for run in members))
        found.append(StudyCard(study, members, path, used, before))
    return found


def new_points(run_ids: Sequence[int], name: str, after: int) -> list[MetricPoint]:
    """The points of one curve that came after a cursor."""
    return store().read_metrics(run_ids, after, [name])


def summaries(run_ids: Sequence[int]) -> list[MetricSummary]:
    """The last and extreme values of all curves."""
    return store().read_metric_summaries(run_ids)


def samples(run_ids: Sequence[int]) -> list[Sample]:
    """All samples of some runs, by epoch."""
    return store().read_samples(run_ids)


@dataclass(frozen=True)
class Clone:
    """What a form is filled with to start a study like another one."""

    name: str
    data: str
    budget: str
    configurations: tuple[str, ...]
    seeds: int
    changes: Mapping[str, str]


def clone(study_id: int) -> Clone:
    """A study as a form has it; raises `EngineError` where there is none."""
    study, runs = store().read_study(study_id), store().read_runs(study_id)
    changes: dict[str, str] = {}
    for run in runs:
        changes |= changed_settings(run.config)
    return Clone(
        name=planning.name_again(study.name),
        data=study.data,
        budget=study.budget.name,
        configurations=tuple(dict.fromkeys(run.configuration for run in runs)),
        seeds=len({run.seed for run in runs}),
        changes=changes,
    )


def comparison(study_id: int) -> Comparison:
    """The comparison table as it stands."""
    return report.compare(store(), study_id)


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
    return folder.export_zip(store(), settings(), study_id)


def artifact(path: str) -> str | None:
    """The absolute path of a recorded file; None when it is gone."""
    absolute = settings().artifacts / path
    return str(absolute) if absolute.is_file() else None


def log_tail(run_id: int) -> str:
    """The last lines of a run's log."""
    path = starting.log_path(run_id, settings())
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


@dataclass(frozen=True)
class Plan:
    """What Start would start.

    Attributes:
        name: what the study is called when nobody says.
        perceptual: the network behind the perceptual term; None without such a term.
        could_fetch: whether VGG19 would be used if its weights were fetched.
        absent: sentences on metrics that will be missing, with the way out.
    """

    configs: tuple[RunConfig, ...]
    name: str
    pairs: dict[str, int]
    is_packed: bool
    estimate: Estimate
    perceptual: str | None
    could_fetch: bool
    absent: tuple[str, ...]


def plan(
    data: str, budget: str, configurations: Sequence[str], seeds: int, changes: Sequence[str]
) -> Plan:
    """What a form's values amount to; raises `EngineError` with a sentence for the form."""
    parsed = parse_settings(changes)
    chosen = source(data)
    configs = planning.plan_study(chosen, budget, configurations, seeds, parsed, settings())
    spent = configs[0].budget
    pairs = count_pairs(chosen, spent, settings())
    perceptual = next(
        (
            config.execution.perceptual_features
            for config in configs
            if "perceptual" in config.configuration.recipe.names
        ),
        None,
    )
    absent = [] if weights.find("inception", settings()) else [weights.absence("inception")]
    return Plan(
        configs=tuple(configs),
        name=planning.default_name(chosen, budget),
        pairs=pairs,
        is_packed=is_packed(chosen, spent.px, settings()),
        estimate=estimate(
            configs, pairs, store().read_speeds(), bytes_to_pack(chosen, spent.px, settings())
        ),
        perceptual=perceptual,
        could_fetch=perceptual == "efficientnet_lite0",
        absent=tuple(absent),
    )


def _done(run: Run) -> float:
    return 1.0 if run.is_over else run.progress
