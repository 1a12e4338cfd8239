"""Detects line art, and extracts line art from other pictures. Loads no torch.

Line art is dark ink on light paper. The paper is the background, the ink is the lines.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from engine.images import color
from engine.serve.compositing import Picture

DETECTION_PX = 160
MIN_PAPER_SHARE = 0.45
MIN_INK_SHARE = 0.6
MIN_PAPER_LIGHTNESS, MAX_INK_LIGHTNESS, MAX_INK_CHROMA = 73.0, 60.0, 14.0
PAPER_LIGHTNESS_RANGE = 8.0

MAX_EXTRACTED_PX = 1024
# Difference of Gaussians with a soft threshold (XDoG, Winnemoeller et al. 2012). Unlike XDoG, the
# picture's own tone is not added: dark areas become paper, as in line art.
SIGMA_RATIO, DOG_THRESHOLD, DOG_STEEPNESS = 1.6, 0.012, 60.0
MIN_SIGMA_PX = 0.55


def is_line_art(picture: Picture) -> bool:
    """Returns whether a picture consists of dark lines on light paper, almost without colours."""
    image = Image.fromarray(picture)
    image.thumbnail((DETECTION_PX, DETECTION_PX), Image.Resampling.BOX)
    small = np.asarray(image, dtype=np.float64).transpose(2, 0, 1)[None] / 255
    lightness, a, b = (plane[0] for plane in color.srgb_to_lab(small))
    is_grey = np.hypot(a, b) < MAX_INK_CHROMA

    # Paper may be tinted: a pixel is paper if it is about as light as the lightest tenth.
    paper_lightness = np.percentile(lightness, 90)
    is_paper = is_grey & (lightness > paper_lightness - PAPER_LIGHTNESS_RANGE)
    if paper_lightness < MIN_PAPER_LIGHTNESS or is_paper.mean() < MIN_PAPER_SHARE:
        return False
    non_paper = ~is_paper
    if not non_paper.any():
        return True

    # A line that is thinner than a pixel of the thumbnail is grey, so an edge counts as ink too.
    is_line_pixel = (lightness < MAX_INK_LIGHTNESS) | (_darker_than_surroundings(lightness) > 0)
    n_ink = (non_paper & is_grey & is_line_pixel).sum()
    return bool(n_ink >= MIN_INK_SHARE * non_paper.sum()) and bool(
        non_paper.mean() < 1 - MIN_PAPER_SHARE
    )


def _darker_than_surroundings(lightness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns positive values at lines, which are darker than the pixels around them.

    Inside a large dark area the values are not positive.
    """
    difference: NDArray[np.float64] = gaussian_filter(lightness, 3) - lightness - 2.0
    return difference


def extract_lines(picture: Picture, px: int) -> Picture:
    """Extracts line art, dark on white, [h, w, 3]; no side is longer than `MAX_EXTRACTED_PX`.

    Args:
        picture: a picture in colours or grey.
        px: side of the model's square. The lines become about as wide as in line art of this size.
    """
    image = Image.fromarray(picture)
    image.thumbnail((MAX_EXTRACTED_PX, MAX_EXTRACTED_PX), Image.Resampling.LANCZOS)
    small = np.asarray(image)
    grey = color.grey_of_equal_lightness(*(small[..., channel] for channel in range(3))) / 255.0
    sigma = max(MIN_SIGMA_PX * max(small.shape[:2]) / px, MIN_SIGMA_PX)
    difference = gaussian_filter(grey, SIGMA_RATIO * sigma) - gaussian_filter(grey, sigma)
    lines = 1 - np.tanh(DOG_STEEPNESS * (difference - DOG_THRESHOLD).clip(0))
    extracted: Picture = np.repeat((255 * lines).round().astype(np.uint8)[..., None], 3, axis=-1)
    return extracted
