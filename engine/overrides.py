"""Parses and applies changes of single settings: `--set key=value` and the launch form."""

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from engine.config import (
    Configuration,
    Execution,
    RunConfig,
    Term,
    build,
    change,
    unknown_name_message,
)
from engine.errors import BadInputError
from engine.options.loss_terms import LOSS_TERMS
from engine.presets import BUDGETS, CONFIGURATIONS

# The keys of `--set`, grouped by the part of the config that has the setting.
CONFIGURATION_KEYS = (
    *("lr_g", "lr_d", "beta1", "beta2"),
    *("optimizer", "weight_decay", "schedule", "warmup_steps", "final_lr"),
    *("n_colours", "regions", "source_features", "decoding"),
)
BUDGET_KEYS = (
    *("epochs", "px", "batch", "base_channels", "generator", "output", "discriminator"),
    *("pretrain", "ema", "jitter", "decay", "norm", "upconv_init", "evaluations", "choose_by"),
)
EXECUTION_KEYS = (
    *("device", "precision", "threads", "channels_last", "compile", "graph", "keep_maps"),
    *("record_every", "perceptual_features", "encoder_weights", "keep_every"),
)
TERM_KEYS = tuple(LOSS_TERMS)  # The value is the weight of the term.
KEYS = (*BUDGET_KEYS, *CONFIGURATION_KEYS, *EXECUTION_KEYS, *TERM_KEYS)


def parse_setting(text: str) -> tuple[str, str]:
    """Splits `key=value` into key and value.

    Raises:
        BadInputError: the text has no value, or the key is unknown.
    """
    key, separator, value = (part.strip() for part in text.partition("="))
    if not separator or not value:
        term = LOSS_TERMS.get(key)
        example = f"{key}={term.typical_weight:g}" if term is not None else "lr_g=1e-4"
        raise BadInputError(
            f"--set takes key=value, not {text[:60]!r}; for example --set {example}."
        )
    if key not in KEYS:
        raise BadInputError(f"--set: {unknown_name_message('setting', key, KEYS)}.")
    return key, value


def parse_settings(texts: Sequence[str]) -> dict[str, str]:
    """Parses every `--set key=value` of a command.

    Raises:
        BadInputError: a text is invalid, or two texts have the same key.
    """
    settings: dict[str, str] = {}
    for key, value in map(parse_setting, texts):
        if key in settings:
            raise BadInputError(f"--set {key} is given twice; give it one value.")
        settings[key] = value
    return settings


def changed_settings(config: RunConfig) -> dict[str, str]:
    """Returns the `--set` keys and values that change the presets of a run into its config.

    If a preset does not exist in this version, all settable values of that part are returned.
    """
    preset_configuration = CONFIGURATIONS.get(config.configuration.name)
    changed = {}
    for keys, part, preset in (
        (BUDGET_KEYS, config.budget, BUDGETS.get(config.budget.name)),
        (CONFIGURATION_KEYS, config.configuration, preset_configuration),
        (EXECUTION_KEYS, config.execution, Execution()),
    ):
        for key in keys:
            if preset is None or getattr(part, key) != getattr(preset, key):
                changed[key] = str(getattr(part, key))
    preset_terms = preset_configuration.recipe.terms if preset_configuration is not None else ()
    preset_weights = {term.name: term.weight for term in preset_terms}
    weights = {term.name: term.weight for term in config.configuration.recipe.terms}
    for name in {**preset_weights, **weights}:
        if preset_weights.get(name) != weights.get(name):
            changed[name] = f"{weights.get(name, 0):g}"
    # Leave out these two settings: by default they depend on the weights on this machine.
    for key in ("perceptual_features", "encoder_weights"):
        changed.pop(key, None)
    return changed


def flat_settings(config: RunConfig) -> dict[str, object]:
    """Returns all settings of a run: name -> value; `output` is that of the run's generator."""
    configuration, budget, execution = config.configuration, config.budget, config.execution
    weights = {term.name: term.weight for term in configuration.recipe.terms}
    return {
        "data": config.data,
        "configuration": configuration.name,
        **{f"weight of {name}": weights.get(name, 0.0) for name in TERM_KEYS},
        **{key: getattr(configuration, key) for key in CONFIGURATION_KEYS},
        "budget": budget.name,
        **budget.model_dump(exclude={"name"}),
        "output": configuration.output_at(budget).name,
        **execution.model_dump(),
        "seed": config.seed,
    }


def settings_differences(first: RunConfig, second: RunConfig) -> dict[str, tuple[object, object]]:
    """Returns the settings that differ between two runs: name -> (first value, second value)."""
    first_settings, second_settings = flat_settings(first), flat_settings(second)
    return {
        name: (value, second_settings[name])
        for name, value in first_settings.items()
        if value != second_settings[name]
    }


def apply_settings(config: RunConfig, settings: Mapping[str, str]) -> RunConfig:
    """Returns the config of a run with single settings changed.

    Args:
        config: the config of the run.
        settings: key of `--set` -> value.

    Raises:
        BadInputError: a value is invalid.
    """
    terms: dict[str, Term] = {}
    for name in TERM_KEYS:
        if name in settings:
            try:
                terms[name] = build(Term, {"name": name, "weight": settings[name]})
            except BadInputError as error:
                raise BadInputError(str(error).replace("weight", name, 1)) from error

    def changes_of(keys: Sequence[str]) -> dict[str, object]:
        return {key: settings[key] for key in keys if key in settings}

    recipe = config.configuration.recipe.with_terms(terms)
    configuration_changes = {"recipe": recipe, **changes_of(CONFIGURATION_KEYS)}
    return config.model_copy(
        update={
            "configuration": _change_configuration(config.configuration, configuration_changes),
            "budget": change(config.budget, changes_of(BUDGET_KEYS)),
            "execution": change(config.execution, changes_of(EXECUTION_KEYS)),
        }
    )


def _change_configuration(
    configuration: Configuration, changes: Mapping[str, object]
) -> Configuration:
    """Changes a configuration; if two settings do not fit, the message names the configuration."""
    try:
        return change(configuration, changes)
    except BadInputError as error:
        cause = error.__cause__
        if isinstance(cause, ValidationError) and not cause.errors()[0]["loc"]:
            raise BadInputError(f"{configuration.name}: {error}") from error
        raise
