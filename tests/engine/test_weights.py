import hashlib
from dataclasses import replace

import pytest
import torch
import torchvision

from engine import weights
from engine.errors import BadInputError, EngineError, MissingWeightsError
from engine.networks import backbones
from tests.support.weights import install_weights


@pytest.fixture
def empty_torch_cache(monkeypatch, tmp_path):
    """Makes the cache of torch an empty folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


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


@pytest.mark.slow
def test_vgg19_gives_the_five_maps_of_study_1(settings, empty_torch_cache, monkeypatch):
    torch.manual_seed(0)
    state = torchvision.models.vgg19(weights=None).state_dict()
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


def serve_file(monkeypatch, tmp_path, name, content):
    path = tmp_path / "remote.pth"
    path.write_bytes(content)
    monkeypatch.setitem(backbones._URLS, name, path.as_uri())


def test_downloaded_weights_are_verified_and_stored(
    settings, empty_torch_cache, monkeypatch, tmp_path
):
    serve_file(monkeypatch, tmp_path, "vgg19", b"right")
    digest = hashlib.sha256(b"right").hexdigest()
    entry = replace(weights.CATALOG["vgg19"], sha256=digest[:8])
    monkeypatch.setitem(weights.CATALOG, "vgg19", entry)
    progress = []

    path = backbones.download("vgg19", settings, lambda done, total: progress.append((done, total)))

    assert path.read_bytes() == b"right"
    assert progress == [(5, 5)]
    assert weights.find("vgg19", settings) == path


def test_a_wrong_download_is_removed(settings, empty_torch_cache, monkeypatch, tmp_path):
    serve_file(monkeypatch, tmp_path, "vgg19", b"wrong")

    with pytest.raises(EngineError, match="It was removed"):
        backbones.download("vgg19", settings)

    assert list(settings.weights_dir.iterdir()) == []


def test_without_a_connection_the_error_names_the_folder_for_the_file(
    settings, empty_torch_cache, monkeypatch, tmp_path
):
    monkeypatch.setitem(backbones._URLS, "vgg19", (tmp_path / "gone").as_uri())

    with pytest.raises(EngineError, match="could not be downloaded") as refusal:
        backbones.download("vgg19", settings)

    assert f"put vgg19-dcbb9e9d.pth into {settings.weights_dir}" in str(refusal.value)
    assert list(settings.weights_dir.iterdir()) == []
