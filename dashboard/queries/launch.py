"""What the Launch page may read: what a form's values amount to, and what a study or run had."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dashboard.queries import studies
from engine import annotations, weights
from engine.config import Configuration, RunConfig
from engine.data.packing import bytes_to_pack, count_pairs, is_packed
from engine.errors import BadInputError
from engine.jobs import lifecycle, planning
from engine.jobs.estimates import Estimate, Pace, estimate, work_of
from engine.overrides import CONFIGURATION_KEYS, TERM_KEYS, changed_settings, parse_settings
from engine.records.runs import Job, Run
from engine.system import processes

RECENT_RUNS = 200  # by which the speed of new ones is told


@dataclass(frozen=True)
class Clone:
    """What a form is filled with to start a study like another one.

    Attributes:
        changes: `--set` keys and values against the budget; a configuration's are in itself.
    """

    about: str
    name: str
    data: str
    budget: str
    configurations: tuple[Configuration, ...]
    seeds: int
    changes: Mapping[str, str]


def clone_study(study_id: int) -> Clone:
    """A study as a form has it; raises `EngineError` where there is none."""
    study, runs = studies.store().read_study(study_id), studies.store().read_runs(study_id)
    return _clone(f"study {study_id}", study.name, runs)


def clone_run(run_id: int) -> Clone:
    """A run as a form has it: its configuration alone; raises `EngineError` where there is none."""
    run = studies.store().read_run(run_id)
    return _clone(f"run {run_id}", studies.store().read_study(run.study_id).name, [run])


def _clone(about: str, name: str, runs: Sequence[Run]) -> Clone:
    changes: dict[str, str] = {}
    for run in runs:
        changes |= changed_settings(run.config)
    own = (*CONFIGURATION_KEYS, *TERM_KEYS)
    return Clone(
        about=about,
        name=annotations.name_again(name),
        data=runs[0].config.data,
        budget=runs[0].config.budget.name,
        configurations=tuple({it.configuration: it.config.configuration for it in runs}.values()),
        seeds=len({run.seed for run in runs}),
        changes={key: value for key, value in changes.items() if key not in own},
    )


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
    data: str,
    budget: str,
    configurations: Sequence[str | Configuration],
    seeds: int,
    changes: Sequence[str],
) -> Plan:
    """What a form's values amount to; raises `EngineError` with a sentence for the form."""
    parsed, settings = parse_settings(changes), studies.settings()
    chosen = studies.source(data)
    configs = planning.plan_study(chosen, budget, configurations, seeds, parsed, settings)
    spent = configs[0].budget
    pairs = count_pairs(chosen, spent, settings)
    perceptual = next(
        (
            config.execution.perceptual_features
            for config in configs
            if "perceptual" in config.configuration.recipe.names
        ),
        None,
    )
    absent = [] if weights.find("inception", settings) else [weights.absence("inception")]
    to_pack = bytes_to_pack(chosen, spent.px, settings)
    return Plan(
        configs=tuple(configs),
        name=planning.default_name(chosen, budget),
        pairs=pairs,
        is_packed=is_packed(chosen, spent.px, settings),
        estimate=estimate(configs, pairs, paces(), to_pack),
        perceptual=perceptual,
        could_fetch=perceptual == "efficientnet_lite0",
        absent=tuple(absent),
    )


def paces() -> dict[str, Pace]:
    """What this machine needs for each kind of work: by a probe, or better, by a run."""
    probed = studies.store().read_probes(processes.host())
    found = {work: Pace(it.images_per_second, it.memory_mb) for work, it in probed.items()}
    here = (None, platform.node())
    for cost in studies.store().read_costs(RECENT_RUNS):
        if cost.host in here:
            found[work_of(cost.config)] = Pace(cost.images_per_second, cost.memory_mb)
    return found


def newest_probe(configs: Sequence[RunConfig]) -> Job | None:
    """The last measuring of configs like these; None where there was none."""
    return studies.store().read_newest_job("probe", lifecycle.probe_subject(configs))


def require_known_budget(clone: Clone, budgets: Mapping[str, object]) -> None:
    """Raises `BadInputError` where this version does not know the budget of what is cloned."""
    if clone.budget not in budgets:
        raise BadInputError(
            f"{clone.about.capitalize()} has a budget that this version does not know."
        )
