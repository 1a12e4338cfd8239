"""Reads colours from distributions over palette colours; pure functions of tensors.

The rules are described in `options.decodings`. A distribution belongs to a pixel or to a region.
"""

import math

import torch
from torch import Tensor

from engine.options.decodings import Decoding

# Sharpness of the choice by the rule `median`: the temperature of its scores.
MEDIAN_TEMPERATURE = 0.05
# The same by the rule `medoid`, and the temperature that sharpens its distribution.
MEDOID_TEMPERATURE, MEDOID_SHARPENING = 0.01, 0.7
# Difference in colourfulness that costs a colour gamma nats of probability (rule `median`), or as
# much as an expected distance of gamma (rule `medoid`).
COLOURFULNESS_SCALE = 40.0
MIN_PROBABILITY = 1e-8
# The quantiles of colourfulness among which a steered decoding chooses.
STEERED_QUANTILES = tuple(round(0.25 + 0.05 * index, 2) for index in range(11))
# Constants of the noise of `sample`. All products of numbers below the prime fit into 64 bits.
PRIME = 2**31 - 1
KEY_FACTOR, POSITION_FACTOR, SEED_FACTOR = 1_103_515_245, 48_271, 69_621


def palette_colourfulness(palette: Tensor) -> Tensor:
    """Returns the distance of each palette colour from grey in Hasler and Suesstrunk's opponents.

    Args:
        palette: [K, 3] in [0, 1].

    Returns:
        [K] for values on a scale of 0 to 255, 0 for grey.
    """
    red, green, blue = (255 * palette).unbind(1)
    return ((red - green).square() + ((red + green) / 2 - blue).square()).sqrt()


def decode_mean(probabilities: Tensor, palette: Tensor) -> Tensor:
    """Returns the mean colours [..., 3] of distributions [..., K]."""
    return probabilities @ palette


def sharpen(probabilities: Tensor, temperature: float) -> Tensor:
    """Divides the logarithms of distributions [..., K] by a temperature and normalises them."""
    return (probabilities.clamp(min=MIN_PROBABILITY).log() / temperature).softmax(-1)


def decode_median(
    probabilities: Tensor, palette: Tensor, gamma: float, quantile: float = 0.5
) -> Tensor:
    """Returns the most probable colours whose colourfulness is near a quantile, [..., 3].

    The score of a colour is its log probability minus gamma times the difference of its
    colourfulness from the quantile of the distribution, divided by `COLOURFULNESS_SCALE`.

    Args:
        probabilities: [..., K].
        palette: [K, 3] in [0, 1].
        gamma: the weight of the colourfulness; 0 gives the most probable colour.
        quantile: the quantile of the colourfulness under the distribution, in (0, 1).
    """
    difference = _colourfulness_difference(probabilities, palette, quantile)
    scores = probabilities.clamp(min=MIN_PROBABILITY).log() - gamma * difference
    return (scores / MEDIAN_TEMPERATURE).softmax(-1) @ palette


def decode_medoid(
    probabilities: Tensor, palette: Tensor, gamma: float, quantile: float = 0.5
) -> Tensor:
    """Returns the colours nearest to a distribution whose colourfulness is near a quantile.

    The cost of a colour is its expected Euclidean distance in RGB from the colours of the
    distribution, plus gamma times U times D. U is the entropy (in nats) of the distribution after
    sharpening by `MEDOID_SHARPENING`. D is the difference of the colour's colourfulness from the
    quantile of the sharpened distribution, divided by `COLOURFULNESS_SCALE`.

    Args:
        probabilities: [..., K].
        palette: [K, 3] in [0, 1].
        gamma: the weight of the colourfulness; 0 gives the medoid.
        quantile: the quantile of the colourfulness under the distribution, in (0, 1).

    Returns:
        [..., 3] in [0, 1].
    """
    distances = (palette[:, None] - palette).square().sum(-1).sqrt()  # [K, K]
    sharpened = sharpen(probabilities, MEDOID_SHARPENING)
    entropy: Tensor = torch.special.entr(sharpened).sum(-1, keepdim=True)
    difference = _colourfulness_difference(sharpened, palette, quantile)
    costs = probabilities @ distances + gamma * entropy * difference
    return (-costs / MEDOID_TEMPERATURE).softmax(-1) @ palette


