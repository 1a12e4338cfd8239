"""Converts between sRGB, linear light and CIE Lab, and measures colourfulness.

Functions accept NumPy arrays and torch tensors and return the same type. This module does not
import torch. Pictures have the shape [N, 3, H, W] and are sRGB in [0, 1].
"""

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

ArrayT = TypeVar("ArrayT", NDArray[np.floating[Any]], "Tensor")

_D65_WHITE = (0.95047, 1.0, 1.08883)  # CIE XYZ of the white point, for the 2 degree observer
LUMINANCE_WEIGHTS = (0.212671, 0.715160, 0.072169)  # of linear red, green and blue
GREY_COLORFULNESS = 2.0  # of grey pictures at most; JPEG adds a little colour to grey
# Linear sRGB to CIE XYZ (IEC 61966-2-1), each row divided by the white point; and the inverse.
_RGB_TO_XYZ = (
    (0.412453 / _D65_WHITE[0], 0.357580 / _D65_WHITE[0], 0.180423 / _D65_WHITE[0]),
    LUMINANCE_WEIGHTS,
    (0.019334 / _D65_WHITE[2], 0.119193 / _D65_WHITE[2], 0.950227 / _D65_WHITE[2]),
)
_XYZ_TO_RGB = np.linalg.inv(np.array(_RGB_TO_XYZ)).tolist()
# Below these values, sRGB (IEC 61966-2-1) and CIE Lab (CIE 15:2004) are linear.
_SRGB_THRESHOLD, _LINEAR_THRESHOLD = 0.04045, 0.0031308
_LAB_THRESHOLD, _LAB_F_THRESHOLD = 0.008856, 0.2068966


def srgb_to_lab(pictures: ArrayT) -> tuple[ArrayT, ArrayT, ArrayT]:
    """Converts sRGB to CIE Lab under D65 (CIE 15:2004, equations 8.3 to 8.8).

    Returns:
        Lightness in [0, 100], a and b in about [-110, 110]; each [N, H, W].
    """
    linear = srgb_to_linear(pictures)
    red, green, blue = linear[:, 0], linear[:, 1], linear[:, 2]
    x, y, z = (_lab_f(r * red + g * green + b * blue) for r, g, b in _RGB_TO_XYZ)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def lab_to_linear(lightness: ArrayT, a: ArrayT, b: ArrayT) -> tuple[ArrayT, ArrayT, ArrayT]:
    """Converts CIE Lab under D65 to linear red, green and blue.

    Followed by `linear_to_srgb`, this is the inverse of `srgb_to_lab`. Colours outside the sRGB
    gamut give values outside [0, 1].
    """
    f_y = (lightness + 16) / 116
    x, y, z = (_inverse_lab_f(value) for value in (f_y + a / 500, f_y, f_y - b / 200))
    red, green, blue = (
        from_x * x + from_y * y + from_z * z for from_x, from_y, from_z in _XYZ_TO_RGB
    )
    return red, green, blue


def lightness(luminance: ArrayT) -> ArrayT:
    """Converts luminance in [0, 1] to CIE lightness in [0, 100]."""
    return 116 * _lab_f(luminance) - 16


def fit_to_gamut(
    colours: tuple[ArrayT, ArrayT, ArrayT], luminance: ArrayT
) -> tuple[ArrayT, ArrayT, ArrayT]:
    """Maps linear RGB into the sRGB gamut by desaturating at constant luminance.

    Each colour moves towards the grey of its luminance, in linear light, until all its channels
    are in [0, 1]. (Clipping the channels would change the luminance.)

    Args:
        colours: linear red, green and blue.
        luminance: the luminance of the colours in [0, 1], with the shape of each channel.
    """
    whole = 0 * luminance + 1
    share = whole  # of the distance from grey to the colour that stays inside the gamut
    for channel in colours:
        distance = channel - luminance
        room = _where(distance > 0, 1 - luminance, -luminance)
        is_outside = abs(distance) > abs(room)
        # The inner `_where` avoids a division by zero where the channel is inside the gamut.
        channel_share = _where(is_outside, room / _where(is_outside, distance, whole), whole)
        share = _where(channel_share < share, channel_share, share)
    red, green, blue = (luminance + (channel - luminance) * share for channel in colours)
    return red, green, blue


