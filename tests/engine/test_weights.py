import hashlib
from dataclasses import replace

import pytest
import torch
import torchvision

from engine import weights
from engine.errors import BadInputError, EngineError, MissingWeightsError
from engine.networks import backbones


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A torch cache without weights, whatever the machine has."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def stand_in(name, state, settings, monkeypatch):
    """A file of the right shape and name; the catalog is told its hash."""
    settings.weights_dir.mkdir(parents=True)
    path = settings.weights_dir / weights.CATALOG[name].file
    torch.save(state, path)
    entry = replace(weights.CATALOG[name], sha256=weights.hash_file(path))
    monkeypatch.setitem(weights.CATALOG, name, entry)
    return path


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite2"])
def test_weights_inside_packages_are_found_and_whole(name, settings):
    path, digest = weights.require(name, settings)

    assert path.is_file()
    assert digest == weights.CATALOG[name].sha256


@pytest.mark.parametrize("name", ["inception", "vgg19", "resnet18"])
def test_absent_weights_are_said_with_the_way_out(name, settings, nowhere):
    assert weights.find(name, settings) is None
    with pytest.raises(MissingWeightsError, match=f"`python -m engine weights fetch {name}`"):
        weights.require(name, settings)


def test_unknown_weights_are_refused(settings):
    with pytest.raises(BadInputError, match="no weights 'bert'"):
        weights.find("bert", settings)


def test_a_file_under_the_right_name_with_other_content_is_refused(settings, nowhere):
    settings.weights_dir.mkdir(parents=True)
    (settings.weights_dir / weights.CATALOG["vgg19"].file).write_bytes(b"not weights")

    with pytest.raises(MissingWeightsError, match="not the file it should be"):
        weights.require("vgg19", settings)


def test_the_torch_cache_is_looked_into(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / weights.CATALOG["inception"].file
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"")

    assert weights.find("inception", settings) == cached


def test_the_perceptual_network_is_vgg19_where_its_weights_are_else_lite0(
    settings, nowhere, monkeypatch
):
    assert weights.resolve_perceptual("auto", settings) == "efficientnet_lite0"
    with pytest.raises(MissingWeightsError, match="VGG19"):
        weights.resolve_perceptual("vgg19", settings)

    stand_in("vgg19", {}, settings, monkeypatch)

    assert weights.resolve_perceptual("auto", settings) == "vgg19"


@pytest.mark.slow
def test_vgg19_gives_the_five_maps_of_study_1(settings, nowhere, monkeypatch):
    torch.manual_seed(0)
    state = torchvision.models.vgg19(weights=None).state_dict()
    stand_in("vgg19", state, settings, monkeypatch)

    maps = backbones.PerceptualFeatures("vgg19", weights.require("vgg19", settings)[0])(
        torch.zeros(1, 3, 32, 32)
    )

    assert [tuple(it.shape[1:]) for it in maps] == [
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

    assert [it.shape[-1] for it in maps] == [32, 16, 8, 4, 2]
    for it in maps:
        assert torch.allclose(it.square().mean(1), torch.ones(()), atol=1e-4)


def test_a_perceptual_network_is_frozen(settings):
    features = backbones.PerceptualFeatures(
        "efficientnet_lite0", weights.require("efficientnet_lite0", settings)[0]
    )

    assert not [it for it in features.parameters() if it.requires_grad]


def serve_file(monkeypatch, tmp_path, name, content):
    path = tmp_path / "remote.pth"
    path.write_bytes(content)
    monkeypatch.setitem(backbones._ADDRESSES, name, path.as_uri())


def test_fetched_weights_are_verified_and_kept(settings, nowhere, monkeypatch, tmp_path):
    serve_file(monkeypatch, tmp_path, "vgg19", b"right")
    digest = hashlib.sha256(b"right").hexdigest()
    entry = replace(weights.CATALOG["vgg19"], sha256=digest[:8])
    monkeypatch.setitem(weights.CATALOG, "vgg19", entry)
    progress = []

    path = backbones.fetch("vgg19", settings, lambda done, total: progress.append((done, total)))

    assert path.read_bytes() == b"right"
    assert progress == [(5, 5)]
    assert weights.find("vgg19", settings) == path


def test_what_is_not_the_expected_file_is_not_kept(settings, nowhere, monkeypatch, tmp_path):
    serve_file(monkeypatch, tmp_path, "vgg19", b"wrong")

    with pytest.raises(EngineError, match="Nothing was kept"):
        backbones.fetch("vgg19", settings)

    assert list(settings.weights_dir.iterdir()) == []


def test_without_a_connection_one_sentence_says_the_manual_way(
    settings, nowhere, monkeypatch, tmp_path
):
    monkeypatch.setitem(backbones._ADDRESSES, "vgg19", (tmp_path / "gone").as_uri())

    with pytest.raises(EngineError, match="could not be fetched") as refusal:
        backbones.fetch("vgg19", settings)

    assert f"By hand: put vgg19-dcbb9e9d.pth into {settings.weights_dir}" in str(refusal.value)
    assert list(settings.weights_dir.iterdir()) == []
