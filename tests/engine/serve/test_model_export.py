"""Model files give the checkpoint's pictures, on real pictures, in programs without our code."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import safetensors
import torch

from engine.cli import parser
from engine.errors import BadInputError, EngineError
from engine.networks.architectures import GreyKeeping, UNetGenerator
from engine.serve import model_cache, model_export


@pytest.fixture
def sources(trained):
    model = model_cache.load(trained.store, trained.settings, 1, "cpu")
    pictures = model_export._test_pictures(model, trained.settings)
    with torch.no_grad():
        return pictures, model.generator(pictures).numpy()


@pytest.mark.parametrize("kind", ["safetensors", "torchscript", "onnx"])
def test_a_file_agrees_with_the_checkpoint_on_20_real_pictures(trained, tmp_path, kind):
    made = model_export.export(trained.store, trained.settings, 1, kind, tmp_path / "model")

    assert made.n_pictures == 20
    assert made.apart <= model_export.MOST_APART
    assert made.n_bytes == (tmp_path / "model").stat().st_size > 10_000


@pytest.mark.parametrize("count", [1, 7, 20])
def test_onnx_runtime_gives_the_checkpoints_pictures_at_any_number(
    trained, tmp_path, sources, count
):
    path = tmp_path / "model.onnx"
    model_export.export(trained.store, trained.settings, 1, "onnx", path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    made = session.run(None, {"source": sources[0][:count].numpy()})[0]

    assert np.abs(made - sources[1][:count]).max() <= 1e-4
    about = session.get_modelmeta().custom_metadata_map
    assert (about["run"], about["expects"], about["px"]) == ("1", "sketch", "32")


def test_torchscript_gives_the_checkpoints_pictures_and_says_what_it_is(trained, tmp_path, sources):
    path = tmp_path / "model.pt"
    model_export.export(trained.store, trained.settings, 1, "torchscript", path)
    files = {"about.json": ""}
    with pytest.warns(FutureWarning):
        network = torch.jit.load(path, _extra_files=files)
    made = network(sources[0]).detach().numpy()

    assert np.abs(made - sources[1]).max() <= 1e-4
    assert json.loads(files["about.json"])["configuration"] == "standard"


def test_safetensors_says_what_network_its_weights_are_of(trained, tmp_path):
    path = tmp_path / "model.safetensors"
    model_export.export(trained.store, trained.settings, 1, "safetensors", path)
    with safetensors.safe_open(path, "pt") as file:
        about = file.metadata()

    assert json.loads(about["config"])["budget"]["px"] == 32
    assert about["boundary"].startswith("source [N, 3, px, px]")


def test_a_file_that_differs_is_not_kept(trained, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"the old one")
    monkeypatch.setattr(
        model_export, "_safetensors", lambda model, path, about: lambda source: source.numpy()
    )

    with pytest.raises(EngineError, match="it was not kept"):
        model_export.export(trained.store, trained.settings, 1, "safetensors", path)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_network_that_keeps_the_grey_exports_too(trained, tmp_path, monkeypatch):
    model = model_cache.load(trained.store, trained.settings, 1, "cpu")
    torch.manual_seed(0)
    grey_keeping = GreyKeeping(UNetGenerator((8, 16, 32), "batch", 2)).eval()
    monkeypatch.setattr(model_cache, "load", lambda *_: replace(model, generator=grey_keeping))

    for kind in ("torchscript", "onnx"):
        made = model_export.export(trained.store, trained.settings, 1, kind, tmp_path / kind)
        assert made.apart <= model_export.MOST_APART


def test_the_command_names_the_file_by_the_run(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))
    monkeypatch.chdir(tmp_path)

    assert parser.main(["export-model", "2"]) == 0
    assert capsys.readouterr().out.strip() == "run-2-gan.safetensors"
    assert (tmp_path / "run-2-gan.safetensors").is_file()
    assert parser.main(["export-model", "2", "--out", str(tmp_path)]) == 2
    assert parser.main(["export-model", "99"]) == 2


def test_without_its_packages_onnx_says_what_to_install(monkeypatch):
    monkeypatch.setattr(model_export, "find_spec", lambda name: None)

    with pytest.raises(BadInputError, match="chromabench\\[onnx\\]"):
        model_export.require_onnx()
