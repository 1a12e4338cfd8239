"""Every metric's label, unit, direction, digits and range, said once. Torch-free."""

import math
from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down", "none"]
Group = Literal["distance", "pixel", "colour", "adversary", "cost", "training"]

GROUPS: dict[Group, str] = {
    "distance": "Distances between sets",
    "pixel": "Pixels, picture by picture",
    "colour": "Colour",
    "adversary": "Discriminator and diversity",
    "cost": "Cost (not ranked)",
    "training": "Training",
}


@dataclass(frozen=True)
class Metric:
    """How a metric is shown and read.

    Attributes:
        group: which metrics it stands beside; `training` are curves, `cost` is never ranked.
        better: `up`, `down`, or `none` where more is neither good nor bad.
        digits: decimals shown.
        lowest, highest: outside of these a value is impossible and is never stored.
        network: the weights that it is defined by, as `weights.CATALOG` names them; "" for none.
        about: one sentence for a tooltip.
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
    about: str

    @property
    def arrow(self) -> str:
        """Which way is better, as a sign."""
        return {"up": "↑", "down": "↓", "none": ""}[self.better]

    @property
    def heading(self) -> str:
        """Label, unit and arrow, as a column's head."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.label}{unit} {self.arrow}".strip()

    def format(self, value: float | None) -> str:
        """The value with its digits; a dash where there is none."""
        return "—" if value is None else f"{value:,.{self.digits}f}"

    def format_difference(self, value: float, *beside: float) -> str:
        """A difference with its sign, and digits enough to tell it from 0 and those beside it."""
        shown = {abs(it) for it in (value, *beside) if it}
        digits = self.digits
        while digits < self.digits + 2:
            rounded = {round(it, digits) for it in shown}
            if 0 not in rounded and len(rounded) == len(shown):
                break
            digits += 1
        return f"{value:+,.{digits}f}".replace("-", MINUS)

    def allows(self, value: float) -> bool:
        """Whether the value can be one of this metric."""
        return math.isfinite(value) and self.lowest <= value <= self.highest


MINUS = "\N{MINUS SIGN}"
INF, LITE2 = math.inf, "efficientnet_lite2"

