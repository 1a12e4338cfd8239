"""Single values changed, as `--set key=value` and the form do it: which keys there are."""

from collections.abc import Mapping, Sequence

from engine.config import Execution, RunConfig, Term, TermName, build, change
from engine.errors import BadInputError
from engine.presets import BUDGETS, CONFIGURATIONS

# The keys of `--set`: where each lives. Any term's name sets that term's weight.
CONFIGURATION_KEYS = ("lr_g", "lr_d", "beta1", "beta2")
BUDGET_KEYS = (
    *("epochs", "px", "batch", "base_channels", "generator", "output", "discriminator"),
    *("pretrain", "ema", "jitter", "decay", "norm", "evaluations", "choose_by"),
)
EXECUTION_KEYS = (
    "device",
    "precision",
    "threads",
    "channels_last",
    "compile",
    "graph",
    "keep_maps",
    "record_every",
    "perceptual_features",
    "encoder_weights",
    "keep_every",
)
TERM_KEYS: tuple[TermName, ...] = ("adversarial", "l1", "perceptual", "total_variation")


def parse_setting(text: str) -> tuple[str, str]:
    """Splits `key=value` of a `--set` and checks the key."""
    key, separator, value = text.partition("=")
    known = (*BUDGET_KEYS, *CONFIGURATION_KEYS, *EXECUTION_KEYS, *TERM_KEYS)
    if not separator or not value.strip():
        raise BadInputError(
            f"--set takes key=value, not {text[:60]!r}; for example --set lr_g=1e-4."
        )
    if key.strip() not in known:
        raise BadInputError(f"--set does not know {key[:60]!r}. It takes {', '.join(known)}.")
    return key.strip(), value.strip()


def parse_settings(texts: Sequence[str]) -> dict[str, str]:
    """All `--set key=value` of a command; none may stand twice."""
    pairs = [parse_setting(text) for text in texts]
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise BadInputError(f"--set {twice[0]} stands twice; give it one value.")
    return dict(pairs)


def changed_settings(config: RunConfig) -> dict[str, str]:
    """The `--set` keys and values that make the run from its presets.

    What names no preset of this version is compared with nothing: all its values are given.
    """
    budget = BUDGETS.get(config.budget.name)
    preset = CONFIGURATIONS.get(config.configuration.name)
    plain = Execution()
    changed = {}
    for keys, value, before in (
        (BUDGET_KEYS, config.budget, budget),
        (CONFIGURATION_KEYS, config.configuration, preset),
        (EXECUTION_KEYS, config.execution, plain),
    ):
        for key in keys:
            if before is None or getattr(value, key) != getattr(before, key):
                changed[key] = str(getattr(value, key))
    usual = {it.name: it.weight for it in preset.recipe.terms} if preset is not None else {}
    for term in config.configuration.recipe.terms:
        if usual.get(term.name) != term.weight:
            changed[term.name] = f"{term.weight:g}"
    # The weights are those that this machine chose, not what was asked for.
    for chosen in ("perceptual_features", "encoder_weights"):
        changed.pop(chosen, None)
    return changed


def flat_settings(config: RunConfig) -> dict[str, object]:
    """All settings of a run by name: configuration, terms, budget, execution, seed."""
    configuration, budget, execution = config.configuration, config.budget, config.execution
    weights = {term.name: term.weight for term in configuration.recipe.terms}
    return {
        "data": config.data,
        "configuration": configuration.name,
        **{f"weight of {name}": weights.get(name, 0.0) for name in TERM_KEYS},
        **{key: getattr(configuration, key) for key in CONFIGURATION_KEYS},
        "budget": budget.name,
        **{key: it for key, it in budget.model_dump().items() if key != "name"},
        **execution.model_dump(),
        "seed": config.seed,
    }


def settings_differences(one: RunConfig, other: RunConfig) -> dict[str, tuple[object, object]]:
    """Setting -> its two values, of those that differ."""
    mine, theirs = flat_settings(one), flat_settings(other)
    return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}


def apply_settings(config: RunConfig, settings: Mapping[str, str]) -> RunConfig:
    """The run with single values changed, as `--set` and the form do it."""
    terms: dict[str, Term] = {}
    for name in TERM_KEYS:
        if name in settings:
            try:
                terms[name] = build(Term, {"name": name, "weight": settings[name]})
            except BadInputError as error:
                raise BadInputError(str(error).replace("weight", name, 1)) from error
    recipe = config.configuration.recipe.with_terms(terms)
    chosen = {key: settings[key] for key in CONFIGURATION_KEYS if key in settings}
    return config.model_copy(
        update={
            "configuration": change(config.configuration, {"recipe": recipe, **chosen}),
            "budget": change(
                config.budget, {key: settings[key] for key in BUDGET_KEYS if key in settings}
            ),
            "execution": change(
                config.execution, {key: settings[key] for key in EXECUTION_KEYS if key in settings}
            ),
        }
    )
