"""Turns a request into the configs of a study's runs, and validates them before they are stored."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from engine import weights
from engine.annotations import MAX_NAME, check_name, name_again
from engine.config import MAX_SEEDS_PER_STUDY, Configuration, RunConfig, change, explain
from engine.data.packing import count_pairs, require_usable
from engine.data.sources.interface import Source
from engine.data.sources.registry import parse_source
from engine.data.survey.survey import load_survey
from engine.errors import BadInputError, MissingWeightsError
from engine.metrics.catalog import CATALOG
from engine.overrides import apply_settings
from engine.presets import get_budget, get_configurations
from engine.records.comparison import RESULTS_FORMAT
from engine.records.runs import Run, Study
from engine.settings import PROGRAM, Settings

MAX_REPEATED_RUNS = 1000
# The way out if an output needs another kind of source.
OTHER_SOURCES = {
    "grey": "Use photos:PATH or output=rgb.",
    "sketch": "Use a source of line art, or a configuration with another output.",
}
MAX_RESULTS_BYTES = 200 * 2**20


def plan_study(
    source: Source,
    budget: str,
    configurations: Sequence[str | Configuration],
    seeds: int,
    changes: Mapping[str, str],
    settings: Settings,
) -> list[RunConfig]:
    """Plans a study from a budget, configurations and a number of seeds.

    Feature weights are resolved here, so that a form can show them before the study is submitted.

    Args:
        source: the source of the image pairs.
        budget: the name of a budget.
        configurations: names of presets, or configurations, in the order of the comparison.
        seeds: the number of seeds; the seeds are 0 to `seeds - 1`.
        changes: `--set` keys and values, which are applied to every run.
        settings: the settings of the installation, which name the weights folders.

    Raises:
        BadInputError: a value is invalid.
        MissingWeightsError: feature weights are not on this machine.
    """
    if not 1 <= seeds <= MAX_SEEDS_PER_STUDY:
        raise BadInputError(f"seeds must be from 1 to {MAX_SEEDS_PER_STUDY}, not {seeds}.")
    configs = []
    for requested in request_configs(source.text, budget, configurations, changes):
        config = resolve_weights(requested, settings, may_wait=True)
        configs += [config.model_copy(update={"seed": seed}) for seed in range(seeds)]
    return check_runs(configs, source, settings)


def request_configs(
    data: str,
    budget: str,
    configurations: Sequence[str | Configuration],
    changes: Mapping[str, str],
) -> list[RunConfig]:
    """Builds one config per configuration of a study, before its weights are resolved.

    Raises:
        BadInputError: a value is invalid.
    """
    study_budget = get_budget(budget)
    return [
        apply_settings(
            RunConfig(data=data, configuration=configuration, budget=study_budget), changes
        )
        for configuration in get_configurations(configurations)
    ]


class _StudyPart(BaseModel):
    name: str


class _RunPart(BaseModel):
    config: RunConfig


class _Results(BaseModel):
    """The parts of a results.json that are needed to repeat its study; other parts are ignored."""

    format: Annotated[int, Field(strict=True, ge=RESULTS_FORMAT, le=RESULTS_FORMAT)]
    study: _StudyPart
    runs: Annotated[list[_RunPart], Field(min_length=1, max_length=MAX_REPEATED_RUNS)]


def plan_repetition(path: Path, settings: Settings) -> tuple[list[RunConfig], str]:
    """Plans the repetition of an exported study.

    A setting with the value `auto` is resolved for this machine when a run starts. Feature weights
    are an exception: the repetition requires the weights that the study used.

    Returns:
        The configs, and the name of the repetition.

    Raises:
        BadInputError: the file is not a results.json of this version.
        MissingWeightsError: feature weights that the study used are not on this machine.
    """
    file_name = str(path)[:200]
    results = _load_results(path, file_name)
    configs = [resolve_weights(run.config, settings, may_wait=True) for run in results.runs]
    if len({(config.configuration.name, config.seed) for config in configs}) < len(configs):
        raise BadInputError(f"{file_name} holds a run twice.")
    first = configs[0]
    if any(config.data != first.data or config.budget != first.budget for config in configs):
        raise BadInputError(f"{file_name} holds runs on different data or budgets.")
    by_name = {config.configuration.name: config.configuration for config in configs}
    if any(config.configuration != by_name[config.configuration.name] for config in configs):
        raise BadInputError(f"{file_name} gives one name to different configurations.")
    name = name_again(results.study.name)
    return check_runs(configs, parse_source(first.data, settings), settings), check_name(name)


@dataclass(frozen=True)
class Extension:
    """A request to extend a study; an empty value or None changes nothing.

    Attributes:
        configurations: names of configurations to add.
        seeds: the number of seeds that each configuration has afterwards.
        epochs: the number of epochs that each run has afterwards, as the user typed it.
    """

    configurations: Sequence[str] = ()
    seeds: int | None = None
    epochs: str | None = None


def plan_extension(
    study: Study, runs: Sequence[Run], extension: Extension, settings: Settings
) -> list[RunConfig]:
    """Plans the extension of a study.

    Returns:
        The configs of all runs that the study has afterwards, including its present runs.

    Raises:
        BadInputError: nothing would be added, or the new runs could not be compared with the
            present runs.
        MissingWeightsError: feature weights are not on this machine.
    """
    if not extension.configurations and extension.seeds is None and extension.epochs is None:
        raise BadInputError("Nothing to add: give --configurations, --seeds N or --set epochs=N.")
    budget = study.budget
    if extension.epochs is not None:
        budget = change(budget, {"epochs": extension.epochs})
        if budget.epochs <= study.budget.epochs:
            raise BadInputError(
                f"epochs must be more than the {study.budget.epochs} that study {study.id} has, "
                f"not {budget.epochs}."
            )
        schedules = {run.config.configuration.schedule for run in runs}
        if budget.decay and "linear" in schedules:
            raise BadInputError(
                f"The learning rates of study {study.id} fall to 0 by its last epoch: with more "
                f"epochs its runs would differ from those of a longer study. `{PROGRAM} "
                f"clone {study.id} --set epochs={budget.epochs}` starts a longer study."
            )
    by_configuration = {run.configuration: run.config for run in runs}
    names = extension.configurations
    for configuration in get_configurations(names) if names else ():
        # The new configuration may use other weights than the present runs.
        config = runs[0].config.model_copy(update={"configuration": configuration})
        execution = change(config.execution, {"perceptual_features": "auto"})
        config = config.model_copy(update={"execution": execution})
        config = resolve_weights(config, settings, may_wait=True)
        by_configuration.setdefault(configuration.name, config)
    n_present = 1 + max(run.seed for run in runs)
    n_seeds = n_present if extension.seeds is None else extension.seeds
    if not n_present <= n_seeds <= MAX_SEEDS_PER_STUDY:
        raise BadInputError(
            f"seeds must be from {n_present}, as study {study.id} has, to {MAX_SEEDS_PER_STUDY}, "
            f"not {n_seeds}."
        )
    configs = [
        config.model_copy(update={"budget": budget, "seed": seed})
        for config in by_configuration.values()
        for seed in range(n_seeds)
    ]
    if budget == study.budget and len(configs) == len(runs):
        raise BadInputError(
            f"Study {study.id} has all of that. Give --configurations, --seeds N or --set "
            "epochs=N with more than it has."
        )
    return check_runs(configs, parse_source(study.data, settings), settings)


def plan_clone(
    runs: Sequence[Run], changes: Mapping[str, str], settings: Settings
) -> list[RunConfig]:
    """Plans a copy of a study with changed settings.

    Args:
        runs: the runs of the study.
        changes: `--set` keys and values, which are applied to every run.
        settings: the settings of the installation.

    Raises:
        BadInputError: a value is invalid.
        MissingWeightsError: feature weights that the study used are not on this machine.
    """
    configs = [
        resolve_weights(apply_settings(run.config, changes), settings, may_wait=True)
        for run in runs
    ]
    return check_runs(configs, parse_source(configs[0].data, settings), settings)


def _load_results(path: Path, file_name: str) -> _Results:
    try:
        if not path.is_file():
            raise BadInputError(f"There is no file {file_name}.")
        if path.stat().st_size > MAX_RESULTS_BYTES:
            raise BadInputError(f"{file_name} is larger than any results.json.")
        return _Results.model_validate_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"{file_name} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{file_name} is no results.json: it is not text.") from error
    except ValidationError as error:
        first_error = error.errors()[0]
        location = first_error["loc"]
        if len(location) > 1 and location[0] == "runs" and isinstance(location[1], int):
            message = f"Run {location[1] + 1} of {file_name}: {explain(error)}"
            raise BadInputError(message) from error
        key = ".".join(map(str, location))
        raise BadInputError(
            f"{file_name} is no results.json of format {RESULTS_FORMAT}: "
            f"{key + ': ' if key else ''}{first_error['msg'][:120]}."
        ) from error


def check_runs(configs: list[RunConfig], source: Source, settings: Settings) -> list[RunConfig]:
    """Validates the configs of one study's runs; returns them unchanged.

    Raises:
        BadInputError: a run could not be trained on the source, or not on this machine.
    """
    budget = configs[0].budget
    for config in configs:
        if config.execution.keep_maps == "on" and config.budget.jitter:
            raise BadInputError(
                f"keep_maps=on needs jitter=0, not {config.budget.jitter}: feature maps that are "
                "computed once belong to images that are not shifted."
            )
    is_compiled = any(config.execution.compile == "on" for config in configs)
    if is_compiled and not (shutil.which("cc") or shutil.which("gcc")):
        raise BadInputError(
            "compile=on needs a C compiler and there is none (cc, gcc): install one, for example "
            "`apt-get install gcc`, or set compile=auto."
        )
    source.require_valid()
    survey = load_survey(source, settings)
    if survey is not None:
        require_usable(source, survey.names, survey.unusable)
    n_pairs = count_pairs(source, budget, settings)
    if empty_splits := [split for split, count in n_pairs.items() if not count]:
        raise BadInputError(
            f"No pair of {source.title} falls into {' or '.join(empty_splits)} (train "
            f"{n_pairs['train']}, val {n_pairs['val']}, test {n_pairs['test']}): use more pairs, "
            "or put some into folders named train, val and test."
        )
    if budget.batch > n_pairs["train"]:
        raise BadInputError(
            f"batch must be at most {n_pairs['train']}, the number of training pairs, not "
            f"{budget.batch}."
        )
    if budget.jitter >= budget.px:
        raise BadInputError(f"jitter must be less than px ({budget.px}), not {budget.jitter}.")
    for config in configs:
        configuration = config.configuration
        output = configuration.output_at(budget)
        if not output.fits(source.source_label):
            owner = "" if configuration.output == "budget" else f"{configuration.name}: "
            raise BadInputError(
                f"{owner}output={output.name} {output.needs}, but the source of {source.title} "
                f"is a {source.source_label}. "
                f"{OTHER_SOURCES[output.source_label]}"
            )
    return configs


def resolve_weights(config: RunConfig, settings: Settings, may_wait: bool = False) -> RunConfig:
    """Resolves the pretrained weights of a run to their names; "none" if the run uses none.

    Args:
        config: the config of the run.
        settings: the settings of the installation.
        may_wait: whether the run waits for downloads, so that weights which will be downloaded
            before it starts count as available.

    Raises:
        MissingWeightsError: weights of the perceptual term, of the encoder, of the network that
            reads the sources or of the `choose_by` metric are not available.
    """
    network = CATALOG[config.budget.choose_by].network
    if network and not weights.is_available(network, settings, may_wait):
        raise MissingWeightsError(
            f"choose_by={config.budget.choose_by} cannot be measured: "
            f"{weights.missing_message(network)}."
        )
    reader = config.configuration.source_features
    if reader != "none" and not weights.is_available(reader, settings, may_wait):
        raise MissingWeightsError(
            f"source_features={reader} cannot be computed: {weights.missing_message(reader)}."
        )
    execution = config.execution
    resolved = {"perceptual_features": "none", "encoder_weights": "none"}
    if config.configuration.recipe.needs_features:
        resolved["perceptual_features"] = weights.resolve_perceptual_features(
            execution.perceptual_features, settings, may_wait
        )
    if config.budget.has_encoder:
        resolved["encoder_weights"] = weights.resolve_encoder_weights(
            execution.encoder_weights, settings, may_wait
        )
    return config.model_copy(update={"execution": change(execution, resolved)})


def default_name(source: Source, budget: str) -> str:
    """Returns the name of a study for which the user gave no name."""
    return f"{source.title[: MAX_NAME // 2]} {budget}"