# fmt: off
_ROWS: tuple[tuple[str, str, str, Direction, int, Group, float, float, str, str], ...] = (
    # name                         label                    unit           better digits group       range        network
    ("fid",                       "FID",                    "",            "down", 1, "distance",   0, INF,      "inception", "Fréchet distance of Inception features; biased upward from few pictures."),
    ("kid",                       "KID",                    "",            "down", 4, "distance",  -INF, INF,    "inception", "Kernel distance of Inception features, unbiased: about 0 at best."),
    ("fd_lite2",                  "Fréchet (Lite2)",        "",            "down", 1, "distance",   0, INF,      LITE2, "Fréchet distance of EfficientNet-Lite2 features; its scale is not FID's."),
    ("kd_lite2",                  "Kernel (Lite2)",         "",            "down", 4, "distance",  -INF, INF,    LITE2, "Kernel distance of EfficientNet-Lite2 features, unbiased: about 0 at best."),
    ("is_mean",                   "Inception Score",        "",            "up",   2, "distance",   1 - 1e-9, INF, "inception", "How sure and how varied Inception's classes of the fakes are; knows no target."),
    ("is_std",                    "IS spread",              "",            "none", 2, "distance",   0, INF,      "inception", "Standard deviation of the Inception Score over its splits."),
    ("psnr",                      "PSNR",                   "dB",          "up",   2, "pixel",     -INF, INF,    "", "Peak signal-to-noise ratio per picture, averaged."),
    ("ssim",                      "SSIM",                   "",            "up",   3, "pixel",     -1.001, 1.001,        "", "Structural similarity per picture (Wang et al. 2004), averaged."),
    ("mse",                       "MSE",                    "",            "down", 4, "pixel",      0, 1,        "", "Mean squared error of values in [0, 1]."),
    ("mae",                       "MAE",                    "",            "down", 4, "pixel",      0, 1,        "", "Mean absolute error of values in [0, 1]."),
    ("delta_e",                   "ΔE",                     "",            "down", 1, "colour",     0, INF,      "", "Mean colour difference in CIE Lab (CIE76); 2.3 is just seen."),
    ("colorfulness",              "Colourfulness",          "",            "none", 1, "colour",     0, INF,      "", "Hasler and Suesstrunk's measure, 0 for grey; good when it is the target's."),
    ("colorfulness_gap",          "Colourfulness gap",      "",            "down", 1, "colour",     0, INF,      "", "How far each picture's colourfulness is from its target's, averaged."),
    ("ab_divergence",             "Colour divergence",      "",            "down", 3, "colour",     0, 1,        "", "Jensen-Shannon divergence of the Lab a/b histograms of fakes and targets: 0 the same colours, 1 none in common."),
    ("diversity",                 "Diversity",              "",            "none", 2, "adversary",  0, INF,      "", "Mean distance of two fakes over that of their targets: 1 as varied as the targets, near 0 collapsed."),
    ("d_real_accuracy",           "D accuracy on targets",  "",            "none", 2, "adversary",  0, 1,        "", "Share of the targets' patches that the discriminator takes for true."),
    ("d_fake_accuracy",           "D accuracy on fakes",    "",            "none", 2, "adversary",  0, 1,        "", "Share of the fakes' patches that the discriminator sees through."),
    ("d_accuracy",                "D accuracy overall",     "",            "none", 2, "adversary",  0, 1,        "", "Mean of both; 0.5 is a coin toss."),
    ("images_per_second",         "Training speed",         "pictures/s",  "up",   0, "cost",       0, INF,      "", "Training pictures per second, the median over epochs."),
    ("training_seconds",          "Training time",          "s",           "down", 1, "cost",       0, INF,      "", "Time in training steps, all epochs."),
    ("epoch_seconds",             "Time per epoch",         "s",           "down", 1, "cost",       0, INF,      "", "Training time of an epoch, the median."),
    ("peak_memory_mb",            "Training memory",        "MB",          "down", 0, "cost",       0, INF,      "", "The most memory while training: the GPU's; on a CPU the whole process's, judging included."),
    ("inference_ms",              "Inference",              "ms",          "down", 1, "cost",       0, INF,      "", "One picture through the generator, the median of warmed-up repeats."),
    ("inference_images_per_second", "Inference speed",      "pictures/s",  "up",   0, "cost",       0, INF,      "", "Pictures per second through the generator in batches of 16."),
    ("inference_memory_mb",       "Inference memory",       "MB",          "down", 0, "cost",       0, INF,      "", "The most GPU memory while one picture is made."),
    ("g_loss",                    "Generator loss",         "",            "down", 3, "training",  -INF, INF,    "", "The recipe's weighted sum; recipes differ, so do their sums."),
    ("d_loss",                    "Discriminator loss",     "",            "none", 3, "training",   0, INF,      "", "0.69 is a coin toss, 0 a discriminator that always knows."),
    ("adversarial",               "Adversarial",            "",            "none", 3, "training",   0, INF,      "", "How little the discriminator is fooled."),
    ("l1",                        "L1",                     "",            "down", 4, "training",   0, INF,      "", "Mean absolute error in [-1, 1]."),
    ("perceptual",                "Perceptual",             "",            "down", 4, "training",   0, INF,      "", "Distance of feature maps."),
    ("total_variation",           "Total variation",        "",            "none", 4, "training",   0, INF,      "", "Mean absolute difference of neighbours."),
    ("val_g_loss",                "Validation loss",        "",            "down", 3, "training",  -INF, INF,    "", "The recipe's weighted sum on the validation split."),
    ("val_psnr",                  "Validation PSNR",        "dB",          "up",   2, "training",  -INF, INF,    "", "PSNR on the validation split, each epoch."),
    ("d_train_accuracy",          "D while training",       "",            "none", 2, "training",   0, 1,        "", "Share of patches the discriminator judges rightly in a training step."),
    ("g_grad_norm",               "Generator gradient",     "",            "none", 3, "training",   0, INF,      "", "Norm of the generator's gradient."),
    ("d_grad_norm",               "Discriminator gradient", "",            "none", 3, "training",   0, INF,      "", "Norm of the discriminator's gradient."),
    ("lr_g",                      "Generator rate",         "",            "none", 6, "training",   0, INF,      "", "The generator's learning rate."),
    ("lr_d",                      "Discriminator rate",     "",            "none", 6, "training",   0, INF,      "", "The discriminator's learning rate."),
)
# fmt: on

CATALOG: dict[str, Metric] = {row[0]: Metric(*row) for row in _ROWS}


def members(*groups: Group) -> tuple[str, ...]:
    """The names of the metrics of some groups, in the catalog's order."""
    return tuple(name for name, metric in CATALOG.items() if metric.group in groups)


QUALITY = members("distance", "pixel", "colour")
COSTS = members("cost")
COMPARED = members("distance", "pixel", "colour", "adversary", "cost")
# What a run records while it trains, and so what may be drawn as a curve.
CURVES = (*members("training"), "images_per_second", "epoch_seconds", "peak_memory_mb")
