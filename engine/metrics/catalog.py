"""Defines label, unit, direction, digits, range and uses of every metric. Torch-free."""

import math
from dataclasses import dataclass
from typing import Literal

from engine.options.loss_terms import LOSS_TERMS

Direction = Literal["up", "down", "none"]
Group = Literal["distance", "pixel", "colour", "adversary", "cost", "training"]
Use = Literal["kernel", "leader", "default", "figure", "finding", "ranking", "image", "epoch"]

GROUP_TITLES: dict[Group, str] = {
    "distance": "Distances between sets",
    "pixel": "Pixels, picture by picture",
    "colour": "Colour",
    "adversary": "Discriminator and diversity",
    "cost": "Cost (not ranked)",
    "training": "Training",
}


@dataclass(frozen=True)
class Metric:
    """The display, range and uses of a metric.

    Attributes:
        label: the name that users read.
        unit: the unit that users read; "" for none.
        better: `up`, `down`, or `none` if neither direction is better.
        digits: the number of displayed decimals.
        group: the table that shows the metric; `training` metrics are curves, `cost` metrics are
            never ranked.
        lowest, highest: the possible range; a value outside of it is never stored.
        network: the key in `weights.CATALOG` of the weights that define the metric; "" for none.
        uses: the metric's uses (see `Use`), separated by spaces; see the constants below.
        description: one sentence for a tooltip.
    """

    name: str
    label: str
    unit: str
    better: Direction
    digits: int
    group: Group
    lowest: float
    highest: float
    network: str
    uses: str
    description: str

    @property
    def arrow(self) -> str:
        """The arrow of the better direction; "" if neither direction is better."""
        return {"up": "↑", "down": "↓", "none": ""}[self.better]

    @property
    def heading(self) -> str:
        """Label, unit and arrow, for the head of a table column."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.label}{unit} {self.arrow}".strip()

    def format(self, value: float | None) -> str:
        """Formats a value with the metric's digits, or a missing value as a dash."""
        return "—" if value is None else f"{value:,.{self.digits}f}"

    def format_difference(self, value: float, *neighbours: float) -> str:
        """Formats a difference with its sign.

        The neighbours are the numbers displayed beside the difference. Up to two digits are added,
        so that none of the numbers is rounded to 0 and different magnitudes stay different.
        """
        magnitudes = {abs(number) for number in (value, *neighbours) if number}
        digits = self.digits
        while digits < self.digits + 2:
            rounded = {round(magnitude, digits) for magnitude in magnitudes}
            if 0 not in rounded and len(rounded) == len(magnitudes):
                break
            digits += 1
        return f"{value:+,.{digits}f}".replace("-", MINUS)

    def allows(self, value: float) -> bool:
        """Returns whether the value is finite and in the metric's range."""
        return math.isfinite(value) and self.lowest <= value <= self.highest


MINUS = "\N{MINUS SIGN}"
INF, LITE2 = math.inf, "efficientnet_lite2"

