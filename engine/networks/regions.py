"""Pools features over the regions of line art, and estimates one distribution per region.

Region labels are [N, H, W] int64 in 0 .. `MAX_REGIONS` - 1, of `region_labels.label_regions`. Sums
over regions are computed in float32.
"""

import torch
from torch import Tensor, nn

from engine.images.regions import MAX_REGIONS

N_FIGURES = 7
HIDDEN_CHANNELS = 512
DROPOUT = 0.1
# Pixels under a line count this little in a region's mean, so that no region is without weight.
MIN_WEIGHT = 1e-3


def region_sums(values: Tensor, labels: Tensor) -> Tensor:
    """Sums values over the pixels of each region.

    Args:
        values: [N, H, W, C].
        labels: [N, H, W] region labels.

    Returns:
        [N, MAX_REGIONS, C]; 0 for regions that do not exist.
    """
    n, channels = values.shape[0], values.shape[-1]
    rows = _row_numbers(labels)
    sums = values.new_zeros(n * MAX_REGIONS, channels)
    sums = sums.index_add(0, rows.flatten(), values.flatten(0, 2))
    return sums.view(n, MAX_REGIONS, channels)


def region_means(values: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """Averages values over the pixels of each region.

    Args:
        values: [N, H, W, C].
        weights: [N, H, W], positive.
        labels: [N, H, W] region labels.

    Returns:
        [N, MAX_REGIONS, C]; 0 for regions that do not exist.
    """
    weighted = torch.cat([values * weights[..., None], weights[..., None]], dim=-1)
    sums = region_sums(weighted, labels)
    return sums[..., :-1] / sums[..., -1:].clamp(min=1e-6)


def spread_to_pixels(values: Tensor, labels: Tensor) -> Tensor:
    """Gives each pixel the values of its region: [N, MAX_REGIONS, C] -> [N, H, W, C]."""
    flat: Tensor = values.flatten(0, 1)[_row_numbers(labels).flatten()]
    return flat.view(*labels.shape, values.shape[-1])


def _row_numbers(labels: Tensor) -> Tensor:
    """Numbers the regions of all pictures: [N, H, W] labels -> [N, H, W] rows."""
    offsets = torch.arange(labels.shape[0], device=labels.device) * MAX_REGIONS
    return labels + offsets[:, None, None]


def region_figures(labels: Tensor) -> Tensor:
    """Describes place and size of each region.

    Args:
        labels: [N, H, W] region labels.

    Returns:
        [N, MAX_REGIONS, 7] float32: mean and standard deviation of the vertical and of the
        horizontal position in [-1, 1], share of the region's pixels at the picture's border,
        square root of the region's share of the picture, and log(1 + pixels) / 8.
    """
    n, height, width = labels.shape
    device = labels.device
    down = torch.linspace(-1, 1, height, device=device)[:, None].expand(height, width)
    right = torch.linspace(-1, 1, width, device=device)[None].expand(height, width)
    border = torch.ones(height, width, device=device)
    border[1:-1, 1:-1] = 0
    ones = torch.ones(height, width, device=device)
    planes = torch.stack([down, right, down * down, right * right, border, ones], dim=-1)
    sums = region_sums(planes.expand(n, height, width, 6), labels)
    count = sums[..., 5]
    means = sums[..., :5] / count.clamp(min=1)[..., None]
    down_mean, right_mean, down_square, right_square, border_share = means.unbind(-1)
    down_spread = (down_square - down_mean**2).clamp(min=0).sqrt()
    right_spread = (right_square - right_mean**2).clamp(min=0).sqrt()
    size = (count / (height * width)).sqrt()
    figures = (down_mean, down_spread, right_mean, right_spread, border_share, size)
    return torch.stack([*figures, torch.log1p(count) / 8], dim=-1)


class RegionHead(nn.Module):
    """Estimates logits for each region from its mean features, its figures and the whole drawing.

    Args:
        n_features: channels of the pixel features.
        n_global: values that describe the whole drawing.
        n_colours: colours of the palette.
    """

    def __init__(self, n_features: int, n_global: int, n_colours: int) -> None:
        super().__init__()
        n_inputs = n_features + N_FIGURES + n_global
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, HIDDEN_CHANNELS),
            nn.GELU(),
            nn.Linear(HIDDEN_CHANNELS, HIDDEN_CHANNELS),
            nn.GELU(),
            nn.Dropout(DROPOUT),
        )
        self.logits = nn.Linear(HIDDEN_CHANNELS, n_colours)
        nn.init.normal_(self.logits.weight, 0.0, 0.02)
        nn.init.zeros_(self.logits.bias)

    def forward(self, features: Tensor, ink: Tensor, labels: Tensor, drawing: Tensor) -> Tensor:
        """Estimates the logits of all regions in float32.

        Args:
            features: [N, H, W, C] features of the pixels.
            ink: [N, H, W] lightness of the source in [0, 1].
            labels: [N, H, W] region labels.
            drawing: [N, D] values that describe the whole drawing.

        Returns:
            [N, MAX_REGIONS, K] logits.
        """
        means = region_means(features, ink + MIN_WEIGHT, labels)
        whole = drawing[:, None].expand(-1, MAX_REGIONS, -1)
        inputs = torch.cat([means, region_figures(labels), whole], dim=-1)
        logits: Tensor = self.logits(self.layers(inputs))
        return logits
