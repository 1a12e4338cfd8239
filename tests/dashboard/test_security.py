"""What users of a dashboard that other machines can reach are allowed to do."""

import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.queries import sources
from engine.errors import BadInputError
from engine.settings import Settings
from engine.system import extras
from tests.support.malformed_files import photograph
from tests.support.pages import APP, texts


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


def test_an_allowed_folder_can_be_read(rooted, pictures):
    assert sources.allowed_source(f"photos:{pictures}/open").names()
    assert sources.allowed_source("openmoji").names()


@pytest.mark.parametrize("folder", ["closed", "open/../closed", "open/link", "."])
def test_a_folder_outside_the_allowed_ones_is_refused_by_every_path(rooted, pictures, folder):
    with pytest.raises(BadInputError, match="lies outside the folders"):
        sources.allowed_source(f"photos:{pictures}/{folder}")


@pytest.mark.parametrize("page", ["launch", "data"])
def test_pages_show_that_a_folder_is_not_allowed(rooted, pictures, page):
    app = AppTest.from_file(APP, default_timeout=30)
    app.query_params["source"] = f"photos:{pictures}/closed"
    app.run()
    app = app.switch_page(f"app_pages/{page}.py").run()

    assert "lies outside the folders" in texts(app)
    assert not app.exception


def test_every_folder_is_allowed_if_the_variable_is_not_set(app_settings, pictures):
    assert sources.allowed_source(f"photos:{pictures}/closed").names()


def test_a_separator_alone_allows_no_folder():
    assert Settings.from_environment({"CHROMABENCH_DATA_ROOTS": ":"}).data_roots == ()
    two = Settings.from_environment({"CHROMABENCH_DATA_ROOTS": "/a:/b/../c"}).data_roots
    assert two == (Path("/a"), Path("/c"))


def test_pages_are_hidden_before_the_sign_in(app_settings, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: "as if it were installed")
    app = AppTest.from_file(APP, default_timeout=30)
    app.user = {"is_logged_in": False}  # as with a section [auth] in the secrets
    app.run()

    assert [button.label for button in app.button] == ["Sign in"]
    assert "No studies yet" not in texts(app)


def test_a_sign_in_without_its_packages_hides_the_pages_and_names_the_command(
    app_settings, monkeypatch
):
    monkeypatch.setitem(sys.modules, "authlib", None)
    app = AppTest.from_file(APP, default_timeout=30)
    app.user = {"is_logged_in": False}
    app.run()

    assert [error.value for error in app.error] == [
        'The sign-in needs the package authlib, which is not installed: `pip install -e ".[auth]"`.'
    ]
    assert not app.button
    assert "No studies yet" not in texts(app)


def test_pages_are_shown_after_the_sign_in(app_settings):
    app = AppTest.from_file(APP, default_timeout=30)
    app.user = {"is_logged_in": True, "email": "a@example.org"}
    app.run()

    assert "No studies yet" in texts(app)