# fmt: off
_ROWS: tuple[tuple[str, str, str, Direction, int, Group, float, float, str, str, str], ...] = (
    # name                         label                    unit           better digits group       range                network      uses                                               description
    ("fid",                       "FID",                    "",            "down", 1, "distance",   0, INF,              "inception", "",                                                "Fréchet distance between Inception features; biased upward if there are few pictures."),
    ("kid",                       "KID",                    "",            "down", 4, "distance",  -INF, INF,            "inception", "kernel leader default figure",                    "Unbiased kernel distance between Inception features; about 0 at best."),
    ("fd_lite2",                  "Fréchet (Lite2)",        "",            "down", 1, "distance",   0, INF,              LITE2,       "",                                                "Fréchet distance between EfficientNet-Lite2 features; not on the scale of FID."),
    ("kd_lite2",                  "Kernel (Lite2)",         "",            "down", 4, "distance",  -INF, INF,            LITE2,       "kernel leader default figure",                    "Unbiased kernel distance between EfficientNet-Lite2 features; about 0 at best."),
    ("is_mean",                   "Inception Score",        "",            "up",   2, "distance",   1 - 1e-9, INF,       "inception", "",                                                "Confidence and variety of the classes that Inception predicts for the fakes; ignores the targets."),
    ("is_std",                    "IS spread",              "",            "none", 2, "distance",   0, INF,              "inception", "",                                                "Standard deviation of the Inception Score over its splits."),
    ("psnr",                      "PSNR",                   "dB",          "up",   2, "pixel",     -INF, INF,            "",          "leader default figure finding ranking image",     "Peak signal-to-noise ratio per picture, averaged."),
    ("ssim",                      "SSIM",                   "",            "up",   3, "pixel",     -1.001, 1.001,        "",          "figure finding ranking image",                    "Structural similarity per picture (Wang et al. 2004), averaged."),
    ("mse",                       "MSE",                    "",            "down", 4, "pixel",      0, 1,                "",          "image",                                           "Mean squared error of values in [0, 1]."),
    ("mae",                       "MAE",                    "",            "down", 4, "pixel",      0, 1,                "",          "image",                                           "Mean absolute error of values in [0, 1]."),
    ("weave",                     "Weave",                  "grey levels", "down", 2, "pixel",      0, 255,              "",          "image",                                           "Mean difference between a pixel and the smooth mean of its neighbours where the target is flat: the amplitude of a checkerboard or of stripes; 0 for even colours."),
    ("delta_e",                   "ΔE",                     "",            "down", 1, "colour",     0, INF,              "",          "figure finding ranking image",                    "Mean colour difference in CIE Lab (CIE76); 2.3 is just noticeable."),
    ("colorfulness",              "Colourfulness",          "",            "none", 1, "colour",     0, INF,              "",          "figure",                                          "Colourfulness by Hasler and Suesstrunk: 0 for grey; best if it equals that of the targets."),
    ("colorfulness_gap",          "Colourfulness gap",      "",            "down", 1, "colour",     0, INF,              "",          "ranking image",                                   "Absolute difference in colourfulness between a fake and its target, averaged."),
    ("ab_divergence",             "Colour divergence",      "",            "down", 3, "colour",     0, 1,                "",          "default figure finding ranking",                  "Jensen-Shannon divergence of the Lab a/b histograms of fakes and targets: 0 for equal colours, 1 for no common colour."),
    ("diversity",                 "Diversity",              "",            "none", 2, "adversary",  0, INF,              "",          "",                                                "Mean distance between two fakes, divided by that between two targets: 1 for equal variety, near 0 for collapse."),
    ("d_real_accuracy",           "D accuracy on targets",  "",            "none", 2, "adversary",  0, 1,                "",          "",                                                "Share of the targets' patches that the discriminator classifies as real."),
    ("d_fake_accuracy",           "D accuracy on fakes",    "",            "none", 2, "adversary",  0, 1,                "",          "",                                                "Share of the fakes' patches that the discriminator classifies as fake."),
    ("d_accuracy",                "D accuracy overall",     "",            "none", 2, "adversary",  0, 1,                "",          "",                                                "Mean of both accuracies; 0.5 is chance."),
    ("images_per_second",         "Training speed",         "pictures/s",  "up",   0, "cost",       0, INF,              "",          "epoch",                                           "Training pictures per second, the median over epochs."),
    ("training_seconds",          "Training time",          "s",           "down", 1, "cost",       0, INF,              "",          "",                                                "Time in training steps, the sum over epochs."),
    ("epoch_seconds",             "Time per epoch",         "s",           "down", 1, "cost",       0, INF,              "",          "epoch",                                           "Training time of an epoch, the median over epochs."),
    ("peak_memory_mb",            "Training memory",        "MB",          "down", 0, "cost",       0, INF,              "",          "epoch",                                           "Peak memory of a training run: that of the GPU; on a CPU that of the whole process, evaluation included."),
    ("inference_ms",              "Inference",              "ms",          "down", 1, "cost",       0, INF,              "",          "",                                                "Time of one picture through the generator, the median of repeats after a warm-up."),
    ("inference_images_per_second", "Inference speed",      "pictures/s",  "up",   0, "cost",       0, INF,              "",          "",                                                "Pictures per second through the generator, in batches of 16."),
    ("inference_memory_mb",       "Inference memory",       "MB",          "down", 0, "cost",       0, INF,              "",          "",                                                "Peak GPU memory while the generator computes one picture."),
    ("g_loss",                    "Generator loss",         "",            "down", 3, "training",  -INF, INF,            "",          "",                                                "Weighted sum of the recipe's terms; sums of different recipes do not compare."),
    ("d_loss",                    "Discriminator loss",     "",            "none", 3, "training",   0, INF,              "",          "",                                                "0.69 for a discriminator at chance, 0 for one that is always right and sure."),
    *((term.name, term.title, "", term.better, term.digits, "training", 0, INF, "", "", term.help) for term in LOSS_TERMS.values()),
    ("val_g_loss",                "Validation loss",        "",            "down", 3, "training",  -INF, INF,            "",          "",                                                "Weighted sum of the recipe's terms on the validation split."),
    ("val_psnr",                  "Validation PSNR",        "dB",          "up",   2, "training",  -INF, INF,            "",          "",                                                "PSNR on the validation split after each epoch."),
    ("d_train_accuracy",          "D while training",       "",            "none", 2, "training",   0, 1,                "",          "",                                                "Share of the patches of a training step that the discriminator classifies correctly."),
    ("g_grad_norm",               "Generator gradient",     "",            "none", 3, "training",   0, INF,              "",          "",                                                "Norm of the generator's gradient."),
    ("d_grad_norm",               "Discriminator gradient", "",            "none", 3, "training",   0, INF,              "",          "",                                                "Norm of the discriminator's gradient."),
    ("lr_g",                      "Generator rate",         "",            "none", 6, "training",   0, INF,              "",          "",                                                "Learning rate of the generator."),
    ("lr_d",                      "Discriminator rate",     "",            "none", 6, "training",   0, INF,              "",          "",                                                "Learning rate of the discriminator."),
)
# fmt: on

