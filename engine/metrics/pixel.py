"""Metrics of one picture, most against its target: [N, 3, H, W] in [0, 1], each -> [N], float64.

Computed on the device the pictures are on. Pictures with values outside [0, 1] are refused: a
picture in 0..255, or divided by 255 twice, must not become a number.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from engine.errors import RefusedMetricError
from engine.images import color

WINDOW, SIGMA = 11, 1.5  # of SSIM
PSNR_CEILING = 54.15  # dB: half a grey level off everywhere; what is nearer is as good as equal
SLACK = 1e-6  # how far outside [0, 1] rounding may bring a value


def mse(fake: Tensor, target: Tensor) -> Tensor:
    """Mean squared error per picture, 0 at best."""
    return _each(_mean_square, fake, target)


def mae(fake: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error per picture, 0 at best."""
    return _each(lambda x, y: _mean((x - y).abs_()), fake, target)


def psnr(fake: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per picture in dB, for a peak of 1; infinite at perfection."""
    return -10 * torch.log10(mse(fake, target))


def capped_psnr(fake: Tensor, target: Tensor) -> Tensor:
    """The same, at most `PSNR_CEILING`: means of it are finite, and a perfect picture counts."""
    return psnr(fake, target).clamp(max=PSNR_CEILING)


def ssim(fake: Tensor, target: Tensor) -> Tensor:
    """Structural similarity per picture, 1 at best (Wang et al. 2004, equation 13).

    11x11 Gaussian window of sigma 1.5, K = (0.01, 0.03), population covariance, borders cropped,
    mean over positions and channels. Pictures must be at least 11 px on each side.
    """
    if min(fake.shape[2:], default=0) < WINDOW:
        raise RefusedMetricError(
            f"pictures of {tuple(fake.shape[2:])} px are smaller than SSIM's {WINDOW} px window"
        )
    return _each(lambda x, y: _similarity(x.double(), y.double()), fake, target)


def delta_e(fake: Tensor, target: Tensor) -> Tensor:
    """Mean colour difference per picture in CIE Lab, 0 at best; 2.3 is just seen (CIE76)."""
    return _each(_colour_difference, fake, target)


def colorfulness(pictures: Tensor) -> Tensor:
    """How colourful each picture is: 0 for grey (Hasler and Suesstrunk 2003)."""
    return _each(lambda x: color.colorfulness(x.double()), pictures)


def colorfulness_gap(fake: Tensor, target: Tensor) -> Tensor:
    """How far each picture's colourfulness is from its target's, 0 at best."""
    return (colorfulness(fake) - colorfulness(target)).abs()


def _each(measure: Callable[..., Tensor], *pictures: Tensor) -> Tensor:
    """A measure of checked pictures -> [N].

    On a CPU one picture at a time stays in the caches, which is up to five times as fast; a
    device without float64 (mps) hands over to it.
    """
    for it in pictures:
        if it.ndim != 4 or it.shape[1] != 3 or it.shape != pictures[0].shape:
            shapes = " and ".join(str(tuple(each.shape)) for each in pictures)
            raise RefusedMetricError(f"pictures must be [N, 3, H, W] and alike, not {shapes}")
        if not it.is_floating_point():
            raise RefusedMetricError(f"pictures must be floats in [0, 1], not {it.dtype}")
    if pictures[0].device.type == "mps":
        pictures = tuple(it.cpu() for it in pictures)
    size = 1 if pictures[0].device.type == "cpu" else max(1, len(pictures[0]))
    pieces = zip(*(torch.split(it, size) for it in pictures), strict=True)
    found = [measure(*(_in_range(piece) for piece in alike)) for alike in pieces]
    return torch.cat(found)


def _in_range(pictures: Tensor) -> Tensor:
    """The pictures, refused when a value is outside [0, 1] or not a number."""
    if pictures.numel():
        low, high = (float(value) for value in pictures.aminmax())
        if not (low >= -SLACK and high <= 1 + SLACK):
            raise RefusedMetricError(
                f"values must be in [0, 1]; these reach from {low:.4g} to {high:.4g}"
            )
    return pictures


def _mean_square(x: Tensor, y: Tensor) -> Tensor:
    error = x - y
    rows: Tensor = torch.linalg.vecdot(
        error, error
    )  # [N, 3, H], short sums in the pictures' precision
    return rows.sum((1, 2), dtype=torch.float64) / error.shape[1:].numel()


def _mean(values: Tensor) -> Tensor:
    return values.mean(-1).mean((1, 2), dtype=torch.float64)


def _colour_difference(x: Tensor, y: Tensor) -> Tensor:
    pairs = zip(color.lab(x.double()), color.lab(y.double()), strict=True)
    squares = torch.stack([(one - other).square_() for one, other in pairs])
    return squares.sum(0).sqrt_().mean((1, 2))


def _similarity(x: Tensor, y: Tensor) -> Tensor:
    mean_x, mean_y = _blur(x), _blur(y)
    squared_x, squared_y, product = mean_x * mean_x, mean_y * mean_y, mean_x * mean_y
    covariance = _blur(x * y).sub_(product)
    variances = _blur(x * x).sub_(squared_x).add_(_blur(y * y)).sub_(squared_y)
    c1, c2 = 0.01**2, 0.03**2
    luminance = product.mul_(2).add_(c1).div_(squared_x.add_(squared_y).add_(c1))
    structure = covariance.mul_(2).add_(c2).div_(variances.add_(c2))
    return luminance.mul_(structure).flatten(1).mean(1)


def _blur(pictures: Tensor) -> Tensor:
    """Gaussian means, borders cropped: shifted sums, one axis after the other."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    bell = torch.exp(-offsets.square() / (2 * SIGMA**2))
    weights = (bell / bell.sum()).tolist()
    for axis in (2, 3):
        inner = pictures.shape[axis] - WINDOW + 1
        blurred = pictures.narrow(axis, 0, inner) * weights[0]
        for shift in range(1, WINDOW):
            blurred.add_(pictures.narrow(axis, shift, inner), alpha=weights[shift])
        pictures = blurred
    return pictures
