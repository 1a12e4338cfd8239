import pytest
import torch

from engine.networks import decoding
from engine.options.decodings import Decoding, parse_decoding

# White, red, a dull red, grey.
PALETTE = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.6, 0.4, 0.4], [0.5, 0.5, 0.5]])


def test_a_certain_distribution_gives_its_colour_by_every_rule():
    certain = torch.eye(4).clamp(min=1e-12)

    for rule in ("mean", "sharp:0.1", "median:1", "sample:0.5"):
        colours = decoding.decode(certain, PALETTE, parse_decoding(rule))
        torch.testing.assert_close(colours, PALETTE, atol=1e-3, rtol=0)


def test_temperature_1_gives_the_mean_and_a_low_temperature_the_most_probable_colour():
    probabilities = torch.tensor([0.4, 0.35, 0.15, 0.1])

    at_one = decoding.decode(probabilities, PALETTE, Decoding("sharp", 1.0))
    at_low = decoding.decode(probabilities, PALETTE, Decoding("sharp", 0.01))

    torch.testing.assert_close(at_one, probabilities @ PALETTE)
    torch.testing.assert_close(at_low, PALETTE[0], atol=1e-3, rtol=0)


def test_grey_colours_have_no_colourfulness_and_red_that_of_its_opponents():
    colourfulness = decoding.palette_colourfulness(PALETTE)

    # Red: red - green = 255 and (red + green) / 2 - blue = 127.5.
    expected = [0.0, (255**2 + 127.5**2) ** 0.5, 0.2 * (255**2 + 127.5**2) ** 0.5, 0.0]
    torch.testing.assert_close(colourfulness, torch.tensor(expected), atol=1e-3, rtol=0)


def test_the_median_prefers_a_colour_of_median_colourfulness():
    # Red is most probable, but half of the probability is less colourful than the dull red.
    probabilities = torch.tensor([0.2, 0.4, 0.35, 0.05])

    by_probability = decoding.decode_median(probabilities, PALETTE, gamma=1e-6)
    by_median = decoding.decode_median(probabilities, PALETTE, gamma=4.0)

    torch.testing.assert_close(by_probability, PALETTE[1], atol=0.1, rtol=0)
    torch.testing.assert_close(by_median, PALETTE[2], atol=1e-3, rtol=0)


def test_a_higher_quantile_never_gives_a_less_colourful_answer():
    torch.manual_seed(0)
    probabilities = torch.rand(50, 4).softmax(-1)

    colourfulness = [
        decoding.palette_colourfulness(
            decoding.decode_median(probabilities, PALETTE, 100.0, quantile)
        )
        for quantile in decoding.STEERED_QUANTILES
    ]

    steps = torch.stack(colourfulness).diff(dim=0)
    assert (steps >= -1e-3).all()


def test_samples_follow_the_distribution_and_depend_only_on_the_seed():
    probabilities = torch.tensor([0.5, 0.3, 0.2, 0.0]).expand(20_000, 4)

    samples = decoding.decode(probabilities, PALETTE, Decoding("sample", 1.0, seed=3))
    again = decoding.decode(probabilities, PALETTE, Decoding("sample", 1.0, seed=3))
    other = decoding.decode(probabilities, PALETTE, Decoding("sample", 1.0, seed=4))

    shares = [(samples == colour).all(-1).float().mean().item() for colour in PALETTE]
    assert shares == pytest.approx([0.5, 0.3, 0.2, 0.0], abs=0.015)
    assert torch.equal(samples, again)
    assert not torch.equal(samples, other)
