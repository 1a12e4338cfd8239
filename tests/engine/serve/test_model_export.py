"""Exported model files give the same outputs as the checkpoint, without this project's code."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import onnxruntime
import pytest
import safetensors
import torch

from engine.cli.main import main
from engine.errors import BadInputError, EngineError
from engine.networks.architectures import UNetGenerator
from engine.networks.outputs import LuminancePreserving, build_generator
from engine.networks.palette_generator import PaletteGenerator
from engine.options.decodings import parse_decoding
from engine.serve import model_cache, model_export
from tests.support.runs import tiny_config


@pytest.fixture
def sources_and_fakes(trained):
    model = model_cache.load_model(trained.store, trained.settings, 1, "cpu")
    sources = model_export._test_sources(model, trained.settings)
    with torch.no_grad():
        return sources, model.generator(sources).numpy()


@pytest.fixture(scope="module")
def onnx_file(trained, tmp_path_factory):
    """The result of the export to ONNX, which takes seconds, and its file."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return model_export.export_model(trained.store, trained.settings, 1, "onnx", path), path


@pytest.mark.parametrize("file_format", ["safetensors", "torchscript"])
def test_a_file_agrees_with_the_checkpoint_on_20_real_pictures(trained, tmp_path, file_format):
    path = tmp_path / "model"
    exported = model_export.export_model(trained.store, trained.settings, 1, file_format, path)

    assert exported.n_compared == 20
    assert exported.max_difference <= model_export.MAX_DIFFERENCE
    assert exported.n_bytes == path.stat().st_size > 10_000


@pytest.mark.slow
def test_an_onnx_file_agrees_with_the_checkpoint_for_any_batch_size(onnx_file, sources_and_fakes):
    (exported, path), (sources, fakes) = onnx_file, sources_and_fakes
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    for count in (1, 7, 20):
        outputs = session.run(None, {"source": sources[:count].numpy()})[0]
        assert np.abs(outputs - fakes[:count]).max() <= 1e-4
    assert exported.n_compared == 20
    assert exported.max_difference <= model_export.MAX_DIFFERENCE
    assert exported.n_bytes == path.stat().st_size > 10_000
    metadata = session.get_modelmeta().custom_metadata_map
    assert (metadata["run"], metadata["expects"], metadata["px"]) == ("1", "sketch", "32")


def test_torchscript_gives_the_checkpoints_pictures_and_has_metadata(
    trained, tmp_path, sources_and_fakes
):
    path, (sources, fakes) = tmp_path / "model.pt", sources_and_fakes
    model_export.export_model(trained.store, trained.settings, 1, "torchscript", path)
    files = {"about.json": ""}
    with pytest.warns(FutureWarning):
        network = torch.jit.load(path, _extra_files=files)
    outputs = network(sources).detach().numpy()

    assert np.abs(outputs - fakes).max() <= 1e-4
    assert json.loads(files["about.json"])["configuration"] == "standard"


