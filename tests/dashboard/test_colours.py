"""The choice of colours on the Colorize page, with a real server of a model with a palette."""

import shutil
import threading
import time

import pytest
import uvicorn

from dashboard.components.colorize_sections import COLOURS, N_OTHER_ANSWERS, OTHER_COLOURS
from engine.options.decodings import parse_decoding
from engine.serve.app import build_app
from engine.serve.service import ModelSelection, ModelService
from engine.store import Store, database_path
from tests.support.pages import open_page


@pytest.fixture
def serve(app_settings, packed_settings, monkeypatch):
    """A function that serves the trained study of a folder to the app, in a thread."""
    servers = []

    def serve(folder):
        shutil.copytree(folder / "runs", app_settings.artifacts / "runs")
        (app_settings.artifacts / "data").symlink_to(packed_settings.data_dir)
        shutil.copy(folder / "runs.db", database_path(app_settings.database_url))
        store = Store(app_settings.database_url)
        service = ModelService(store, app_settings, ModelSelection(), device="cpu")
        service.reload_default()
        server = uvicorn.Server(uvicorn.Config(build_app(service), port=0, log_config=None))
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread, store))
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        monkeypatch.setenv("CHROMABENCH_SERVER_URL", f"http://127.0.0.1:{port}")

    yield serve
    for server, thread, store in servers:
        server.should_exit = True
        thread.join()
        store.close()


def buttons(app):
    return [button.label for button in app.button]


def test_all_offered_colours_can_be_computed_by_a_model_without_source_features():
    decodings = [*filter(None, COLOURS.values()), OTHER_COLOURS]

    assert len(decodings) == 3
    assert not any(parse_decoding(decoding).is_steered for decoding in decodings)


@pytest.mark.slow
def test_a_model_with_a_palette_offers_colours_and_other_answers(serve, pristine_palettes):
    serve(pristine_palettes)

    app = open_page("colorize", picture="Validation set")

    assert not app.exception
    (colours,) = (box for box in app.selectbox if box.label == "Colours")
    assert colours.options == list(COLOURS)
    (button,) = (button for button in app.button if button.label == "Other answers")
    button.click().run()
    assert not app.exception
    assert not app.error
    assert len(app.get("download_button")) == 1 + N_OTHER_ANSWERS


@pytest.mark.slow
def test_a_model_without_a_palette_offers_no_colours(serve, pristine):
    serve(pristine)

    app = open_page("colorize", picture="Validation set")

    assert not app.exception
    assert len(app.get("download_button")) == 1
    assert "Colours" not in [box.label for box in app.selectbox]
    assert "Other answers" not in buttons(app)