def _colourfulness_difference(probabilities: Tensor, palette: Tensor, quantile: float) -> Tensor:
    """Computes how far the colourfulness of each colour is from a quantile of a distribution.

    Args:
        probabilities: [..., K].
        palette: [K, 3] in [0, 1].
        quantile: the quantile of the colourfulness under the distribution, in (0, 1).

    Returns:
        [..., K] in units of `COLOURFULNESS_SCALE`.
    """
    colourfulness = palette_colourfulness(palette)
    ascending, order = colourfulness.sort()
    cumulative = probabilities[..., order].cumsum(-1)
    # The first colour in ascending order at which the cumulative probability reaches the quantile.
    n_below = (cumulative < quantile).sum(-1, keepdim=True).clamp(max=len(palette) - 1)
    return (colourfulness - ascending[n_below]).abs() / COLOURFULNESS_SCALE


def decode_sample(probabilities: Tensor, palette: Tensor, noise: Tensor) -> Tensor:
    """Returns random colours [..., 3] of distributions.

    Args:
        probabilities: [..., K], already sharpened.
        palette: [K, 3] in [0, 1].
        noise: standard Gumbel noise of the same shape as the probabilities.
    """
    scores = probabilities.clamp(min=MIN_PROBABILITY).log() + noise
    return palette[scores.argmax(-1)]


def gumbel_noise(shape: tuple[int, ...], seed: int, keys: Tensor) -> Tensor:
    """Returns standard Gumbel noise that depends only on the seed, the key and the position.

    Whole numbers are scrambled by powers modulo a prime, in place of a random generator of torch:
    every device and every exported network computes the same noise, and the noise of a picture does
    not depend on the other pictures of its batch.

    Args:
        shape: the shape [N, ...] of the noise.
        seed: the seed, at least 0.
        keys: [N] int64, one key for each picture, on the device of the noise.
    """
    stream = _scramble(keys.remainder(PRIME) * KEY_FACTOR + SEED_FACTOR * (seed + 1) % PRIME)
    positions = torch.arange(math.prod(shape[1:]), device=keys.device) * POSITION_FACTOR % PRIME
    numbers = _scramble(_scramble(positions[None] + stream[:, None]) + stream[:, None])
    uniform = ((numbers.float() + 0.5) / PRIME).clamp(1e-20, 1 - 1e-7)
    return -(-uniform.log()).log().view(-1, *shape[1:])


def _scramble(numbers: Tensor) -> Tensor:
    """Permutes whole numbers modulo `PRIME`: the fifth power has an inverse there."""
    base = numbers.remainder(PRIME)
    square = base * base % PRIME
    return square * square % PRIME * base % PRIME


def source_keys(source: Tensor) -> Tensor:
    """Returns a number for each source, which other sources hardly ever have.

    Args:
        source: [N, 3, H, W] in [-1, 1]; multiples of 1/255 of this range.

    Returns:
        [N] int64.
    """
    levels = ((source.detach().float() + 1) * 127.5).round().long().flatten(1)
    factors = torch.arange(1, levels.shape[1] + 1, device=source.device) * POSITION_FACTOR % PRIME
    return (levels * factors).sum(1) % PRIME


def decode(
    probabilities: Tensor,
    palette: Tensor,
    decoding: Decoding,
    quantile: float = 0.5,
    keys: Tensor | None = None,
) -> Tensor:
    """Reads a colour from each distribution by the rule of a decoding.

    Args:
        probabilities: [N, ..., K].
        palette: [K, 3] in [0, 1].
        decoding: the rule and its strength.
        quantile: the quantile of the colourfulness, for the rules `median` and `medoid`.
        keys: [N] int64 keys of the noise, for the rule `sample`; None: 0 to N - 1.

    Returns:
        [N, ..., 3] in [0, 1].
    """
    match decoding.rule:
        case "mean":
            return decode_mean(probabilities, palette)
        case "sharp":
            return decode_mean(sharpen(probabilities, decoding.strength), palette)
        case "sample":
            if keys is None:
                keys = torch.arange(len(probabilities), device=probabilities.device)
            noise = gumbel_noise(tuple(probabilities.shape), decoding.seed, keys)
            return decode_sample(sharpen(probabilities, decoding.strength), palette, noise)
        case "medoid":
            return decode_medoid(probabilities, palette, decoding.strength, quantile)
        case _:
            return decode_median(probabilities, palette, decoding.strength, quantile)
