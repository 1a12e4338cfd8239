"""From what was asked for to the runs of a study, checked before anything is stored. Torch-free."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import weights
from engine.config import MAX_SEEDS, RunConfig, apply_settings, build, change
from engine.data.packing import count_pairs
from engine.data.sources import read_source
from engine.errors import BadInputError, MissingWeightsError
from engine.metrics.catalog import CATALOG
from engine.presets import read_budget, read_configurations
from engine.settings import Settings

MAX_NAME = 120
RESULTS_FORMAT = 1  # of results.json
MAX_RESULTS_BYTES = 200 * 2**20


def plan_study(
    data: str,
    budget: str,
    configurations: Sequence[str],
    seeds: int,
    changes: Mapping[str, str],
    settings: Settings,
) -> list[RunConfig]:
    """The runs of a study, checked as far as possible without starting anything.

    Feature weights are chosen here, so that they can be shown before Start.

    Args:
        data: a SOURCE.
        budget: a budget's name.
        configurations: names, in the order they are compared.
        seeds: how many; they are 0 .. seeds - 1.
        changes: `--set` keys and values, applied to every run.
        settings: where weights are looked for.

    Raises:
        BadInputError: any of it is wrong; one sentence says what and the way out.
        MissingWeightsError: chosen feature weights are not on this machine.
    """
    read_source(data)
    spent = read_budget(budget)
    if not 1 <= seeds <= MAX_SEEDS:
        raise BadInputError(f"seeds must be from 1 to {MAX_SEEDS}, not {seeds}.")
    configs = []
    for configuration in read_configurations(configurations):
        config = apply_settings(
            RunConfig(data=data, configuration=configuration, budget=spent), changes
        )
        config = choose_weights(config, settings)
        configs += [config.model_copy(update={"seed": seed}) for seed in range(seeds)]
    return check_runs(configs)


def plan_repetition(path: Path, settings: Settings) -> tuple[list[RunConfig], str]:
    """The runs of an exported study once more, and its name.

    What was `auto` is decided anew on this machine, feature weights excepted: a study that was
    trained against one network is not silently repeated against another.

    Raises:
        BadInputError: the file is not a results.json that this version reads.
        MissingWeightsError: feature weights that it used are not on this machine.
    """
    shown = str(path)[:200]
    try:
        if path.stat().st_size > MAX_RESULTS_BYTES:
            raise BadInputError(f"{shown} is larger than any results.json.")
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{shown} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{shown} is no results.json: {error}.") from error
    if not isinstance(document, dict) or document.get("format") != RESULTS_FORMAT:
        raise BadInputError(f"{shown} is no results.json of format {RESULTS_FORMAT}.")
    runs, study = document.get("runs"), document.get("study")
    if not isinstance(runs, list) or not runs or not isinstance(study, dict):
        raise BadInputError(f"{shown} holds no runs.")
    configs = []
    for run in runs:
        config = run.get("config") if isinstance(run, dict) else None
        if not isinstance(config, dict):
            raise BadInputError(f"{shown} holds a run without its config.")
        configs.append(choose_weights(build(RunConfig, config), settings))
    pairs = [(config.configuration.name, config.seed) for config in configs]
    if len(set(pairs)) < len(pairs) or len({it.data for it in configs}) > 1:
        raise BadInputError(f"{shown} holds a run twice, or runs on different data.")
    return check_runs(configs), check_name(f"{study.get('name')} (again)"[:MAX_NAME])


def check_runs(configs: list[RunConfig]) -> list[RunConfig]:
    """The runs of one study, or `BadInputError` with what stands in the way of starting them."""
    first = configs[0]
    budget, execution = first.budget, first.execution
    if execution.compile == "on" and not (shutil.which("cc") or shutil.which("gcc")):
        raise BadInputError(
            "compile=on needs a C compiler and there is none (cc, gcc): install one, for example "
            "`apt-get install gcc`, or leave compile at auto."
        )
    counts = count_pairs(read_source(first.data), budget)
    if budget.batch > counts["train"]:
        raise BadInputError(
            f"batch must be at most {counts['train']}, the number of training pairs, not "
            f"{budget.batch}."
        )
    if budget.jitter >= budget.px:
        raise BadInputError(f"jitter must be less than px ({budget.px}), not {budget.jitter}.")
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


def check_name(name: str) -> str:
    """A study's name as it is stored, or `BadInputError`."""
    name = name.strip()
    if not name or len(name) > MAX_NAME or not name.isprintable():
        raise BadInputError(
            f"A study's name has 1 to {MAX_NAME} printable characters, not {name[:40]!r}."
        )
    return name


def default_name(configs: Sequence[RunConfig]) -> str:
    """What a study is called when nobody says: data and budget."""
    return f"{configs[0].data} {configs[0].budget.name}"
