"""What a run is: one typed, frozen schema for command line, form and stored JSON.

An invalid configuration cannot be built; every refusal names the field, the value and the way
out. Nothing here knows torch, files or the database.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.errors import BadInputError

TermName = Literal["adversarial", "l1", "perceptual", "total_variation"]
Auto = Literal["auto"]
Switch = Literal["auto", "on", "off"]
ChoiceMetric = Literal["kd_lite2", "fd_lite2", "kid", "fid", "psnr", "ssim", "mae", "delta_e"]

Rate = Annotated[float, Field(gt=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]

ModelT = TypeVar("ModelT", bound=BaseModel)

REPORTED_SPLIT = "test"  # what tables, ranks and findings are about
MAX_SEEDS = 100  # of a study
MAX_LEVELS = 8  # of the U-Net
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$"


class Frozen(BaseModel):
    """The base of all settings: immutable, unknown keys and non-finite numbers refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Term(Frozen):
    """One summand of the generator's loss."""

    name: TermName
    weight: Annotated[float, Field(ge=0, le=1e6)]


class Recipe(Frozen):
    """The generator's loss as data: the weighted sum of its terms."""

    terms: Annotated[tuple[Term, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [term.name for term in self.terms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the term {twice[0]} stands twice in the recipe; give it one weight")
        if not any(term.weight for term in self.terms):
            raise ValueError("all weights of the recipe are 0; give at least one term a weight")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the terms, in order."""
        return tuple(term.name for term in self.terms)

    def with_terms(self, changed: Mapping[str, Term]) -> "Recipe":
        """The same recipe with some terms' weights changed, or terms added."""
        kept = [changed.get(term.name, term) for term in self.terms]
        added = [term for name, term in changed.items() if name not in self.names]
        return build(Recipe, {"terms": (*kept, *added)})

    def __str__(self) -> str:
        return " + ".join(
            term.name if term.weight == 1 else f"{term.weight:g} {term.name}" for term in self.terms
        )


class Configuration(Frozen):
    """What is compared: a loss recipe and its optimisers (Adam for both networks)."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    recipe: Recipe
    lr_g: Rate
    lr_d: Rate
    beta1: Beta
    beta2: Beta


class Budget(Frozen):
    """How much is spent, and on networks of which size.

    Attributes:
        px: side of the square pictures, a multiple of 32.
        base_channels: width of both networks at their first layer.
        generator: `unet` or `resnet18_unet`.
        output: what the generator makes: `rgb`, or `lab_ab`, the two colour channels of CIE Lab,
            the grey of the source being kept.
        discriminator: `conditional` sees the source beside the picture, `unconditional` does not.
        norm: `batch` (evaluation statistics at test time) or `instance`.
        batch: pictures per step; an incomplete last batch is left out.
        jitter: largest shift of a training picture, in pixels, drawn anew each epoch.
        pretrain: the first so many of the epochs train the generator alone, by L1.
        decay: the share of epochs, at the end, over which both rates fall linearly to 0.
        ema: half-life of the generator's moving average, in pictures seen; 0: none.
        evaluations: at so many epochs, evenly spread and ending with the last, the checkpoint is
            judged on the validation split; with 1 the last is taken without judging.
        choose_by: the metric by which the best of these checkpoints is chosen.
        n_train: at most so many pairs, None: all there are. n_val and n_test likewise.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    px: Annotated[int, Field(ge=32, le=1024)]
    base_channels: Annotated[int, Field(ge=1, le=512)]
    generator: Literal["unet", "resnet18_unet"] = "unet"
    output: Literal["rgb", "lab_ab"] = "rgb"
    discriminator: Literal["conditional", "unconditional"] = "conditional"
    norm: Literal["batch", "instance"] = "batch"
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    batch: Annotated[int, Field(ge=1, le=4096)]
    jitter: Annotated[int, Field(ge=0, le=256)] = 0
    pretrain: Annotated[int, Field(ge=0, le=100_000)] = 0
    decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    ema: Annotated[float, Field(ge=0)] | Auto = "auto"
    evaluations: Annotated[int, Field(ge=1, le=1000)] = 1
    choose_by: ChoiceMetric = "kd_lite2"
    n_train: Count | None = None
    n_val: Count | None = None
    n_test: Count | None = None

    @field_validator("px")
    @classmethod
    def _px_halves(cls, px: int) -> int:
        if px % 32:
            below, above = px // 32 * 32, px // 32 * 32 + 32
            raise ValueError(
                f"px must be a multiple of 32, not {px}: the U-Net halves the picture at every "
                f"level. The nearest are {below} and {above}"
            )
        return px

    @model_validator(mode="after")
    def _statistics_have_two_values(self) -> Self:
        if self.generator == "resnet18_unet" and self.px == 32 and self.batch == 1:
            raise ValueError(
                "batch must be at least 2 at px 32: the ResNet-18 encoder ends at a single value, "
                "of which there are no statistics"
            )
        return self

    @model_validator(mode="after")
    def _adversarial_epochs_remain(self) -> Self:
        if self.pretrain >= self.epochs:
            raise ValueError(
                f"pretrain must be less than epochs ({self.epochs}), not {self.pretrain}: the "
                "others train both networks"
            )
        return self

    @property
    def work(self) -> str:
        """What a training step costs, in a word: runs with the same are equally fast."""
        networks = f"{self.generator} {self.output} {self.discriminator}"
        return f"{networks} {self.px} px {self.base_channels} channels batch {self.batch}"

    @property
    def evaluated_epochs(self) -> tuple[int, ...]:
        """The epochs after which the checkpoint is judged; none of those that pretrain."""
        adversarial = self.epochs - self.pretrain
        count = min(self.evaluations, adversarial)
        return tuple(self.pretrain - (-adversarial * part // count) for part in range(1, count + 1))

    @property
    def levels(self) -> int:
        """How often the U-Net halves a side: while it is even, at most 8 times (192 ends at 3)."""
        px, count = self.px, 0
        while px % 2 == 0 and count < MAX_LEVELS:
            px, count = px // 2, count + 1
        return count

    @property
    def widths(self) -> tuple[int, ...]:
        """The U-Net's channels at each level."""
        return tuple(self.base_channels * min(2**level, 8) for level in range(self.levels))


class Execution(Frozen):
    """How the machine does it. `auto` is resolved once, at the run's first attempt, and stored.

    Attributes:
        device: `cuda`, `mps` or `cpu`.
        precision: `bf16` (autocast, float32 weights) or `fp32`.
        threads: CPU threads.
        channels_last: the memory layout of pictures and weights.
        compile: torch.compile for both networks while they are trained.
        graph: a whole step recorded as a CUDA graph and replayed.
        keep_maps: the feature maps of all targets are made once and kept, for the perceptual term.
        record_every: every so-manyth step's losses are kept.
        perceptual_features: the network behind the perceptual term.
        encoder_weights: how a ResNet-18 encoder starts.
        keep_every: every so-manyth epoch's checkpoint is kept beside the newest and the best; 0:
            none for that.
    """

    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | Auto = "auto"
    channels_last: Switch = "auto"
    compile: Switch = "auto"
    graph: Switch = "auto"
    keep_maps: Switch = "auto"
    record_every: Count | Auto = "auto"
    perceptual_features: Literal["auto", "vgg19", "efficientnet_lite0", "none"] = "auto"
    encoder_weights: Literal["auto", "imagenet", "none"] = "auto"
    keep_every: Annotated[int, Field(ge=0, le=100_000)] = 0


def source_label(data: str) -> str:
    """What the models are given where a SOURCE text is trained on: `sketch` or `grey`."""
    return "grey" if data.startswith("photos:") else "sketch"


class RunConfig(Frozen):
    """Everything that makes a run what it is."""

    data: str
    configuration: Configuration
    budget: Budget
    execution: Execution = Execution()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def label(self) -> str:
        """The run in a few words."""
        return f"{self.configuration.name}, seed {self.seed}"


def explain(error: ValidationError) -> str:
    """A schema's refusal as one sentence: the field, what is wrong, the value."""
    fault = error.errors()[0]
    field = str(fault["loc"][-1]) if fault["loc"] else "the configuration"
    names = [str(part) for part in fault["loc"] if isinstance(part, str)]
    if names and not names[-1].isidentifier():
        names = names[:-1]
    field = names[-1] if names else field
    message = fault["msg"].removeprefix("Value error, ")
    if message.startswith(field) or fault["type"] == "value_error":
        return f"{message}."
    if fault["type"] == "extra_forbidden":
        return f"Unknown key {fault['loc'][-1]!r}."
    message = message[:1].lower() + message[1:]
    return f"{field} cannot be {str(fault['input'])[:60]!r}: {message}."


def build(model: type[ModelT], values: Mapping[str, Any]) -> ModelT:
    """Builds a settings object or raises `BadInputError` with one clear sentence."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise BadInputError(explain(error)) from error


def change(value: ModelT, changes: Mapping[str, Any]) -> ModelT:
    """The same settings with some fields changed, validated again."""
    return build(type(value), {**value.model_dump(), **changes}) if changes else value
