"""Colour of pictures: CIE Lab, colourfulness, histograms of hue. Arrays and tensors alike.

Functions take pictures [N, 3, H, W] in [0, 1] (sRGB) as numpy or torch and answer in the same
kind; arithmetic alone is used, so that nothing here needs torch.
"""

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

ArrayT = TypeVar("ArrayT", NDArray[np.float64], NDArray[np.float32], "Tensor")

_WHITE = (0.95047, 1.0, 1.08883)  # D65 seen by the 2 degree observer
LUMINANCE_WEIGHTS = (0.212671, 0.715160, 0.072169)  # of linear red, green and blue
# Linear sRGB to CIE XYZ (IEC 61966-2-1), each row divided by the white, and back.
_TO_XYZ = (
    (0.412453 / _WHITE[0], 0.357580 / _WHITE[0], 0.180423 / _WHITE[0]),
    LUMINANCE_WEIGHTS,
    (0.019334 / _WHITE[2], 0.119193 / _WHITE[2], 0.950227 / _WHITE[2]),
)
_FROM_XYZ = np.linalg.inv(np.array(_TO_XYZ)).tolist()


def lab(pictures: ArrayT) -> tuple[ArrayT, ArrayT, ArrayT]:
    """CIE Lab under D65: lightness in [0, 100], a and b about [-110, 110]; each [N, H, W].

    CIE 15:2004, equations 8.3 to 8.8.
    """
    linear = decode(pictures)
    red, green, blue = linear[:, 0], linear[:, 1], linear[:, 2]
    x, y, z = (_response(r * red + g * green + b * blue) for r, g, b in _TO_XYZ)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def linear_rgb(lightness: ArrayT, a: ArrayT, b: ArrayT) -> tuple[ArrayT, ArrayT, ArrayT]:
    """CIE Lab under D65 -> linear red, green and blue; with `encode`, the inverse of `lab`.

    Colours that no screen shows come out beyond [0, 1].
    """
    y = (lightness + 16) / 116
    x, y, z = _ratio(y + a / 500), _ratio(y), _ratio(y - b / 200)
    red, green, blue = (
        from_x * x + from_y * y + from_z * z for from_x, from_y, from_z in _FROM_XYZ
    )
    return red, green, blue


def lightness(luminance: ArrayT) -> ArrayT:
    """Luminance in [0, 1] -> CIE lightness in [0, 100]."""
    return 116 * _response(luminance) - 16


def pale(
    colours: tuple[ArrayT, ArrayT, ArrayT], luminance: ArrayT
) -> tuple[ArrayT, ArrayT, ArrayT]:
    """Linear colours that no screen shows, paled until one does; luminance stays what it is.

    Each goes towards the grey of its luminance, in linear light, until its last channel is in
    [0, 1]. (Clipping would change luminance.)

    Args:
        colours: linear red, green and blue, of that luminance.
        luminance: in [0, 1], likewise shaped.
    """
    share = 0 * luminance + 1.0  # of the way from grey to the colour
    for channel in colours:
        away = channel - luminance
        room = (away > 0) * 1.0 - luminance
        is_beyond = abs(away) > abs(room)
        reach = (room * is_beyond + ~is_beyond) / (away * is_beyond + ~is_beyond)
        share = share * (reach >= share) + reach * (reach < share)
    red, green, blue = (luminance + (channel - luminance) * share for channel in colours)
    return red, green, blue


def decode(values: ArrayT) -> ArrayT:
    """From sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    above = values > 0.04045
    lifted = (values * above + 0.055 + (1 - 0.055) * ~above) / 1.055  # 1 where it is not used
    return lifted**2.4 * above + values / 12.92 * ~above


def encode(linear: ArrayT) -> ArrayT:
    """From linear light in [0, 1] to sRGB; `decode`'s inverse."""
    above = linear > 0.0031308
    lifted = linear * above + ~above * 1.0
    return (1.055 * lifted ** (1 / 2.4) - 0.055) * above + 12.92 * linear * ~above


def _response(ratio: ArrayT) -> ArrayT:
    above = ratio > 0.008856
    return (ratio * above + ~above * 1.0) ** (1 / 3) * above + (7.787 * ratio + 16 / 116) * ~above


def _ratio(response: ArrayT) -> ArrayT:
    above = response > 0.2068966
    return response**3 * above + (response - 16 / 116) / 7.787 * ~above


_STEPS = 2**16  # of luminance, finer than any byte
# Of each channel's byte: its share of luminance; their sum -> the byte of grey.
LUMINANCE = np.stack(
    [(weight * (_STEPS - 1) * decode(np.arange(256) / 255)) for weight in _TO_XYZ[1]]
).astype(np.int32)
GREY = (255 * encode((np.arange(_STEPS) + 1) / _STEPS)).round().astype(np.uint8)


def grey_of_equal_lightness(
    red: NDArray[np.uint8], green: NDArray[np.uint8], blue: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Bytes of sRGB -> the grey with the same CIE lightness, likewise.

    By tables of integers: the same on every machine (`LUMINANCE`, `GREY`).
    """
    parts = (LUMINANCE[at].take(it, mode="clip") for at, it in enumerate((red, green, blue)))
    grey: NDArray[np.uint8] = GREY.take(sum(parts), mode="clip")
    return grey


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
