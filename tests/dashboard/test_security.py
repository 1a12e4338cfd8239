"""What a dashboard that is open beyond this machine lets people do."""

import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.queries import studies
from engine.errors import BadInputError
from engine.settings import PROJECT_ROOT, Settings
from tests.dashboard.test_pages import APP, texts
from tests.engine.images.test_decoding import photograph


@pytest.fixture
def pictures(tmp_path):
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        photograph(64, 64).save(tmp_path / name / "a.png")
    (tmp_path / "open" / "link").symlink_to(tmp_path / "closed")
    return tmp_path


@pytest.fixture
def rooted(app_settings, pictures, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_DATA_ROOTS", f"{pictures}/open")


def test_a_folder_that_is_open_is_read(rooted, pictures):
    assert studies.source(f"photos:{pictures}/open").names()
    assert studies.source("openmoji").names()


@pytest.mark.parametrize("folder", ["closed", "open/../closed", "open/link", "."])
def test_a_folder_outside_is_refused_whatever_way_leads_there(rooted, pictures, folder):
    with pytest.raises(BadInputError, match="lies outside the folders"):
        studies.source(f"photos:{pictures}/{folder}")


@pytest.mark.parametrize("page", ["launch", "data"])
def test_pages_say_so(rooted, pictures, page):
    app = AppTest.from_file(APP, default_timeout=30)
    app.query_params["source"] = f"photos:{pictures}/closed"
    app.run()
    app = app.switch_page(f"app_pages/{page}.py").run()

    assert "lies outside the folders" in texts(app)
    assert not app.exception


def test_without_a_word_every_folder_of_this_machine_is_open(app_settings, pictures):
    assert studies.source(f"photos:{pictures}/closed").names()


def test_an_empty_word_opens_none():
    assert Settings.from_environment({"CHROMABENCH_DATA_ROOTS": ""}).data_roots == ()
    two = Settings.from_environment({"CHROMABENCH_DATA_ROOTS": "/a:/b/../c"}).data_roots
    assert two == (Path("/a"), Path("/c"))


def test_where_a_sign_in_is_set_up_nothing_is_shown_before_it(app_settings):
    app = AppTest.from_file(APP, default_timeout=30)
    app.user = {"is_logged_in": False}  # what a section [auth] in the secrets makes of it
    app.run()

    assert [button.label for button in app.button] == ["Sign in"]
    assert "Nothing has been trained yet" not in texts(app)


def test_who_has_signed_in_sees_the_pages(app_settings):
    app = AppTest.from_file(APP, default_timeout=30)
    app.user = {"is_logged_in": True, "email": "a@example.org"}
    app.run()

    assert "Nothing has been trained yet" in texts(app)


@pytest.mark.parametrize("address", ["everywhere", "300.0.0.1", ""])
def test_an_address_that_is_none_is_refused_in_a_sentence(address):
    command = [sys.executable, "-m", "dashboard", "--address", address]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT, check=False)

    assert done.returncode == 2
    assert "--address takes a number" in done.stderr
