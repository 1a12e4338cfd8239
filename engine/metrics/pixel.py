"""Metrics of one picture against its target: [N, 3, H, W] in [0, 1], each -> [N], float64.

Computed on the device the pictures are on.
"""

import torch
from torch import Tensor
from torch.nn import functional


def mse(fake: Tensor, target: Tensor) -> Tensor:
    """Mean squared error per picture, 0 at best."""
    return (_exact(fake) - _exact(target)).square().flatten(1).mean(1)


def mae(fake: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error per picture, 0 at best."""
    return (_exact(fake) - _exact(target)).abs().flatten(1).mean(1)


def psnr(fake: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per picture in dB, for a peak of 1; infinite at perfection."""
    return -10 * torch.log10(mse(fake, target))


def ssim(fake: Tensor, target: Tensor) -> Tensor:
    """Structural similarity per picture, 1 at best (Wang et al. 2004, equation 13).

    11x11 Gaussian window of sigma 1.5, K = (0.01, 0.03), population covariance, borders cropped,
    mean over positions and channels.
    """
    x, y = _exact(fake), _exact(target)
    window = _gaussian_window(x)
    mean_x, mean_y = _blur(x, window), _blur(y, window)
    var_x = _blur(x * x, window) - mean_x**2
    var_y = _blur(y * y, window) - mean_y**2
    covariance = _blur(x * y, window) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (var_x + var_y + c2)
    return (luminance * structure).flatten(1).mean(1)


def _exact(pictures: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none (mps)."""
    return (pictures.cpu() if pictures.device.type == "mps" else pictures).double()


def _gaussian_window(like: Tensor) -> Tensor:
    offsets = torch.arange(11, dtype=torch.float64, device=like.device) - 5
    window = torch.exp(-offsets.square() / (2 * 1.5**2))
    return window / window.sum()


def _blur(pictures: Tensor, window: Tensor) -> Tensor:
    channels = pictures.shape[1]
    columns = window.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    rows = window.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return functional.conv2d(
        functional.conv2d(pictures, columns, groups=channels), rows, groups=channels
    )