def srgb_to_linear(values: ArrayT) -> ArrayT:
    """Converts sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    # The power is used only above the threshold; clipping keeps the base of the power positive.
    power = ((values.clip(min=_SRGB_THRESHOLD) + 0.055) / 1.055) ** 2.4
    return _where(values > _SRGB_THRESHOLD, power, values / 12.92)


def linear_to_srgb(linear: ArrayT) -> ArrayT:
    """Converts linear light in [0, 1] to sRGB; the inverse of `srgb_to_linear`."""
    power = 1.055 * linear.clip(min=_LINEAR_THRESHOLD) ** (1 / 2.4) - 0.055
    return _where(linear > _LINEAR_THRESHOLD, power, 12.92 * linear)


def _lab_f(ratio: ArrayT) -> ArrayT:
    """Applies the function f of CIE 15:2004 to X, Y or Z, divided by the white point."""
    root = ratio.clip(min=_LAB_THRESHOLD) ** (1 / 3)
    return _where(ratio > _LAB_THRESHOLD, root, 7.787 * ratio + 16 / 116)


def _inverse_lab_f(value: ArrayT) -> ArrayT:
    return _where(value > _LAB_F_THRESHOLD, value**3, (value - 16 / 116) / 7.787)


def _where(condition: Any, values: ArrayT, others: ArrayT) -> ArrayT:  # noqa: ANN401
    """Returns `values` where the condition is true, else `others`."""
    if isinstance(values, np.ndarray):
        return np.where(condition, values, others)
    return values.where(condition, others)


_STEPS = 2**16  # levels of luminance, finer than the difference of two neighbouring bytes
# `LUMINANCE_TABLE` maps the byte of a channel to the channel's share of the luminance.
# `GREY_TABLE` maps the sum of the three shares to the byte of the grey.
LUMINANCE_TABLE = np.stack(
    [weight * (_STEPS - 1) * srgb_to_linear(np.arange(256) / 255) for weight in LUMINANCE_WEIGHTS]
).astype(np.int32)
GREY_TABLE = (255 * linear_to_srgb((np.arange(_STEPS) + 1) / _STEPS)).round().astype(np.uint8)


def grey_of_equal_lightness(
    red: NDArray[np.uint8], green: NDArray[np.uint8], blue: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Converts sRGB bytes to the byte of the grey with the same CIE lightness.

    Integer tables (`LUMINANCE_TABLE`, `GREY_TABLE`) make the result identical on every machine.
    """
    channels = enumerate((red, green, blue))
    luminance = sum(LUMINANCE_TABLE[index].take(values, mode="clip") for index, values in channels)
    grey: NDArray[np.uint8] = GREY_TABLE.take(luminance, mode="clip")
    return grey


def colorfulness(pictures: ArrayT) -> ArrayT:
    """Computes the colourfulness [N] of pictures, for pixel values on a scale of 0 to 255.

    The colourfulness is 0 for grey and about 50 for a colourful photograph (Hasler and Suesstrunk
    2003, section 6).
    """
    red, green, blue = (255 * pictures[:, channel] for channel in range(3))
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    squared_means, variances = 0 * red[:, 0, 0], 0 * red[:, 0, 0]
    for opponent in (red_green, yellow_blue):
        mean = opponent.mean((1, 2))
        squared_means = squared_means + mean**2
        variances = variances + ((opponent - mean[:, None, None]) ** 2).mean((1, 2))
    return variances**0.5 + 0.3 * squared_means**0.5
