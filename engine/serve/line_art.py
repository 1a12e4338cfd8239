"""Is a picture line art or not, and line art out of what is not. Torch-free."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from engine.images import color
from engine.serve.compositing import Picture

GLANCE = 160  # pixels: the longer side at which a picture is looked at
PAPER_SHARE, INK_SHARE = 0.45, 0.6  # of all pixels; of those that are not paper
PAPER_LIGHTNESS, INK_LIGHTNESS, INK_CHROMA = 88.0, 60.0, 14.0

EXTRACTED = 1024  # pixels: the longer side of extracted line art, at most
# Difference of Gaussians with a soft threshold (Winnemoeller et al. 2012, "XDoG", with no share of
# the tone itself: dark areas stay paper, as in line art).
WIDER, THRESHOLD, STEEPNESS = 1.6, 0.012, 60.0
LINE_PX = 0.55  # the narrower Gaussian's sigma, in pixels of the model


def is_line_art(picture: Picture) -> bool:
    """Whether a picture is drawn in dark lines on light paper, without colours."""
    image = Image.fromarray(picture)
    image.thumbnail((GLANCE, GLANCE), Image.Resampling.BOX)
    small = np.asarray(image, dtype=np.float64).transpose(2, 0, 1)[None] / 255
    lightness, a, b = (it[0] for it in color.lab(small))
    chroma = np.hypot(a, b)
    # Tinted paper is paper: what counts is the difference from the commonest tone.
    paper_lightness = np.percentile(lightness, 90)
    paper = (lightness > paper_lightness - 8) & (chroma < INK_CHROMA)
    rest = ~paper
    if paper_lightness < PAPER_LIGHTNESS - 15 or paper.mean() < PAPER_SHARE:
        return False
    if not rest.any():
        return True
    # Where a line is thinner than a pixel of the glance it is grey: so not darkness alone counts.
    ink = rest & (chroma < INK_CHROMA)
    thin = _edges(lightness) > 0
    return bool((ink & ((lightness < INK_LIGHTNESS) | thin)).sum() >= INK_SHARE * rest.sum()) and (
        bool(rest.mean() < 1 - PAPER_SHARE)
    )


def _edges(lightness: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positive where a pixel is darker than its surroundings: lines, not faces of shade."""
    darker: NDArray[np.float64] = gaussian_filter(lightness, 3) - lightness - 2.0
    return darker


def extract_lines(picture: Picture, px: int) -> Picture:
    """Line art of a picture, dark on white, [h, w, 3], at most 1,024 pixels wide and high.

    Args:
        picture: in colours or grey.
        px: side of the model's pictures: lines become about as wide as a model of that size draws.
    """
    image = Image.fromarray(picture)
    image.thumbnail((EXTRACTED, EXTRACTED), Image.Resampling.LANCZOS)
    small = np.asarray(image)
    grey = color.grey_of_equal_lightness(*(small[..., channel] for channel in range(3))) / 255.0
    sigma = max(LINE_PX * max(small.shape[:2]) / px, LINE_PX)
    darker = gaussian_filter(grey, WIDER * sigma) - gaussian_filter(grey, sigma)
    lines = 1 - np.tanh(STEEPNESS * (darker - THRESHOLD).clip(0))
    made: Picture = np.repeat((255 * lines).round().astype(np.uint8)[..., None], 3, axis=-1)
    return made
