"""The built-in configurations and budgets, as two tables."""

from collections.abc import Sequence

from engine.config import Budget, Configuration, Recipe, Term, unknown_name_message
from engine.errors import BadInputError


def _recipe(**weights: float) -> Recipe:
    return Recipe(terms=tuple(Term(name=name, weight=weight) for name, weight in weights.items()))


# fmt: off
_CONFIGURATION_ROWS = (
    # name           recipe                                                    lr_g  lr_d  beta1 beta2
    ("standard",    _recipe(adversarial=1, l1=100),                            2e-4, 2e-4, 0.5, 0.999),
    ("perceptual",  _recipe(adversarial=1, l1=100, perceptual=10),             2e-4, 2e-4, 0.5, 0.999),
    ("regularized", _recipe(adversarial=1, l1=100, total_variation=0.1),       2e-4, 2e-4, 0.5, 0.999),
    ("gan",         _recipe(adversarial=1, l1=100),                            2e-4, 2e-4, 0.5, 0.999),
    ("ganv2",       _recipe(adversarial=1, l1=50),                             1e-4, 3e-4, 0.6, 0.999),
    ("ganv3",       _recipe(adversarial=1, l1=150),                            3e-4, 1e-4, 0.4, 0.995),
)

_BUDGET_ROWS = (
    # name     px  width generator       discriminator    norm        upconv     epochs batch jitter decay ema    n_eval n_train n_val n_test
    ("smoke",   32,  8, "unet",          "conditional",   "batch",    "bilinear",  1,    8,    2,   0.0, "auto",    1,    64,    32,    32),
    ("demo",    64, 32, "unet",          "conditional",   "batch",    "bilinear",  4,   16,    0,   0.0, "auto",    1,  2500,   300,   300),
    ("study1", 192, 64, "unet",          "conditional",   "batch",    "normal",   60,   16,    0,   0.0, 0.0,       6,  8000,  1000,  1000),
    ("study2", 256, 64, "resnet18_unet", "unconditional", "batch",    "normal",    5,   64,    0,   0.0, 0.0,       5,  None,  None,  None),
    ("paper",  256, 64, "unet",          "conditional",   "instance", "normal",   200,    1,   15,   0.5, 0.0,      10,  None,  None,  None),
)
# fmt: on

_CONFIGURATION_FIELDS = ("name", "recipe", "lr_g", "lr_d", "beta1", "beta2")
_BUDGET_FIELDS = (
    *("name", "px", "base_channels", "generator", "discriminator", "norm", "upconv_init"),
    *("epochs", "batch", "jitter", "decay", "ema", "evaluations", "n_train", "n_val", "n_test"),
)

# The best recipe for line art (docs/experiments.md, "Line art: vivid").
_VIVID = Configuration(
    name="vivid",
    recipe=_recipe(palette=1, l1=2, colourfulness=0.5, colour_shares=0.1),
    lr_g=1e-3,
    lr_d=1e-3,
    beta1=0.9,
    beta2=0.99,
    optimizer="adamw",
    weight_decay=0.02,
    schedule="cosine",
    warmup_steps=50,
    output="palette",
    regions=True,
    source_features="efficientnet_lite0",
    decoding="medoid:1+flat+steer",
)

# The best recipe for photographs (docs/experiments.md, "Photographs: vivid_photo").
_VIVID_PHOTO = Configuration(
    name="vivid_photo",
    recipe=_recipe(adversarial=1, l1=100),
    lr_g=4e-4,
    lr_d=4e-4,
    beta1=0.5,
    beta2=0.999,
    schedule="cosine",
    warmup_steps=50,
    output="lab_ab",
    source_features="efficientnet_lite0",
)

PUBLISHED_CONFIGURATIONS: dict[str, Configuration] = {
    str(row[0]): Configuration.model_validate(dict(zip(_CONFIGURATION_FIELDS, row, strict=True)))
    for row in _CONFIGURATION_ROWS
}
CONFIGURATIONS = PUBLISHED_CONFIGURATIONS | {
    preset.name: preset for preset in (_VIVID, _VIVID_PHOTO)
}
BUDGETS: dict[str, Budget] = {
    str(row[0]): Budget.model_validate(dict(zip(_BUDGET_FIELDS, row, strict=True)))
    for row in _BUDGET_ROWS
}
SKETCH_STUDY_CONFIGURATIONS = ("standard", "perceptual", "regularized")
# Kind of source -> configurations that a study compares unless the user chooses others.
_DEFAULT_CONFIGURATIONS = {
    "sketch": (*SKETCH_STUDY_CONFIGURATIONS, _VIVID.name),
    "grey": (*SKETCH_STUDY_CONFIGURATIONS, _VIVID_PHOTO.name),
}
# Title -> (budget, configurations) of each published study.
PUBLISHED_STUDIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "Sketch study": ("study1", SKETCH_STUDY_CONFIGURATIONS),
    "Photograph study": ("study2", ("gan", "ganv2", "ganv3")),
}
BUDGET_PURPOSES = {
    "smoke": "a few seconds, to check that everything works",
    "demo": "a first impression: four configurations in about 6 minutes on 2 CPU cores",
    "study1": "the sketch study as published",
    "study2": "the photograph study as published",
    "paper": "the pix2pix paper's own recipe",
}


def default_configurations(source_label: str) -> tuple[str, ...]:
    """Returns the names of the configurations that a study compares by default.

    Args:
        source_label: the kind of the sources, `sketch` or `grey`.
    """
    return _DEFAULT_CONFIGURATIONS[source_label]


def get_configurations(
    names_or_values: Sequence[str | Configuration],
) -> tuple[Configuration, ...]:
    """Returns configurations in the given order.

    Args:
        names_or_values: names of presets, and configurations that are used unchanged.

    Raises:
        BadInputError: a name is unknown or given twice, or there is no configuration.
    """
    configurations = tuple(
        _get_configuration(value) if isinstance(value, str) else value for value in names_or_values
    )
    names = [configuration.name for configuration in configurations]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f"The configuration {name!r} is named twice.")
    if not configurations:
        raise BadInputError("A study compares at least one configuration; none was named.")
    return configurations


def _get_configuration(name: str) -> Configuration:
    if name not in CONFIGURATIONS:
        raise BadInputError(f"{unknown_name_message('configuration', name, CONFIGURATIONS)}.")
    return CONFIGURATIONS[name]


def get_budget(name: str) -> Budget:
    """Returns the named budget.

    Raises:
        BadInputError: the name is unknown.
    """
    if name not in BUDGETS:
        raise BadInputError(f"{unknown_name_message('budget', name, BUDGETS)}.")
    return BUDGETS[name]
