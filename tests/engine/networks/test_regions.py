import torch

from engine.networks import regions


def labelled(n=2, side=6, seed=0):
    torch.manual_seed(seed)
    return torch.randint(0, 5, (n, side, side))


def test_means_of_regions_equal_those_of_a_loop():
    labels, values, weights = labelled(), torch.rand(2, 6, 6, 3), torch.rand(2, 6, 6)

    means = regions.region_means(values, weights, labels)

    for picture in range(2):
        for label in range(5):
            inside = labels[picture] == label
            expected = (values[picture][inside] * weights[picture][inside, None]).sum(0)
            expected /= weights[picture][inside].sum()
            torch.testing.assert_close(means[picture, label], expected)
    assert (means[:, 5:] == 0).all()


def test_every_pixel_gets_the_values_of_its_region():
    labels, values = labelled(), torch.rand(2, regions.MAX_REGIONS, 3)

    spread = regions.spread_to_pixels(values, labels)

    assert torch.equal(spread[1, 2, 3], values[1, labels[1, 2, 3]])
    assert torch.equal(spread[0, 5, 0], values[0, labels[0, 5, 0]])


def test_the_figures_of_a_centred_square_are_its_closed_forms():
    labels = torch.zeros(1, 8, 8, dtype=torch.long)
    labels[:, 2:6, 2:6] = 1

    figures = regions.region_figures(labels)[0, 1]

    positions = torch.linspace(-1, 1, 8)[2:6]
    spread = positions.square().mean().sqrt()
    expected = torch.tensor([0, spread, 0, spread, 0, 0.5, torch.tensor(17.0).log() / 8])
    torch.testing.assert_close(figures, expected, atol=1e-6, rtol=0)


def test_a_mirrored_drawing_changes_only_the_horizontal_position():
    labels = labelled()

    figures, mirrored = (regions.region_figures(each) for each in (labels, labels.flip(2)))

    figures[..., 2] *= -1
    torch.testing.assert_close(mirrored, figures, atol=1e-5, rtol=1e-5)


def test_the_region_head_ignores_pixels_of_other_regions():
    torch.manual_seed(0)
    head = regions.RegionHead(3, 2, 4).eval()
    labels, features, ink = labelled(), torch.rand(2, 6, 6, 3), torch.ones(2, 6, 6)
    drawing = torch.rand(2, 2)

    logits = head(features, ink, labels, drawing)
    features[labels == 4] += 1
    changed = head(features, ink, labels, drawing)

    assert torch.equal(logits[:, :4], changed[:, :4])
    assert not torch.equal(logits[:, 4], changed[:, 4])
