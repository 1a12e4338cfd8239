"""Colour of pictures: CIE Lab, colourfulness, histograms of hue. Arrays and tensors alike.

Every function takes pictures [N, 3, H, W] in [0, 1] (sRGB) as numpy or torch and answers in the
same kind; arithmetic alone is used, so that nothing here needs torch.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

ArrayT = TypeVar("ArrayT", NDArray[np.float64], "Tensor")

# sRGB primaries to CIE XYZ (IEC 61966-2-1), each row divided by the D65 white of the 2 degree
# observer (0.95047, 1, 1.08883).
_TO_XYZ = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)


def lab(pictures: ArrayT) -> tuple[ArrayT, ArrayT, ArrayT]:
    """CIE Lab under D65: lightness in [0, 100], a and b about [-110, 110]; each [N, H, W].

    CIE 15:2004, equations 8.3 to 8.8.
    """
    above = pictures > 0.04045
    lifted = (pictures * above + 0.055 + (1 - 0.055) * ~above) / 1.055  # 1 where it is not used
    linear = lifted**2.4 * above + pictures / 12.92 * ~above
    red, green, blue = linear[:, 0], linear[:, 1], linear[:, 2]
    x, y, z = (_response(r * red + g * green + b * blue) for r, g, b in _TO_XYZ)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _response(ratio: ArrayT) -> ArrayT:
    above = ratio > 0.008856
    return (ratio * above + ~above * 1.0) ** (1 / 3) * above + (7.787 * ratio + 16 / 116) * ~above


def colorfulness(pictures: ArrayT) -> ArrayT:
    """How colourful each picture is, on the scale of 0..255 values -> [N].

    0 for grey; about 50 for a colourful photograph (Hasler and Suesstrunk 2003, section 6).
    """
    red, green, blue = (255 * pictures[:, channel] for channel in range(3))
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    means, spreads = 0 * red[:, 0, 0], 0 * red[:, 0, 0]
    for opponent in (red_green, yellow_blue):
        mean = opponent.mean((1, 2))
        means = means + mean**2
        spreads = spreads + ((opponent - mean[:, None, None]) ** 2).mean((1, 2))
    return spreads**0.5 + 0.3 * means**0.5
