import pytest
import torch
import torchvision
from torch_fidelity import feature_extractor_inceptionv3

from engine import weights
from engine.errors import BadInputError, MissingWeightsError
from engine.networks import backbones
from tests.support.weights import install_weights


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_weights_in_python_packages_are_found_and_verified(name, settings):
    path, digest = weights.require(name, settings)

    assert path.is_file()
    assert digest == weights.CATALOG[name].sha256


@pytest.mark.parametrize("name", ["inception", "vgg19", "resnet18"])
def test_missing_weights_are_an_error_that_names_the_command(name, settings, empty_torch_cache):
    assert weights.find(name, settings) is None
    with pytest.raises(MissingWeightsError, match=f"`python -m engine weights fetch {name}`"):
        weights.require(name, settings)


def test_unknown_weights_are_refused(settings):
    with pytest.raises(BadInputError, match="no weights file 'bert'"):
        weights.find("bert", settings)


def test_a_file_with_the_right_name_and_other_content_is_refused(settings, empty_torch_cache):
    settings.weights_dir.mkdir(parents=True)
    (settings.weights_dir / weights.CATALOG["vgg19"].file).write_bytes(b"not weights")

    with pytest.raises(MissingWeightsError, match="not the expected file"):
        weights.require("vgg19", settings)


def test_weights_in_the_torch_cache_are_found(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / weights.CATALOG["inception"].file
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"")

    assert weights.find("inception", settings) == cached


def test_the_perceptual_network_is_vgg19_if_its_weights_are_here_and_else_lite0(
    settings, empty_torch_cache, monkeypatch
):
    assert weights.resolve_perceptual_features("auto", settings) == "efficientnet_lite0"
    with pytest.raises(MissingWeightsError, match="VGG19"):
        weights.resolve_perceptual_features("vgg19", settings)

    install_weights("vgg19", {}, settings, monkeypatch)

    assert weights.resolve_perceptual_features("auto", settings) == "vgg19"


def test_vgg19_gives_the_five_maps_of_study_1(settings, empty_torch_cache, monkeypatch):
    with torch.device("meta"):
        network = torchvision.models.vgg19(weights=None)
    # The tensors have the shapes of the real file, but each stores one number: the file is small.
    state = {
        name: torch.full((), 0.01).expand(weight.shape)
        for name, weight in network.state_dict().items()
    }
    install_weights("vgg19", state, settings, monkeypatch)

    maps = backbones.PerceptualFeatures("vgg19", weights.require("vgg19", settings)[0])(
        torch.zeros(1, 3, 32, 32)
    )

    assert [tuple(layer.shape[1:]) for layer in maps] == [
        (64, 32, 32),
        (128, 16, 16),
        (256, 8, 8),
        (512, 4, 4),
        (512, 2, 2),
    ]


def test_lite0_gives_a_map_of_unit_vectors_at_each_resolution(settings):
    features = backbones.PerceptualFeatures(
        "efficientnet_lite0", weights.require("efficientnet_lite0", settings)[0]
    )

    maps = features(torch.rand(2, 3, 64, 64) * 2 - 1)

    assert [layer.shape[-1] for layer in maps] == [32, 16, 8, 4, 2]
    for layer in maps:
        assert torch.allclose(layer.square().mean(1), torch.ones(()), atol=1e-4)


def test_a_perceptual_network_is_frozen(settings):
    features = backbones.PerceptualFeatures(
        "efficientnet_lite0", weights.require("efficientnet_lite0", settings)[0]
    )

    assert not any(weight.requires_grad for weight in features.parameters())


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("inception", feature_extractor_inceptionv3.URL_INCEPTION_V3),
        ("vgg19", torchvision.models.VGG19_Weights.IMAGENET1K_V1.url),
        ("resnet18", torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url),
    ],
)
def test_the_addresses_are_those_of_the_libraries_and_contain_the_hash(name, url):
    entry = weights.CATALOG[name]

    assert entry.url == url
    assert url.endswith(f"/{entry.file}")
    assert f"-{entry.sha256[:8]}.pth" in url


def test_the_sizes_are_those_that_torchvision_states():
    stated = {
        "vgg19": torchvision.models.VGG19_Weights.IMAGENET1K_V1.meta["_file_size"],
        "resnet18": torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["_file_size"],
    }

    for name, size_mb in stated.items():
        assert weights.CATALOG[name].n_bytes / 2**20 == pytest.approx(size_mb, abs=0.001)
