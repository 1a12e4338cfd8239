"""Separates line art into ink and fill: a picture is its fill multiplied by the ink of the source.

The ink is the lightness of the source in [0, 1], 1 for paper and 0 for black lines. The fill is the
colour under the lines.
"""

from torch import Tensor

# The fill of a target is the target divided by the ink, but at least by this value.
MIN_INK = 0.2


def ink_of(source: Tensor) -> Tensor:
    """Returns the ink of sources: [N, 3, H, W] in [-1, 1] -> [N, H, W] in [0, 1]."""
    return (source.mean(1) + 1) / 2


def apply_ink(fill: Tensor, ink: Tensor) -> Tensor:
    """Multiplies a fill by the ink.

    Args:
        fill: [N, H, W, 3] in [0, 1].
        ink: [N, H, W] in [0, 1].

    Returns:
        Pictures [N, 3, H, W] in [-1, 1].
    """
    return (fill * ink[..., None]).permute(0, 3, 1, 2) * 2 - 1


def fill_of(target: Tensor, source: Tensor) -> Tensor:
    """Returns the fill of targets, [N, 3, H, W] in [0, 1]; under black lines it is not exact.

    Args:
        target: [N, 3, H, W] in [-1, 1].
        source: [N, 3, H, W] in [-1, 1].
    """
    ink = ink_of(source).clamp(min=MIN_INK)[:, None]
    return ((target + 1) / 2 / ink).clamp(0, 1)
