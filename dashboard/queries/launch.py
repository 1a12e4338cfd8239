"""Reads data for the Launch page: the plan of a new study and settings of existing studies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboard.queries import access, sources
from engine import annotations, weights
from engine.config import Configuration, RunConfig
from engine.data.packing import bytes_to_pack, count_pairs, is_packed
from engine.environment import FetchMode
from engine.errors import BadInputError
from engine.jobs import lifecycle, planning
from engine.jobs.estimates import Estimate, MeasuredSpeed, estimate, workload_key
from engine.overrides import CONFIGURATION_KEYS, TERM_KEYS, changed_settings, parse_settings
from engine.presets import BUDGETS
from engine.records.runs import Job, Run
from engine.system import processes
from engine.weights import download_state
from engine.weights.download_state import DownloadState

MAX_RECENT_RUNS = 200  # earlier runs that are read to estimate the speed of new runs
MAX_RECENT_ATTEMPTS = 20  # earlier attempts that are read to find the hosts of the queue


@dataclass(frozen=True)
class LaunchPrefill:
    """Values that fill the launch form from an existing study or run.

    Attributes:
        copied_from: the study or run, for example "study 3".
        name: the proposed name of the new study.
        data: the text of the data source.
        budget: the name of the budget.
        configurations: the configurations, without duplicates.
        seeds: the number of seeds per configuration.
        changes: settings that differ from the budget, key -> value as for `--set`. Settings of a
            configuration are in `configurations` instead.
    """

    copied_from: str
    name: str
    data: str
    budget: str
    configurations: tuple[Configuration, ...]
    seeds: int
    changes: Mapping[str, str]


def prefill_from_study(study_id: int) -> LaunchPrefill:
    """Copies the settings of a study.

    Raises:
        EngineError: the study does not exist, or its budget does not exist in this version.
    """
    study, runs = access.store().studies.read(study_id), access.store().runs.read_all(study_id)
    return _prefill(f"study {study_id}", study.name, runs)


def prefill_from_run(run_id: int) -> LaunchPrefill:
    """Copies the settings of a run and its configuration.

    Raises:
        EngineError: the run does not exist, or its budget does not exist in this version.
    """
    run = access.store().runs.read(run_id)
    return _prefill(f"run {run_id}", access.store().studies.read(run.study_id).name, [run])


def _prefill(copied_from: str, name: str, runs: Sequence[Run]) -> LaunchPrefill:
    budget = runs[0].config.budget.name
    if budget not in BUDGETS:
        raise BadInputError(
            f"{copied_from.capitalize()} has the budget {budget!r}, which this version does not "
            "have."
        )
    changes: dict[str, str] = {}
    for run in runs:
        changes |= changed_settings(run.config)
    configurations = {run.configuration: run.config.configuration for run in runs}
    in_configurations = (*CONFIGURATION_KEYS, *TERM_KEYS)
    return LaunchPrefill(
        copied_from=copied_from,
        name=annotations.name_again(name),
        data=runs[0].config.data,
        budget=budget,
        configurations=tuple(configurations.values()),
        seeds=len({run.seed for run in runs}),
        changes={key: value for key, value in changes.items() if key not in in_configurations},
    )


@dataclass(frozen=True)
class Plan:
    """The study that the launch form describes.

    Attributes:
        configs: the config of each run.
        name: the name of the study if the user does not enter a name.
        pairs: split -> number of pairs.
        is_packed: whether the pairs are already packed in this size.
        estimate: time, memory and disk space.
        perceptual: the network of the perceptual term; None without such a term.
        has_fid: whether the weights for FID are on this machine.
    """

    configs: tuple[RunConfig, ...]
    name: str
    pairs: dict[str, int]
    is_packed: bool
    estimate: Estimate
    perceptual: str | None
    has_fid: bool


@dataclass(frozen=True)
class MissingWeights:
    """The files of weights that a study would use and that are not on this machine.

    Attributes:
        states: the state of each file and of its download.
        expected: the names of the files that are downloaded before the runs of the study start.
        fetch: the setting CHROMABENCH_FETCH.
    """

    states: tuple[DownloadState, ...]
    expected: tuple[str, ...]
    fetch: FetchMode

    @property
    def has_downloads(self) -> bool:
        """Whether a file is being downloaded now."""
        return any(state.is_running for state in self.states)


NO_MISSING_WEIGHTS = MissingWeights((), (), "ask")


def missing_weights(
    data: str, budget: str, configurations: Sequence[str | Configuration], changes: Sequence[str]
) -> MissingWeights:
    """Lists the missing weights of the study that the values of the launch form describe.

    Raises:
        EngineError: a value is not allowed; the message begins with the name of its field.
    """
    settings = access.settings()
    configs = planning.request_configs(data, budget, configurations, parse_settings(changes))
    return read_missing_weights(weights.missing_downloads(configs, settings))


def read_missing_weights(names: Sequence[str]) -> MissingWeights:
    """Reads the state of some files of weights; leaves out those that are here by now."""
    settings = access.settings()
    states = [download_state.read_state(name, settings) for name in names]
    missing = tuple(state for state in states if state.path is None)
    expected = (
        state.weights.name for state in missing if weights.is_expected(state.weights.name, settings)
    )
    return MissingWeights(missing, tuple(expected), settings.fetch)


def manual_instruction(name: str) -> str:
    """Returns how to install a file of weights without a download by the dashboard."""
    return weights.manual_instruction(name, access.settings())


def plan(
    data: str,
    budget: str,
    configurations: Sequence[str | Configuration],
    seeds: int,
    changes: Sequence[str],
) -> Plan:
    """Plans the study that the values of the launch form describe.

    Args:
        data: the text of the data source.
        budget: the name of the budget.
        configurations: names of presets, or configurations.
        seeds: the number of seeds per configuration.
        changes: settings that differ from the budget, as `key=value`.

    Raises:
        EngineError: a value is not allowed; the message begins with the name of its field.
    """
    overrides, settings = parse_settings(changes), access.settings()
    source = sources.allowed_source(data)
    configs = planning.plan_study(source, budget, configurations, seeds, overrides, settings)
    resolved_budget = configs[0].budget
    pairs = count_pairs(source, resolved_budget, settings)
    perceptual = next(
        (
            config.execution.perceptual_features
            for config in configs
            if config.configuration.recipe.needs_features
        ),
        None,
    )
    to_pack = bytes_to_pack(source, resolved_budget.px, settings)
    return Plan(
        configs=tuple(configs),
        name=planning.default_name(source, budget),
        pairs=pairs,
        is_packed=is_packed(source, resolved_budget.px, settings),
        estimate=estimate(configs, pairs, measured_speeds(), to_pack),
        perceptual=perceptual,
        has_fid=weights.find("inception", settings) is not None,
    )


def measured_speeds() -> dict[str, MeasuredSpeed]:
    """Maps each workload to its speed where the queue runs, from a run or else from a speed probe.

    The queue runs on this host, or on the hosts that have claimed the newest jobs if another
    container or machine runs the supervisor.
    """
    machines = access.store().machines
    hosts = {processes.host_id()}
    if access.settings().is_supervised_elsewhere:
        hosts = machines.read_queue_hosts(MAX_RECENT_ATTEMPTS)
    speeds = {
        workload: MeasuredSpeed(probe.images_per_second, probe.memory_mb)
        for workload, probe in machines.read_probes(hosts).items()
    }
    for cost in machines.read_costs(MAX_RECENT_RUNS):
        if cost.host is None or cost.host in hosts:
            speeds[workload_key(cost.config)] = MeasuredSpeed(
                cost.images_per_second, cost.memory_mb
            )
    return speeds


def newest_probe(configs: Sequence[RunConfig]) -> Job | None:
    """Returns the newest job that measured the speed of these configs; None if there is none."""
    return access.store().jobs.read_newest("probe", lifecycle.probe_subject(configs))