def test_a_safetensors_file_has_the_configuration_of_its_network(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    model_export.export_model(trained.store, trained.settings, 1, "safetensors", path)
    with safetensors.safe_open(path, "pt") as file:
        metadata = file.metadata()

    assert json.loads(metadata["config"])["budget"]["px"] == 32
    assert metadata["boundary"].startswith("source [N, 3, px, px]")


def test_a_file_that_differs_is_not_kept(trained, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"the old one")
    monkeypatch.setattr(
        model_export,
        "_write_safetensors",
        lambda model, path, metadata: lambda sources: sources.numpy(),
    )

    with pytest.raises(EngineError, match="was not kept"):
        model_export.export_model(trained.store, trained.settings, 1, "safetensors", path)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_network_that_preserves_luminance_can_be_exported(trained, tmp_path, monkeypatch):
    model = model_cache.load_model(trained.store, trained.settings, 1, "cpu")
    torch.manual_seed(0)
    generator = LuminancePreserving(UNetGenerator((8, 16, 32), "batch", 2)).eval()
    monkeypatch.setattr(model_cache, "load_model", lambda *_: replace(model, generator=generator))

    for file_format in ("torchscript", "onnx"):
        path = tmp_path / file_format
        exported = model_export.export_model(trained.store, trained.settings, 1, file_format, path)
        assert exported.max_difference <= model_export.MAX_DIFFERENCE


VARIANTS = {
    "vivid": ("vivid", {}),
    "without source features": (
        "vivid",
        {
            **{"source_features": "none", "colourfulness": "0", "colour_shares": "0"},
            **{"decoding": "sharp:0.2+flat"},
        },
    ),
    "without regions": (
        "vivid",
        {
            **{"source_features": "none", "colourfulness": "0", "colour_shares": "0"},
            **{"regions": "false", "decoding": "mean"},
        },
    ),
    "line fill": ("standard", {"output": "line_fill"}),
}


@pytest.fixture
def line_art_model(request, trained, monkeypatch):
    """A model with another output, random weights and a random palette, in place of run 1."""
    model = model_cache.load_model(trained.store, trained.settings, 1, "cpu")
    name, changes = VARIANTS[request.param]
    config = tiny_config(name, **changes)
    torch.manual_seed(0)
    generator = build_generator(config.budget, config.configuration).eval()
    if isinstance(generator, PaletteGenerator):
        colours = np.random.default_rng(0).integers(0, 256, generator.palette.shape)
        generator.set_palette(colours.astype(np.uint8))
        torch.nn.init.normal_(generator.pixel_logits.weight)
    model = replace(model, generator=generator, config=config)
    monkeypatch.setattr(model_cache, "load_model", lambda *_: model)
    return model


@pytest.mark.parametrize("line_art_model", VARIANTS, indirect=True)
def test_files_for_line_art_give_the_checkpoints_pictures(trained, tmp_path, line_art_model):
    export = partial(model_export.export_model, trained.store, trained.settings, 1)
    exported = export("safetensors", tmp_path / "model.safetensors")
    assert exported.max_difference == 0

    exported = export("torchscript", tmp_path / "model.pt")
    assert exported.max_difference <= model_export.allowed_difference(line_art_model)
    files = {"about.json": ""}
    with pytest.warns(FutureWarning):
        network = torch.jit.load(tmp_path / "model.pt", _extra_files=files)
    about, configuration = json.loads(files["about.json"]), line_art_model.config.configuration
    assert about["output"] == configuration.output_at(line_art_model.config.budget).name
    if configuration.has_palette:
        assert about["decoding"] == configuration.decoding
        assert np.shape(json.loads(about["palette"])) == (configuration.n_colours, 3)
    sources = model_export._test_sources(line_art_model, trained.settings)
    with torch.no_grad():
        for count in (1, 7):
            expected = line_art_model.generator(sources[:count])
            difference = (network(sources[:count]) - expected).abs().max()
            assert difference <= model_export.allowed_difference(line_art_model)


@pytest.mark.slow
@pytest.mark.parametrize("line_art_model", VARIANTS, indirect=True)
def test_an_onnx_file_for_line_art_gives_the_checkpoints_pictures(
    trained, tmp_path, line_art_model
):
    path = tmp_path / "model.onnx"
    exported = model_export.export_model(trained.store, trained.settings, 1, "onnx", path)
    assert exported.max_difference <= model_export.allowed_difference(line_art_model)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    sources = model_export._test_sources(line_art_model, trained.settings)
    with torch.no_grad():
        for count in (1, 7):
            expected = line_art_model.generator(sources[:count]).numpy()
            outputs = session.run(None, {"source": sources[:count].numpy()})[0]
            difference = np.abs(outputs - expected).max()
            assert difference <= model_export.allowed_difference(line_art_model)


@pytest.mark.parametrize("line_art_model", ["vivid"], indirect=True)
def test_random_colours_are_only_exported_without_the_network(trained, tmp_path, line_art_model):
    export = partial(model_export.export_model, trained.store, trained.settings, 1)
    line_art_model.generator.decoding = parse_decoding("sample")

    for file_format in ("torchscript", "onnx"):
        with pytest.raises(BadInputError, match=r"cannot contain the decoding sample:0\.5"):
            export(file_format, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_the_file_after_the_run(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))
    monkeypatch.chdir(tmp_path)

    assert main(["export-model", "2"]) == 0
    assert capsys.readouterr().out.strip() == "run-2-gan.safetensors"
    assert (tmp_path / "run-2-gan.safetensors").is_file()
    assert main(["export-model", "2", "--out", str(tmp_path)]) == 2
    assert main(["export-model", "99"]) == 2
