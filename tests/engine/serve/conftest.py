"""The model server with the models of the trained study, in this process, and test pictures."""

import pytest
from starlette.testclient import TestClient

from engine.serve.app import build_app
from engine.serve.limits import RequestLimits
from engine.serve.service import ModelSelection, ModelService
from tests.support.uploads import BASE_URL


@pytest.fixture(scope="module")
def service(trained):
    limits = RequestLimits(max_file_bytes=2**20)
    service = ModelService(trained.store, trained.settings, ModelSelection(), limits, "cpu")
    service.reload_default()
    return service


@pytest.fixture(scope="module")
def client(service):
    with TestClient(build_app(service), base_url=BASE_URL) as client:
        yield client
