"""Every metric's label, unit, direction and digits, said once. Torch-free."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["up", "down", "none"]
Kind = Literal["training", "quality", "cost"]


@dataclass(frozen=True)
class Metric:
    """How a metric is shown and read.

    Attributes:
        better: `up`, `down`, or `none` where more is neither good nor bad.
        digits: decimals shown.
        kind: `training` (a curve), `quality` (compared) or `cost` (shown beside, never ranked).
        about: one sentence for a tooltip.
    """

    name: str
    label: str
    unit: str
    better: Direction
    digits: int
    kind: Kind
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


# fmt: off
_ROWS: tuple[tuple[str, str, str, Direction, int, Kind, str], ...] = (
    # name                  label                      unit    better digits kind
    ("psnr",               "PSNR",                     "dB",   "up",    2, "quality",  "Peak signal-to-noise ratio per picture, averaged."),
    ("ssim",               "SSIM",                     "",     "up",    3, "quality",  "Structural similarity per picture (Wang et al. 2004), averaged."),
    ("mse",                "MSE",                      "",     "down",  4, "quality",  "Mean squared error of values in [0, 1]."),
    ("mae",                "MAE",                      "",     "down",  4, "quality",  "Mean absolute error of values in [0, 1]."),
    ("fid",                "FID",                      "",     "down",  1, "quality",  "Frechet distance of Inception features; needs many pictures."),
    ("kid",                "KID",                      "",     "down",  4, "quality",  "Kernel distance of Inception features, unbiased."),
    ("fd_lite2",           "Frechet (Lite2)",          "",     "down",  1, "quality",  "Frechet distance of EfficientNet-Lite2 features; its scale is not FID's."),
    ("kd_lite2",           "Kernel (Lite2)",           "",     "down",  4, "quality",  "Kernel distance of EfficientNet-Lite2 features, unbiased: near 0 at best."),
    ("g_loss",             "Generator loss",           "",     "down",  3, "training", "The recipe's weighted sum; recipes differ, so do their sums."),
    ("d_loss",             "Discriminator loss",       "",     "none",  3, "training", "0.69 is a coin toss, 0 a discriminator that always knows."),
    ("adversarial",        "Adversarial",              "",     "none",  3, "training", "How little the discriminator is fooled."),
    ("l1",                 "L1",                       "",     "down",  4, "training", "Mean absolute error in [-1, 1]."),
    ("perceptual",         "Perceptual",               "",     "down",  4, "training", "Distance of feature maps."),
    ("total_variation",    "Total variation",          "",     "none",  4, "training", "Mean absolute difference of neighbours."),
    ("val_g_loss",         "Validation loss",          "",     "down",  3, "training", "The recipe's weighted sum on the validation split."),
    ("val_psnr",           "Validation PSNR",          "dB",   "up",    2, "training", "Chooses the checkpoint."),
    ("images_per_second",  "Speed",                    "pictures/s", "up", 0, "cost",  "Training pictures per second."),
    ("epoch_seconds",      "Epoch",                    "s",    "down",  1, "cost",     "Training time of an epoch."),
    ("peak_memory_mb",     "Peak memory",              "MB",   "down",  0, "cost",     "The most memory so far: the GPU's, or the process's on a CPU."),
    ("lr_g",               "Generator rate",           "",     "none",  6, "training", "The generator's learning rate."),
    ("lr_d",               "Discriminator rate",       "",     "none",  6, "training", "The discriminator's learning rate."),
)
# fmt: on

CATALOG: dict[str, Metric] = {row[0]: Metric(*row) for row in _ROWS}
QUALITY = tuple(name for name, metric in CATALOG.items() if metric.kind == "quality")
CURVES = tuple(name for name, metric in CATALOG.items() if metric.kind != "quality")
