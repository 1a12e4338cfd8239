"""The two tables: six published configurations and five budgets."""

from collections.abc import Sequence

from engine.config import Budget, Configuration, Recipe, Term, TermName
from engine.errors import BadInputError


def _recipe(**weights: float) -> Recipe:
    names: tuple[TermName, ...] = ("adversarial", "l1", "perceptual", "total_variation")
    return Recipe(
        terms=tuple(Term(name=name, weight=weights[name]) for name in names if name in weights)
    )


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
    # name     px  width generator       discriminator    norm       epochs batch jitter decay ema    judged n_train n_val n_test
    ("smoke",   32,  8, "unet",          "conditional",   "batch",      1,    8,    2,   0.0, "auto",    1,    64,    32,    32),
    ("demo",    64, 32, "unet",          "conditional",   "batch",      4,   16,    0,   0.0, "auto",    1,  2500,   300,   300),
    ("study1", 192, 64, "unet",          "conditional",   "batch",     60,   16,    0,   0.0, 0.0,       6,  8000,  1000,  1000),
    ("study2", 256, 64, "resnet18_unet", "unconditional", "batch",      5,   64,    0,   0.0, 0.0,       5,  None,  None,  None),
    ("paper",  256, 64, "unet",          "conditional",   "instance", 200,    1,   15,   0.5, 0.0,      10,  None,  None,  None),
)
# fmt: on

_CONFIGURATION_FIELDS = ("name", "recipe", "lr_g", "lr_d", "beta1", "beta2")
_BUDGET_FIELDS = (
    *("name", "px", "base_channels", "generator", "discriminator", "norm", "epochs", "batch"),
    *("jitter", "decay", "ema", "evaluations", "n_train", "n_val", "n_test"),
)

CONFIGURATIONS: dict[str, Configuration] = {
    str(row[0]): Configuration.model_validate(dict(zip(_CONFIGURATION_FIELDS, row, strict=True)))
    for row in _CONFIGURATION_ROWS
}
BUDGETS: dict[str, Budget] = {
    str(row[0]): Budget.model_validate(dict(zip(_BUDGET_FIELDS, row, strict=True)))
    for row in _BUDGET_ROWS
}
DEFAULT_CONFIGURATIONS = ("standard", "perceptual", "regularized")
# What each study of the literature compared: (budget, configurations).
PUBLISHED: dict[str, tuple[str, tuple[str, ...]]] = {
    "Sketch study": ("study1", DEFAULT_CONFIGURATIONS),
    "Photograph study": ("study2", ("gan", "ganv2", "ganv3")),
}
BUDGET_PURPOSE = {
    "smoke": "a few seconds, to see that everything works",
    "demo": "a first look: three configurations in about 4 minutes on 2 CPU cores",
    "study1": "the sketch study as published",
    "study2": "the photograph study as published",
    "paper": "the pix2pix paper's own recipe",
}


def read_configurations(asked: Sequence[str | Configuration]) -> tuple[Configuration, ...]:
    """The configurations, in order: presets by their names, others as a person wrote them.

    Raises:
        BadInputError: a name is unknown or stands twice.
    """
    names = [it if isinstance(it, str) else it.name for it in asked]
    for it in asked:
        if isinstance(it, str) and it not in CONFIGURATIONS:
            raise BadInputError(
                f"There is no configuration {it!r}; there are {', '.join(CONFIGURATIONS)}."
            )
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f"The configuration {name!r} is named twice.")
    if not names:
        raise BadInputError("A study compares at least one configuration; none was named.")
    return tuple(CONFIGURATIONS[it] if isinstance(it, str) else it for it in asked)


def read_budget(name: str) -> Budget:
    """The named budget, or `BadInputError`."""
    if name not in BUDGETS:
        raise BadInputError(f"There is no budget {name!r}; there are {', '.join(BUDGETS)}.")
    return BUDGETS[name]
