"""From what was asked for to the runs of a study, checked before anything is stored. Torch-free."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from engine import weights
from engine.annotations import MAX_NAME, check_name, name_again
from engine.config import MAX_SEEDS, Configuration, RunConfig, change, explain
from engine.data.packing import count_pairs, require_usable
from engine.data.sources.registry import Source, read_source
from engine.data.survey.survey import load_survey
from engine.errors import BadInputError, MissingWeightsError
from engine.metrics.catalog import CATALOG
from engine.overrides import apply_settings
from engine.presets import read_budget, read_configurations
from engine.records.comparison import RESULTS_FORMAT
from engine.records.runs import Run, Study
from engine.settings import Settings

MAX_RUNS = 1000  # of a study that is repeated
MAX_RESULTS_BYTES = 200 * 2**20


def plan_study(
    source: Source,
    budget: str,
    configurations: Sequence[str | Configuration],
    seeds: int,
    changes: Mapping[str, str],
    settings: Settings,
) -> list[RunConfig]:
    """The runs of a study, checked as far as possible without starting anything.

    Feature weights are chosen here, so that they can be shown before Start.

    Args:
        source: where the pairs come from.
        budget: a budget's name.
        configurations: names of presets or a person's own, in the order they are compared.
        seeds: how many; they are 0 .. seeds - 1.
        changes: `--set` keys and values, applied to every run.
        settings: where weights are looked for.

    Raises:
        BadInputError: any of it is wrong; one sentence says what and the way out.
        MissingWeightsError: chosen feature weights are not on this machine.
    """
    spent = read_budget(budget)
    if not 1 <= seeds <= MAX_SEEDS:
        raise BadInputError(f"seeds must be from 1 to {MAX_SEEDS}, not {seeds}.")
    configs = []
    for configuration in read_configurations(configurations):
        config = apply_settings(
            RunConfig(data=source.text, configuration=configuration, budget=spent), changes
        )
        config = choose_weights(config, settings)
        configs += [config.model_copy(update={"seed": seed}) for seed in range(seeds)]
    return check_runs(configs, source, settings)


class _StudyPart(BaseModel):
    name: str


class _RunPart(BaseModel):
    config: RunConfig


class _Results(BaseModel):
    """What of a results.json is needed to repeat its study; the rest is for readers."""

    format: Annotated[int, Field(strict=True, ge=RESULTS_FORMAT, le=RESULTS_FORMAT)]
    study: _StudyPart
    runs: Annotated[list[_RunPart], Field(min_length=1, max_length=MAX_RUNS)]


def plan_repetition(path: Path, settings: Settings) -> tuple[list[RunConfig], str]:
    """The runs of an exported study once more, and its name.

    What was `auto` is decided anew on this machine, feature weights excepted: a study that was
    trained against one network is not silently repeated against another.

    Raises:
        BadInputError: the file is not a results.json that this version reads.
        MissingWeightsError: feature weights that it used are not on this machine.
    """
    shown = str(path)[:200]
    results = _read_results(path, shown)
    configs = [choose_weights(run.config, settings) for run in results.runs]
    if len({(it.configuration.name, it.seed) for it in configs}) < len(configs):
        raise BadInputError(f"{shown} holds a run twice.")
    if any(it.data != configs[0].data or it.budget != configs[0].budget for it in configs):
        raise BadInputError(f"{shown} holds runs on different data or budgets.")
    named = {it.configuration.name: it.configuration for it in configs}
    if any(it.configuration != named[it.configuration.name] for it in configs):
        raise BadInputError(f"{shown} gives one name to different configurations.")
    name = name_again(results.study.name)
    source = read_source(configs[0].data, settings)
    return check_runs(configs, source, settings), check_name(name)


@dataclass(frozen=True)
class Extension:
    """What is added to a study; what is empty or None stays as it is.

    Attributes:
        configurations: names of more of them.
        seeds: how many each configuration has afterwards.
        epochs: how many each run has afterwards, as it was typed.
    """

    configurations: Sequence[str] = ()
    seeds: int | None = None
    epochs: str | None = None


def plan_extension(
    study: Study, runs: Sequence[Run], wanted: Extension, settings: Settings
) -> list[RunConfig]:
    """All runs that the study has when it is extended, those it has already among them.

    Raises:
        BadInputError: nothing would be added, or what would be does not compare.
    """
    if not wanted.configurations and wanted.seeds is None and wanted.epochs is None:
        raise BadInputError("Say what to add: --configurations, --seeds N or --set epochs=N.")
    budget = study.budget
    if wanted.epochs is not None:
        budget = change(budget, {"epochs": wanted.epochs})
        if budget.epochs <= study.budget.epochs:
            raise BadInputError(
                f"epochs must be more than the {study.budget.epochs} that study {study.id} has, "
                f"not {budget.epochs}."
            )
        if budget.decay:
            raise BadInputError(
                f"Study {study.id} lets its rates fall to 0 by its last epoch: more epochs would "
                f"not be those of a longer study. `python -m engine clone {study.id} --set "
                f"epochs={budget.epochs}` starts one."
            )
    known = {run.configuration: run.config for run in runs}
    first = runs[0].config
    for configuration in (
        read_configurations(wanted.configurations) if wanted.configurations else ()
    ):
        added = first.model_copy(update={"configuration": configuration})
        auto = change(added.execution, {"perceptual_features": "auto"})
        added = choose_weights(added.model_copy(update={"execution": auto}), settings)
        known.setdefault(configuration.name, added)
    have = 1 + max(run.seed for run in runs)
    seeds = have if wanted.seeds is None else wanted.seeds
    if not have <= seeds <= MAX_SEEDS:
        raise BadInputError(
            f"seeds must be from {have}, as study {study.id} has, to {MAX_SEEDS}, not {seeds}."
        )
    configs = [
        config.model_copy(update={"budget": budget, "seed": seed})
        for config in known.values()
        for seed in range(seeds)
    ]
    if budget == study.budget and len(configs) == len(runs):
        raise BadInputError(
            f"Study {study.id} has all of that. Add --configurations, --seeds N or --set epochs=N."
        )
    return check_runs(configs, read_source(study.data, settings), settings)


def plan_clone(
    runs: Sequence[Run], changes: Mapping[str, str], settings: Settings
) -> list[RunConfig]:
    """The runs of a study once more, with single values changed.

    Raises:
        BadInputError: a value is wrong, or feature weights that it used are not here.
    """
    configs = [choose_weights(apply_settings(run.config, changes), settings) for run in runs]
    return check_runs(configs, read_source(configs[0].data, settings), settings)


def _read_results(path: Path, shown: str) -> _Results:
    try:
        if not path.is_file():
            raise BadInputError(f"There is no file {shown}.")
        if path.stat().st_size > MAX_RESULTS_BYTES:
            raise BadInputError(f"{shown} is larger than any results.json.")
        return _Results.model_validate_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"{shown} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{shown} is no results.json: it is no text.") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = fault["loc"]
        if len(place) > 1 and place[0] == "runs" and isinstance(place[1], int):
            raise BadInputError(f"Run {place[1] + 1} of {shown}: {explain(error)}") from error
        what = ".".join(map(str, place))
        raise BadInputError(
            f"{shown} is no results.json of format {RESULTS_FORMAT}: "
            f"{what + ': ' if what else ''}{fault['msg'][:120]}."
        ) from error


def check_runs(configs: list[RunConfig], source: Source, settings: Settings) -> list[RunConfig]:
    """The runs of one study, or `BadInputError` with what stands in the way of starting them."""
    budget = configs[0].budget
    for config in configs:
        if config.execution.keep_maps == "on" and config.budget.jitter:
            raise BadInputError(
                f"keep_maps=on needs jitter=0, not {config.budget.jitter}: maps that are made once "
                "are those of pictures that are not shifted."
            )
    wanted = {config.execution.compile for config in configs}
    if "on" in wanted and not (shutil.which("cc") or shutil.which("gcc")):
        raise BadInputError(
            "compile=on needs a C compiler and there is none (cc, gcc): install one, for example "
            "`apt-get install gcc`, or leave compile at auto."
        )
    source.require_sound()
    known = load_survey(source, settings)
    if known is not None:
        require_usable(source, known.names, known.unusable)
    counts = count_pairs(source, budget, settings)
    if empty := [split for split, count in counts.items() if not count]:
        raise BadInputError(
            f"No pair of {source.title} falls into {' or '.join(empty)} (train {counts['train']}, "
            f"val {counts['val']}, test {counts['test']}): use more pairs, or put some into "
            "folders named train, val and test."
        )
    if budget.batch > counts["train"]:
        raise BadInputError(
            f"batch must be at most {counts['train']}, the number of training pairs, not "
            f"{budget.batch}."
        )
    if budget.jitter >= budget.px:
        raise BadInputError(f"jitter must be less than px ({budget.px}), not {budget.jitter}.")
    if budget.output == "lab_ab" and source.source_label != "grey":
        raise BadInputError(
            "output=lab_ab keeps the grey of photographs and adds colour; the source of "
            f"{source.title} is a {source.source_label}. Use photos:PATH, or output=rgb."
        )
    return configs


def choose_weights(config: RunConfig, settings: Settings) -> RunConfig:
    """The run with the feature weights it will use, where it uses any.

    Raises:
        MissingWeightsError: the checkpoint is to be chosen by a network that is not here.
    """
    judge = CATALOG[config.budget.choose_by].network
    if judge and weights.find(judge, settings) is None:
        raise MissingWeightsError(
            f"choose_by={config.budget.choose_by} cannot be measured: {weights.absence(judge)}."
        )
    asked, chosen = config.execution, {}
    if "perceptual" in config.configuration.recipe.names:
        network = weights.resolve_perceptual(asked.perceptual_features, settings)
        chosen["perceptual_features"] = network
    else:
        chosen["perceptual_features"] = "none"
    if config.budget.generator == "resnet18_unet":
        start = weights.resolve_encoder(asked.encoder_weights, settings)
        chosen["encoder_weights"] = start
    else:
        chosen["encoder_weights"] = "none"
    return config.model_copy(update={"execution": change(asked, chosen)})


def default_name(source: Source, budget: str) -> str:
    """What a study is called when nobody says: data and budget."""
    return f"{source.title[: MAX_NAME // 2]} {budget}"
