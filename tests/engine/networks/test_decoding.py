import pytest
import torch

from engine.networks import decoding
from engine.options.decodings import Decoding, parse_decoding

# White, red, a dull red, grey.
PALETTE = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.6, 0.4, 0.4], [0.5, 0.5, 0.5]])


def test_a_certain_distribution_gives_its_colour_by_every_rule():
    certain = torch.eye(4).clamp(min=1e-12)

    for rule in ("mean", "sharp:0.1", "median:1", "medoid:1", "sample:0.5"):
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


def test_the_medoid_is_the_colour_with_the_least_expected_distance():
    # Red is most probable, but the greys and the dull red are near each other.
    probabilities = torch.tensor([[0.1, 0.35, 0.3, 0.25], [0.05, 0.8, 0.1, 0.05]])
    distances = torch.cdist(PALETTE, PALETTE)

    medoids = decoding.decode_medoid(probabilities, PALETTE, gamma=1e-6)

    nearest = (probabilities @ distances).argmin(-1)
    assert nearest.tolist() == [2, 1]
    torch.testing.assert_close(medoids, PALETTE[nearest], atol=1e-2, rtol=0)


def test_the_medoid_gives_colourfulness_the_more_weight_the_less_certain_the_colour_is():
    # In both distributions the dull red is the medoid, and red has the median colourfulness.
    more_certain = torch.tensor([0.0, 0.46, 0.15, 0.39])
    less_certain = torch.tensor([0.19, 0.42, 0.20, 0.19])
    both = torch.stack([more_certain, less_certain])

    nearest = [
        torch.cdist(decoding.decode_medoid(both, PALETTE, gamma), PALETTE).argmin(-1).tolist()
        for gamma in (1e-6, 0.01, 5.0)
    ]

    assert nearest == [[2, 2], [2, 1], [1, 1]]


@pytest.mark.parametrize("decode", [decoding.decode_median, decoding.decode_medoid])
def test_a_higher_quantile_never_gives_a_less_colourful_answer(decode):
    torch.manual_seed(0)
    probabilities = torch.rand(50, 4).softmax(-1)

    colourfulness = [
        decoding.palette_colourfulness(decode(probabilities, PALETTE, 100.0, quantile))
        for quantile in decoding.STEERED_QUANTILES
    ]

    steps = torch.stack(colourfulness).diff(dim=0)
    assert (steps >= -1e-3).all()


def test_the_noise_of_a_picture_does_not_depend_on_its_batch():
    keys = torch.tensor([5, 2**31 - 2, 123_456, 5])

    noise = decoding.gumbel_noise((4, 10, 4), 7, keys)

    assert torch.equal(noise[2:3], decoding.gumbel_noise((1, 10, 4), 7, keys[2:3]))
    assert torch.equal(noise[0], noise[3])
    assert not torch.equal(noise[0], noise[1])
    assert not torch.equal(noise, decoding.gumbel_noise((4, 10, 4), 8, keys))


def test_the_noise_has_the_moments_of_a_gumbel_distribution_without_correlation():
    noise = decoding.gumbel_noise((200, 1000), 0, torch.arange(200))

    assert noise.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert noise.var().item() == pytest.approx(torch.pi**2 / 6, abs=0.03)
    standardised = (noise - noise.mean()) / noise.std()
    for shift, axis in ((1, 0), (1, 1), (4, 1)):
        correlation = (standardised * standardised.roll(shift, axis)).mean().item()
        assert abs(correlation) < 0.01


def test_sources_with_one_changed_value_have_other_keys():
    source = torch.ones(3, 3, 8, 8)
    source[1, 0, 2, 3] = -1
    source[2, 0, 3, 2] = -1

    assert len(decoding.source_keys(source).unique()) == 3


def test_samples_follow_the_distribution_and_depend_only_on_the_seed():
    probabilities = torch.tensor([0.5, 0.3, 0.2, 0.0]).expand(20_000, 4)

    samples = decoding.decode(probabilities, PALETTE, Decoding("sample", 1.0, seed=3))
    again = decoding.decode(probabilities, PALETTE, Decoding("sample", 1.0, seed=3))
    other = decoding.decode(probabilities, PALETTE, Decoding("sample", 1.0, seed=4))

    shares = [(samples == colour).all(-1).float().mean().item() for colour in PALETTE]
    assert shares == pytest.approx([0.5, 0.3, 0.2, 0.0], abs=0.015)
    assert torch.equal(samples, again)
    assert not torch.equal(samples, other)