CATALOG: dict[str, Metric] = {row[0]: Metric(*row) for row in _ROWS}


def metrics_in(*groups: Group) -> tuple[str, ...]:
    """Returns the names of the metrics of some groups, in the catalog's order."""
    return tuple(name for name, metric in CATALOG.items() if metric.group in groups)


def metrics_for(use: Use) -> tuple[str, ...]:
    """Returns the names of the metrics with a use, in the catalog's order."""
    return tuple(name for name, metric in CATALOG.items() if use in metric.uses.split())


# The metrics of a finished run, by group.
QUALITY_METRICS = metrics_in("distance", "pixel", "colour")
COST_METRICS = metrics_in("cost")
COMPARED_METRICS = metrics_in("distance", "pixel", "colour", "adversary", "cost")
# The cost metrics that training records once an epoch.
EPOCH_COST_METRICS = metrics_for("epoch")
# The metrics that training records, and that can therefore be drawn as curves.
CURVE_METRICS = (*metrics_in("training"), *EPOCH_COST_METRICS)
# The curves that only runs with a discriminator have.
DISCRIMINATOR_CURVES = ("d_loss", "d_train_accuracy", "d_grad_norm", "lr_d")
# The metrics that every single image has, and by which images can be ordered.
PER_IMAGE_METRICS = metrics_for("image")
# The kernel distances. Only one of them counts in findings and rankings.
KERNEL_METRICS = metrics_for("kernel")
# The leading configuration of a study is chosen by the first of these metrics with values.
LEADER_METRICS = metrics_for("leader")
# The metrics whose charts the Compare page shows at first, and those that an export draws.
DEFAULT_METRICS = metrics_for("default")
FIGURE_METRICS = metrics_for("figure")
# The metrics that findings report, and those that rank models; both add one kernel distance.
FINDING_METRICS = metrics_for("finding")
RANKING_METRICS = metrics_for("ranking")
