"""The schema of a run: typed, frozen models for the command line, the forms and the stored JSON.

An invalid config cannot be built: the error message names the field or key and the reason. This
module imports neither torch nor the database and reads no files.
"""

import difflib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from engine.errors import BadInputError
from engine.options.decodings import Decoding, parse_decoding
from engine.options.loss_terms import LOSS_TERMS
from engine.options.outputs import OUTPUTS, Output

Auto = Literal["auto"]
Switch = Literal["auto", "on", "off"]
OptimizerName = Literal["adam", "adamw"]
ScheduleName = Literal["linear", "cosine"]
SourceFeatures = Literal["none", "efficientnet_lite0"]
OutputName = Literal["rgb", "lab_ab", "line_fill", "palette"]
SelectionMetric = Literal["kd_lite2", "fd_lite2", "kid", "fid", "psnr", "ssim", "mae", "delta_e"]
UpconvInit = Literal["normal", "equal", "resize", "bilinear"]

Rate = Annotated[float, Field(gt=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]

ModelT = TypeVar("ModelT", bound=BaseModel)

REPORTED_SPLIT = "test"  # Tables, ranks and findings report the values of this split.
MAX_SEEDS_PER_STUDY = 100
MAX_UNET_LEVELS = 8
DEFAULT_FINAL_LR = 0.02
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$"


def unknown_name_message(kind: str, name: str, names: Collection[str]) -> str:
    """Returns a message about an unknown name, without a final period.

    Args:
        kind: what the name stands for, for example `budget`.
        name: the unknown name.
        names: all names that exist; the most similar one is suggested.
    """
    similar_names = difflib.get_close_matches(name, names, n=1)
    suggestion = f" (did you mean {similar_names[0]!r}?)" if similar_names else ""
    return f"There is no {kind} {name[:60]!r}{suggestion}; there are {', '.join(names)}"


class FrozenModel(BaseModel):
    """The base class of all settings: immutable, without unknown keys and non-finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _require_loss_term(name: str) -> str:
    if name not in LOSS_TERMS:
        raise ValueError(unknown_name_message("loss term", name, LOSS_TERMS))
    return name


class Term(FrozenModel):
    """One term of the generator's loss with its weight."""

    name: Annotated[str, AfterValidator(_require_loss_term)]
    weight: Annotated[float, Field(ge=0, le=1e6)]

    @property
    def needs_features(self) -> bool:
        """Whether the term compares feature maps of a pretrained network."""
        return LOSS_TERMS[self.name].needs_features


class Recipe(FrozenModel):
    """The generator's loss as data: the weighted sum of its terms."""

    terms: Annotated[tuple[Term, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise ValueError(
                f"the term {repeated[0]} is in the recipe more than once; give it one weight"
            )
        if not any(term.weight for term in self.terms):
            raise ValueError("all weights of the recipe are 0; give at least one term a weight")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the terms, in order."""
        return tuple(term.name for term in self.terms)

    @property
    def needs_features(self) -> bool:
        """Whether at least one term compares feature maps of a pretrained network."""
        return any(term.needs_features for term in self.terms)

    @property
    def is_adversarial(self) -> bool:
        """Whether a discriminator is trained; without the term `adversarial` there is none."""
        return "adversarial" in self.names

    def with_terms(self, new_terms: Mapping[str, Term]) -> "Recipe":
        """Returns the recipe with some terms replaced or added; a weight of 0 leaves a term out.

        Args:
            new_terms: name -> term.

        Raises:
            BadInputError: all weights are 0.
        """
        terms = ({term.name: term for term in self.terms} | dict(new_terms)).values()
        weighted = tuple(term for term in terms if term.weight or term.name not in new_terms)
        return build(Recipe, {"terms": weighted or tuple(terms)})

    def __str__(self) -> str:
        return " + ".join(
            term.name if term.weight == 1 else f"{term.weight:g} {term.name}" for term in self.terms
        )


class Configuration(FrozenModel):
    """One of the configurations that a study compares: loss recipe, output and optimiser settings.

    Attributes:
        recipe: the loss of the generator. Without the term `adversarial` there is no discriminator.
        lr_g: learning rate of the generator.
        lr_d: learning rate of the discriminator.
        beta1: decay rate of the first moment, of both optimisers.
        beta2: decay rate of the second moment, of both optimisers.
        optimizer: the optimiser of both networks: `adam`, or `adamw`, whose weight decay does not
            pass through the moments (Loshchilov and Hutter 2019).
        weight_decay: with `adamw`, each step also multiplies all weights by 1 - learning rate x
            `weight_decay`. It must be 0 with `adam`.
        schedule: how both learning rates fall: `linear`, as the budget's `decay` says; or `cosine`,
            along half a cosine wave over all steps of the run, to `final_lr` at the last step.
            `cosine` ignores `decay`. If epochs are added to a run, the rates of the further steps
            are those of the new number of steps.
        warmup_steps: number of steps at the start of the run during which both learning rates rise
            linearly. A run with fewer steps ends before its rates are reached.
        final_lr: with `cosine`, the learning rates at the last step, as a share of `lr_g` and
            `lr_d`. It has no effect with `linear`, where it must be 0.02, the default.
        output: a key of `options.outputs.OUTPUTS`; `budget`: the output of the budget.
        n_colours: colours of the palette of the output `palette`.
        regions: whether the pixels of a region of the line art share an estimate; for `palette`.
        source_features: the pretrained network that reads the source for the generator, or `none`.
        decoding: how a picture is read from a distribution over the palette, as in
            `options.decodings`; for `palette`.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    recipe: Recipe
    lr_g: Rate
    lr_d: Rate
    beta1: Beta
    beta2: Beta
    optimizer: OptimizerName = "adam"
    weight_decay: Share = 0.0
    schedule: ScheduleName = "linear"
    warmup_steps: Annotated[int, Field(ge=0, le=10**9)] = 0
    final_lr: Share = DEFAULT_FINAL_LR

    output: OutputName | Literal["budget"] = "budget"
    n_colours: Annotated[int, Field(ge=2, le=256)] = 32
    regions: bool = False
    source_features: SourceFeatures = "none"
    decoding: str = "mean"

    @model_validator(mode="after")
    def _weight_decay_has_an_effect(self) -> Self:
        if self.weight_decay and self.optimizer != "adamw":
            raise ValueError(
                f"weight_decay={self.weight_decay:g} needs optimizer=adamw, not "
                f"{self.optimizer}; set optimizer=adamw or weight_decay=0"
            )
        return self

    @model_validator(mode="after")
    def _final_lr_has_an_effect(self) -> Self:
        if self.final_lr != DEFAULT_FINAL_LR and self.schedule != "cosine":
            raise ValueError(
                f"final_lr={self.final_lr:g} needs schedule=cosine, not {self.schedule}; set "
                f"schedule=cosine or final_lr={DEFAULT_FINAL_LR:g}"
            )
        return self

    @field_validator("decoding")
    @classmethod
    def _decoding_can_be_parsed(cls, text: str) -> str:
        return str(parse_decoding(text))

    @model_validator(mode="after")
    def _palette_settings_have_a_palette(self) -> Self:
        if self.has_palette:
            if self.parsed_decoding.is_steered and self.source_features == "none":
                raise ValueError(
                    f"decoding={self.decoding} needs source_features=efficientnet_lite0, which "
                    "estimates the colours of the whole drawing; remove +steer"
                )
            missing = {name for name, term in LOSS_TERMS.items() if term.needs == "theme"}
            if self.source_features == "none" and (unusable := missing & set(self.recipe.names)):
                raise ValueError(
                    f"the term {min(unusable)} needs source_features=efficientnet_lite0, which "
                    "estimates the colours of the whole drawing"
                )
            return self
        if self.regions:
            raise ValueError("regions=true needs output=palette")
        for term in self.recipe.terms:
            if LOSS_TERMS[term.name].needs in ("palette", "theme"):
                raise ValueError(f"the term {term.name} needs output=palette")
        return self

    @property
    def has_palette(self) -> bool:
        """Whether the output is a distribution over the colours of a palette."""
        return self.output != "budget" and OUTPUTS[self.output].has_palette

    @property
    def uses_regions(self) -> bool:
        """Whether the generator needs the regions of the line art in training."""
        return self.has_palette and (self.regions or self.source_features != "none")

    @property
    def parsed_decoding(self) -> Decoding:
        """How a picture is read from a distribution over the palette."""
        return parse_decoding(self.decoding)

    def with_decoding(self, text: str) -> Self:
        """Returns the configuration with another decoding, which needs no other training.

        Raises:
            BadInputError: the output has no palette, the text is no decoding, or the generator
                cannot compute it.
        """
        if not self.has_palette:
            raise BadInputError(
                f"The configuration {self.name} has no palette, so it cannot be decoded as "
                f"{text[:60]!r}; only configurations with output=palette have a decoding."
            )
        return change(self, {"decoding": text})

    def output_at(self, budget: "Budget") -> Output:
        """Returns the output of the configuration's generator at a budget."""
        return OUTPUTS[budget.output if self.output == "budget" else self.output]


class Budget(FrozenModel):
    """The budget of a run: networks, duration and number of pairs.

    Attributes:
        px: side of the square pictures, a multiple of 32.
        base_channels: channels of the first layer of both networks.
        generator: `unet` or `resnet18_unet`.
        output: the output of generators whose configuration names none: `rgb`, `line_fill`, which
            is multiplied by the lightness of the sketch, or `lab_ab`, the two colour channels of
            CIE Lab, which are combined with the lightness of the grey source.
        discriminator: `conditional` (input: source and picture) or `unconditional` (input: only the
            picture).
        norm: `batch` (with running statistics in evaluation mode) or `instance`.
        upconv_init: the initial weights of the generator's transposed convolutions and of the
            discriminator's convolutions with stride 2: `normal`, `equal`, `resize` or `bilinear`
            (`architectures.init_upconv`).
        epochs: number of passes over all training pairs.
        batch: pictures per step; an incomplete last batch is left out.
        jitter: largest shift of a training picture, in pixels; drawn for each picture and epoch.
        pretrain: number of epochs at the start that train the generator alone, with the L1 loss.
        decay: share of the epochs, at the end, during which both learning rates fall linearly
            towards 0. Configurations with `schedule=cosine` ignore it.
        ema: half-life of the generator's moving average, in training pictures; 0 turns it off.
        evaluations: number of checkpoints that are evaluated on the validation split, at evenly
            spaced epochs up to the last. If it is 1, the last checkpoint is used as the best
            without an evaluation.
        choose_by: the metric by which the best of the evaluated checkpoints is chosen.
        n_train: largest number of training pairs; None: all.
        n_val: largest number of validation pairs; None: all.
        n_test: largest number of test pairs; None: all.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    px: Annotated[int, Field(ge=32, le=1024)]
    base_channels: Annotated[int, Field(ge=1, le=512)]
    generator: Literal["unet", "resnet18_unet"] = "unet"
    output: Literal["rgb", "lab_ab", "line_fill"] = "rgb"
    discriminator: Literal["conditional", "unconditional"] = "conditional"
    norm: Literal["batch", "instance"] = "batch"
    upconv_init: UpconvInit = "normal"
    epochs: Annotated[int, Field(ge=1, le=100_000)]
    batch: Annotated[int, Field(ge=1, le=4096)]
    jitter: Annotated[int, Field(ge=0, le=256)] = 0
    pretrain: Annotated[int, Field(ge=0, le=100_000)] = 0
    decay: Share = 0.0
    ema: Annotated[float, Field(ge=0)] | Auto = "auto"
    evaluations: Annotated[int, Field(ge=1, le=1000)] = 1
    choose_by: SelectionMetric = "kd_lite2"
    n_train: Count | None = None
    n_val: Count | None = None
    n_test: Count | None = None

    @field_validator("px")
    @classmethod
    def _px_is_multiple_of_32(cls, px: int) -> int:
        if px % 32:
            below, above = px // 32 * 32, px // 32 * 32 + 32
            raise ValueError(
                f"px must be a multiple of 32, not {px}: the U-Net halves the picture at every "
                f"level. The nearest are {below} and {above}"
            )
        return px

    @model_validator(mode="after")
    def _norm_has_two_values(self) -> Self:
        if self.has_encoder and self.px == 32 and self.batch == 1:
            raise ValueError(
                "batch must be at least 2 at px 32: the deepest map of the ResNet-18 encoder has "
                "one value per picture, and a norm needs at least two"
            )
        return self

    @model_validator(mode="after")
    def _adversarial_epochs_remain(self) -> Self:
        if self.pretrain >= self.epochs:
            raise ValueError(
                f"pretrain must be less than epochs ({self.epochs}), not {self.pretrain}: the "
                "remaining epochs train both networks"
            )
        return self

    @property
    def has_encoder(self) -> bool:
        """Whether the generator has a ResNet-18 encoder, which can be pretrained."""
        return self.generator == "resnet18_unet"

    @property
    def evaluated_epochs(self) -> tuple[int, ...]:
        """The epochs after which the checkpoint is evaluated, without pretraining epochs."""
        n_adversarial = self.epochs - self.pretrain
        count = min(self.evaluations, n_adversarial)
        return tuple(
            self.pretrain - (-n_adversarial * number // count) for number in range(1, count + 1)
        )

    @property
    def levels(self) -> int:
        """The number of U-Net levels, at most 8. Each level halves an even side (192 px: 6)."""
        side, count = self.px, 0
        while side % 2 == 0 and count < MAX_UNET_LEVELS:
            side, count = side // 2, count + 1
        return count

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels of the U-Net at each level, outermost first."""
        return tuple(self.base_channels * min(2**level, 8) for level in range(self.levels))


class Execution(FrozenModel):
    """Settings that decide how a machine trains a run, not what is trained.

    `auto` settings are resolved before the run trains, and the resolved values are stored.

    Attributes:
        device: `cuda`, `mps` or `cpu`.
        precision: `bf16` (autocast, float32 weights) or `fp32`.
        threads: CPU threads.
        channels_last: whether pictures and weights are in the channels_last memory format.
        compile: whether torch.compile compiles both networks for training.
        graph: whether a training step is captured as a CUDA graph and replayed.
        keep_maps: whether the feature maps of all targets are computed once and cached, for the
            perceptual term.
        record_every: n, if the losses of every n-th step are recorded.
        perceptual_features: the pretrained network of the perceptual term.
        encoder_weights: the initial weights of a ResNet-18 encoder.
        keep_every: n, if the checkpoint of every n-th epoch is kept besides the newest and the
            best; 0: only those two are kept.
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
    """Returns the kind of the generator's input: `sketch`, or `grey` for photographs.

    Args:
        data: the text of the data source, as in `--data`.
    """
    return "grey" if data.startswith("photos:") else "sketch"


class RunConfig(FrozenModel):
    """All settings of a run: data, configuration, budget, execution and seed."""

    data: str
    configuration: Configuration
    budget: Budget
    execution: Execution = Execution()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def decoding(self) -> Decoding | None:
        """How the run's pictures are read from its palette; None without a palette."""
        configuration = self.configuration
        return configuration.parsed_decoding if configuration.has_palette else None

    def with_decoding(self, text: str) -> Self:
        """Returns the settings with another decoding.

        Raises:
            BadInputError: see `Configuration.with_decoding`.
        """
        return self.model_copy(update={"configuration": self.configuration.with_decoding(text)})

    @property
    def label(self) -> str:
        """The run's name in lists: configuration and seed."""
        return f"{self.configuration.name}, seed {self.seed}"


def explain(error: ValidationError) -> str:
    """Returns the first error of a validation as one sentence with field or key, and reason."""
    first = error.errors()[0]
    location, message = first["loc"], first["msg"].removeprefix("Value error, ")
    fields = [part for part in location if isinstance(part, str)]
    # For a union, pydantic appends the name of the failed type to the location.
    if fields and not fields[-1].isidentifier():
        fields = fields[:-1]
    field = fields[-1] if fields else str(location[-1]) if location else "the configuration"
    if message.startswith(field) or first["type"] == "value_error":
        return f"{message}."
    if first["type"] == "extra_forbidden":
        return f"Unknown key {location[-1]!r}."
    message = message[:1].lower() + message[1:]
    return f"{field} cannot be {str(first['input'])[:60]!r}: {message}."


def build(model: type[ModelT], values: Mapping[str, Any]) -> ModelT:
    """Builds a settings object.

    Raises:
        BadInputError: a value is invalid; the message is one sentence.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise BadInputError(explain(error)) from error


def change(settings: ModelT, changes: Mapping[str, Any]) -> ModelT:
    """Returns the settings with some fields changed and all fields validated again.

    Raises:
        BadInputError: a value is invalid.
    """
    return build(type(settings), {**settings.model_dump(), **changes}) if changes else settings
