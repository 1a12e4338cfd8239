"""Computes metrics of single images: [N, 3, H, W] in [0, 1] -> [N] float64.

Most metrics compare an image with its target. The metrics are computed on the device of the
images, except that images on mps are moved to the CPU. Images with values outside [0, 1] are
refused, because an image in 0..255 or [-1, 1] would result in a wrong number.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from engine.errors import RefusedMetricError
from engine.images import color

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
# The PSNR of an image that differs by half a grey level everywhere; more similar images count as
# equal to the target.
PSNR_CEILING_DB = 54.15
# A place of 5x5 px is flat if no channel varies by more than 2 grey levels, and white if all of its
# values are at least 250.
FLAT_PX, FLAT_RANGE, WHITE = 5, 2 / 255, 250 / 255
ROUNDING_TOLERANCE = 1e-6  # values up to this far outside [0, 1] are accepted


def mse(fake: Tensor, target: Tensor) -> Tensor:
    """Computes the mean squared error per image, 0 at best."""
    return _per_image(_mean_square, fake, target)


def mae(fake: Tensor, target: Tensor) -> Tensor:
    """Computes the mean absolute error per image, 0 at best."""
    return _per_image(lambda x, y: _mean_per_image((x - y).abs_()), fake, target)


def psnr(fake: Tensor, target: Tensor) -> Tensor:
    """Computes the peak signal-to-noise ratio per image in dB (peak 1); infinite if equal."""
    return -10 * torch.log10(mse(fake, target))


def capped_psnr(fake: Tensor, target: Tensor) -> Tensor:
    """Computes `psnr`, but at most `PSNR_CEILING_DB`, so that a mean over images is finite."""
    return psnr(fake, target).clamp(max=PSNR_CEILING_DB)


def ssim(fake: Tensor, target: Tensor) -> Tensor:
    """Computes the structural similarity per image, 1 at best (Wang et al. 2004, equation 13).

    The parameters are an 11x11 Gaussian window of sigma 1.5, K = (0.01, 0.03), population
    covariance, cropped borders, and the mean over positions and channels.

    Raises:
        RefusedMetricError: an image is smaller than 11 px on a side.
    """
    _require_side(fake, SSIM_WINDOW, "window of SSIM")
    return _per_image(lambda x, y: _ssim_of(x.double(), y.double()), fake, target)


def delta_e(fake: Tensor, target: Tensor) -> Tensor:
    """Computes the mean CIE76 colour difference per image, 0 at best; 2.3 is just noticeable."""
    return _per_image(_colour_difference, fake, target)


def colorfulness(images: Tensor) -> Tensor:
    """Computes the colourfulness of each image, 0 for grey (Hasler and Suesstrunk 2003)."""
    return _per_image(lambda x: color.colorfulness(x.double()), images)


def colorfulness_gap(fake: Tensor, target: Tensor) -> Tensor:
    """Computes the absolute difference in colourfulness of image and target, 0 at best."""
    return (colorfulness(fake) - colorfulness(target)).abs()


def weave(fake: Tensor, target: Tensor) -> Tensor:
    """Computes how strongly each image is woven where its target is flat, in grey levels.

    The weave of a pixel is its distance from the mean of its 3x3 neighbours with the binomial
    weights (1, 2, 1) x (1, 2, 1) / 16. This mean is blind to the Nyquist frequencies: a
    checkerboard that alternates by plus and minus A, and stripes of one pixel that do, have a weave
    of A. An even colour and a linear gradient have a weave of 0, whatever the colour. The weave is
    averaged over the channels and over all pixels whose 5x5 neighbours are flat in the target: the
    blurred border of a line does not count. White places are left out, so that the value does not
    depend on the size of the background.

    Returns:
        [N] float64 in [0, 255], 0 at best; NaN if the target has no flat place.

    Raises:
        RefusedMetricError: an image is smaller than 5 px on a side.
    """
    _require_side(fake, FLAT_PX, "places of the weave")
    return _per_image(_weave_of, fake, target)


def _per_image(measure: Callable[..., Tensor], *image_sets: Tensor) -> Tensor:
    """Applies a measure to sets of images of equal shape [N, 3, H, W] -> [N].

    On a CPU the images are measured one at a time, which is up to five times as fast, because one
    image fits the caches. Images on a device without float64 (mps) are measured on the CPU.

    Raises:
        RefusedMetricError: wrong or different shapes, no floats, or values outside [0, 1].
    """
    first = image_sets[0]
    for images in image_sets:
        if images.ndim != 4 or images.shape[1] != 3 or images.shape != first.shape:
            shapes = " and ".join(str(tuple(each.shape)) for each in image_sets)
            raise RefusedMetricError(f"pictures must be [N, 3, H, W] of equal shape, not {shapes}")
        if not images.is_floating_point():
            raise RefusedMetricError(f"pictures must be floats in [0, 1], not {images.dtype}")
    if first.device.type == "mps":
        image_sets = tuple(images.cpu() for images in image_sets)
    size = 1 if image_sets[0].device.type == "cpu" else max(1, len(first))
    batches = zip(*(torch.split(images, size) for images in image_sets), strict=True)
    return torch.cat([measure(*map(_require_unit_range, batch)) for batch in batches])


def _require_side(images: Tensor, px: int, purpose: str) -> None:
    if min(images.shape[2:], default=0) < px:
        raise RefusedMetricError(
            f"pictures of {tuple(images.shape[2:])} px are smaller than the {px} px {purpose}"
        )


def _require_unit_range(images: Tensor) -> Tensor:
    """Returns the images, or refuses them if a value is outside [0, 1] or not a number."""
    if images.numel():
        low, high = (float(value) for value in images.aminmax())
        if not (low >= -ROUNDING_TOLERANCE and high <= 1 + ROUNDING_TOLERANCE):
            raise RefusedMetricError(
                f"values must be in [0, 1]; these reach from {low:.4g} to {high:.4g}"
            )
    return images


def _mean_square(x: Tensor, y: Tensor) -> Tensor:
    error = x - y
    # Sums over single rows [N, 3, H] have few terms, so the dtype of the images is precise enough.
    rows: Tensor = torch.linalg.vecdot(error, error)
    return rows.sum((1, 2), dtype=torch.float64) / error.shape[1:].numel()


def _mean_per_image(values: Tensor) -> Tensor:
    return values.mean(-1).mean((1, 2), dtype=torch.float64)


def _colour_difference(x: Tensor, y: Tensor) -> Tensor:
    channels = zip(color.srgb_to_lab(x.double()), color.srgb_to_lab(y.double()), strict=True)
    squares = torch.stack([(one - other).square_() for one, other in channels])
    return squares.sum(0).sqrt_().mean((1, 2))


def _weave_of(x: Tensor, y: Tensor) -> Tensor:
    # Places of 5x5 px, [N, H - 4, W - 4].
    highest, lowest = functional.max_pool2d(y, FLAT_PX, 1), -functional.max_pool2d(-y, FLAT_PX, 1)
    is_flat = (highest - lowest <= FLAT_RANGE + ROUNDING_TOLERANCE).all(1)
    is_flat &= (lowest < WHITE - ROUNDING_TOLERANCE).any(1)

    # Distances of their centres from the means of 3x3 neighbours.
    margin = FLAT_PX // 2
    means = x[:, :, margin - 1 : 1 - margin, margin - 1 : 1 - margin].double()
    for axis in (2, 3):
        inner = means.shape[axis] - 2
        before, centre, after = (means.narrow(axis, start, inner) for start in range(3))
        means = (before + 2 * centre + after) / 4
    distances = (x[:, :, margin:-margin, margin:-margin] - means).abs_().mean(1)

    # The mean distance of each image in grey levels.
    total, count = (distances * is_flat).sum((1, 2)), is_flat.sum((1, 2))
    return torch.where(count > 0, 255 * total / count.clamp(min=1), math.nan)


def _ssim_of(x: Tensor, y: Tensor) -> Tensor:
    mean_x, mean_y = _blur(x), _blur(y)
    squared_x, squared_y, product = mean_x * mean_x, mean_y * mean_y, mean_x * mean_y
    covariance = _blur(x * y).sub_(product)
    variances = _blur(x * x).sub_(squared_x).add_(_blur(y * y)).sub_(squared_y)
    c1, c2 = 0.01**2, 0.03**2
    luminance = product.mul_(2).add_(c1).div_(squared_x.add_(squared_y).add_(c1))
    structure = covariance.mul_(2).add_(c2).div_(variances.add_(c2))
    return luminance.mul_(structure).flatten(1).mean(1)


def _blur(images: Tensor) -> Tensor:
    """Computes Gaussian-weighted means with cropped borders, by adding shifted images per axis."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    bell = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    weights = (bell / bell.sum()).tolist()
    for axis in (2, 3):
        inner = images.shape[axis] - SSIM_WINDOW + 1
        blurred = images.narrow(axis, 0, inner) * weights[0]
        for shift in range(1, SSIM_WINDOW):
            blurred.add_(images.narrow(axis, shift, inner), alpha=weights[shift])
        images = blurred
    return images
