"""A missing optional package is reported in one sentence with the command that installs it."""

import sys
import tomllib
from dataclasses import replace

import pytest
from packaging.requirements import Requirement

from engine.bench import metrics
from engine.cli.main import main
from engine.data.sources import download
from engine.errors import BadInputError, EngineError
from engine.jobs.launchers import select
from engine.serve import model_export
from engine.settings import PROJECT_ROOT
from engine.store import Store
from engine.system import extras
from engine.tracking import mlflow_client


@pytest.fixture
def without(monkeypatch):
    """Makes imports of a module fail, as if it were not installed."""
    return lambda module: monkeypatch.setitem(sys.modules, module, None)


def sentence(feature, module, extra):
    return (
        f"{feature} needs the package {module}, which is not installed: "
        f'`pip install -e ".[{extra}]"`.'
    )


def test_every_extra_in_the_messages_is_an_extra_of_the_project():
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]

    assert extras.MODULES.keys() <= optional.keys()
    for lines in optional.values():
        assert all(Requirement(line).name for line in lines)


def test_the_command_installs_the_checkout_or_the_distribution(monkeypatch):
    assert extras.install_command("mlflow") == 'pip install -e ".[mlflow]"'

    monkeypatch.setattr(extras, "IS_CHECKOUT", False)

    assert extras.install_command("mlflow") == 'pip install "chromabench-studio[mlflow]"'


def test_installed_packages_give_no_message():
    assert extras.missing_message("onnx", "The format onnx") is None
    extras.require("cluster", "The cluster")


def test_a_ray_cluster_without_ray_is_refused(settings, without):
    without("ray")

    with pytest.raises(BadInputError) as error:
        select.select_launchers(replace(settings, launcher="ray"))

    assert str(error.value) == sentence("CHROMABENCH_LAUNCHER=ray", "ray", "cluster")


@pytest.mark.parametrize("module", ["onnx", "onnxruntime", "onnxscript"])
def test_an_onnx_file_without_one_of_its_packages_is_refused(
    store, settings, tmp_path, without, module
):
    without(module)

    with pytest.raises(BadInputError) as error:
        model_export.export_model(store, settings, 1, "onnx", tmp_path / "model.onnx")

    assert str(error.value) == sentence("The format onnx", module, "onnx")


def test_a_download_from_kaggle_without_its_library_names_both_ways(tmp_path, without):
    without("kagglehub")

    with pytest.raises(EngineError) as error:
        download.download_data_set("anime-sketch", tmp_path)

    expected = sentence("The download of anime-sketch", "kagglehub", "fetch")
    assert str(error.value).startswith(f"{expected} By hand: ")


def test_an_export_to_mlflow_without_its_client_is_refused(settings, without):
    without("mlflow")

    with pytest.raises(BadInputError) as error:
        mlflow_client.require_installed()

    assert str(error.value) == sentence("The export to MLflow", "mlflow", "mlflow")
    assert not mlflow_client.is_installed()


def test_the_doctor_names_the_command_for_mlflow(settings, without, monkeypatch, capsys):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(settings.artifacts))
    without("mlflow")

    main(["doctor"])

    assert 'pip install -e ".[mlflow]"' in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg"])
def test_a_postgresql_database_without_its_driver_is_refused(without, scheme):
    without("psycopg")

    with pytest.raises(BadInputError) as error:
        Store(f"{scheme}://nobody@127.0.0.1:1/none")

    assert str(error.value) == sentence("A PostgreSQL database", "psycopg", "postgresql")


def test_the_benchmark_of_metrics_without_torchmetrics_is_refused(without):
    without("torchmetrics")

    with pytest.raises(BadInputError) as error:
        metrics.run(rounds=1)

    assert str(error.value) == sentence("`bench metrics`", "torchmetrics", "dev")
