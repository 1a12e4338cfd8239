"""Exported model files give the same outputs as the checkpoint, without this project's code."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import safetensors
import torch

from engine.cli.main import main
from engine.errors import EngineError
from engine.networks.architectures import LuminancePreserving, UNetGenerator
from engine.serve import model_cache, model_export


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


def test_the_command_names_the_file_after_the_run(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))
    monkeypatch.chdir(tmp_path)

    assert main(["export-model", "2"]) == 0
    assert capsys.readouterr().out.strip() == "run-2-gan.safetensors"
    assert (tmp_path / "run-2-gan.safetensors").is_file()
    assert main(["export-model", "2", "--out", str(tmp_path)]) == 2
    assert main(["export-model", "99"]) == 2
