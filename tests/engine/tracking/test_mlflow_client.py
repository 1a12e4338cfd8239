"""Addresses, passwords, and the missing client of MLflow."""

import os
import sys
from dataclasses import replace

import pytest

from engine.errors import BadInputError
from engine.jobs import lifecycle, spawn
from engine.settings import Settings
from engine.tracking import mlflow_client
from tests.support.runs import NOW, tiny_config


def test_invalid_addresses_and_addresses_with_a_password_are_refused():
    for uri in ("http://me:secret@host:5000", "", "two words"):
        with pytest.raises(BadInputError):
            mlflow_client.check_uri(uri, "--mlflow")
    assert mlflow_client.check_uri("http://127.0.0.1:5000", "--mlflow")


def test_a_password_in_the_variable_is_passed_to_the_client_and_not_stored(monkeypatch):
    monkeypatch.setenv(mlflow_client.URI_VARIABLE, "https://me:se%40cret@mlflow.example:5000/x")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")  # so that monkeypatch restores it
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")

    settings = Settings.from_environment()
    mlflow_client.set_credentials(settings)

    assert settings.mlflow == "https://mlflow.example:5000/x"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "se@cret"


def test_without_the_client_the_option_is_refused_and_the_variable_is_ignored(
    store, tiny_settings, monkeypatch
):
    settings = replace(tiny_settings, mlflow="http://127.0.0.1:9")
    monkeypatch.setattr(spawn, "ensure_supervisor", lambda settings: None)
    monkeypatch.setitem(sys.modules, "mlflow", None)

    with pytest.raises(BadInputError, match="needs the package mlflow"):
        mlflow_client.require_installed()
    lifecycle.submit(store, settings, [tiny_config()], "alone", "k", NOW)
    assert store.exports.read_all() == []
