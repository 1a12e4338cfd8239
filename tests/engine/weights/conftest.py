"""A stand-in server of weights, and a cache of torch without any."""

from dataclasses import replace

import pytest

from tests.support.weights_server import running_weights_server


@pytest.fixture
def empty_torch_cache(monkeypatch, tmp_path):
    """Makes the cache of torch an empty folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def server():
    """A server without files."""
    with running_weights_server() as running:
        yield running


@pytest.fixture
def mirror_settings(settings, server, empty_torch_cache):
    """Settings with which weights are downloaded from the server."""
    return replace(settings, weights_url=server.url)
