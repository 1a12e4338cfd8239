"""Checks before the server starts, which hold for every way to start the dashboard."""

import importlib
import runpy
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1.util import patch_config_options
from streamlit.web.server.app_discovery import discover_asgi_app

from dashboard import __main__ as program
from dashboard import startup
from tests.support.pages import APP


@pytest.fixture
def started_by_streamlit(monkeypatch):
    """Loads the command line of Streamlit, as in a process of `streamlit run`."""
    command_line = importlib.import_module("streamlit.web.cli")
    monkeypatch.setitem(sys.modules, "streamlit.web.cli", command_line)


@pytest.fixture
def foreign_database(app_settings, tmp_path, monkeypatch):
    """Names the database of another program in the environment."""
    connection = sqlite3.connect(tmp_path / "foreign.db")
    connection.execute("CREATE TABLE songs (name)")
    connection.close()
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", f"sqlite:///{tmp_path}/foreign.db")


def error_at_start(capsys):
    """Imports the file as a server does; returns the exit status and the error message."""
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(APP, run_name="app")
    return stop.value.code, capsys.readouterr().err


@pytest.fixture
def refused(app_settings, monkeypatch, capsys):
    """Runs `python -m dashboard` with options that it refuses; returns exit status and error."""

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["dashboard", *options])
        with pytest.raises(SystemExit) as stop:
            program.main()
        return stop.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("port", ["-1", "0", "99999", "x"])
def test_an_invalid_port_is_refused(refused, port):
    assert refused(f"--port={port}") == (
        2,
        f"error: The port must be a number from 1 to 65535, not {port!r}.\n",
    )


def test_a_port_in_use_is_refused_and_another_one_is_proposed(refused):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]

        assert refused(f"--port={port}") == (
            1,
            f"error: Port {port} is already in use. Choose another one: "
            f"make app PORT={port + 1}.\n",
        )


@pytest.mark.parametrize("address", ["everywhere", "300.0.0.1", ""])
def test_an_invalid_address_is_refused(refused, address):
    status, error = refused("--address", address)

    assert status == 2
    assert "--address must be an IP address" in error


def test_streamlit_run_finds_the_application_with_its_routes():
    discovered = discover_asgi_app(Path(APP))

    assert discovered.import_string == "app:app"


def test_an_invalid_setting_is_refused(app_settings, monkeypatch, capsys):
    monkeypatch.setenv("CHROMABENCH_SLOTS", "many")

    assert error_at_start(capsys) == (
        2,
        "error: CHROMABENCH_SLOTS must be a whole number from 1 to 9999, not 'many'.\n",
    )


def test_an_artifacts_folder_that_cannot_be_written_is_refused(app_settings, monkeypatch, capsys):
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", "/dev/null/artifacts")

    status, message = error_at_start(capsys)

    assert status == 1
    assert message.startswith("error: The artifacts folder /dev/null/artifacts cannot be written")
    assert message.count("\n") == 1


def test_the_database_of_another_program_is_refused(foreign_database, capsys):
    status, message = error_at_start(capsys)

    assert status == 1
    assert "foreign.db is another program's database" in message
    assert message.count("\n") == 1


@pytest.mark.slow
def test_streamlit_run_ends_with_the_error_message(foreign_database):
    streamlit = Path(sys.executable).with_name("streamlit")

    completed = subprocess.run(
        [streamlit, "run", APP, "--server.port=0"], capture_output=True, text=True, check=False
    )

    assert completed.returncode == 1
    assert completed.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in completed.stderr


def test_python_with_the_file_says_how_to_start_the_dashboard(capsys):
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(APP, run_name="__main__")

    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "error: Start the dashboard with `streamlit run dashboard/app.py` or "
        "`python -m dashboard`.\n"
    )


@pytest.mark.slow
def test_the_file_can_be_served_from_a_checkout_that_is_not_installed(app_settings):
    program = (
        "import sys;"
        "sys.meta_path = [finder for finder in sys.meta_path if 'ditable' not in str(finder)];"
        f"sys.path = [{str(Path(APP).parent)!r}, *sys.path[1:]];"
        "import app; app.app"
    )

    completed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd="/", capture_output=True, text=True
    )

    assert completed.returncode == 0, completed.stderr


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_a_server_on_loopback_is_not_exposed(started_by_streamlit, address):
    with patch_config_options({"server.address": address}):
        assert not startup.is_exposed()


@pytest.mark.parametrize("address", [None, "", "0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_a_server_on_any_other_address_is_exposed(started_by_streamlit, address):
    with patch_config_options({"server.address": address}):
        assert startup.is_exposed()


def test_a_server_other_than_streamlits_counts_as_exposed(monkeypatch):
    monkeypatch.delitem(sys.modules, "streamlit.web.cli", raising=False)

    with patch_config_options({"server.address": "127.0.0.1"}):
        assert startup.is_exposed()


@pytest.mark.parametrize(("roots", "is_told"), [("", True), (":", False), ("/data", False)])
def test_an_exposed_server_warns_and_tells_if_pages_read_no_folders(
    started_by_streamlit, monkeypatch, caplog, roots, is_told
):
    monkeypatch.setenv("CHROMABENCH_DATA_ROOTS", roots)

    with patch_config_options({"server.address": "0.0.0.0", "server.port": 8501}):
        startup.warn_if_exposed()

    (warning,) = caplog.messages
    assert warning.startswith("The dashboard listens on 0.0.0.0, port 8501. Anyone who can reach")
    assert ("Pages read no folders" in warning) == is_told


def test_a_server_on_loopback_starts_without_a_warning(started_by_streamlit, caplog):
    with patch_config_options({"server.address": "127.0.0.1"}):
        startup.warn_if_exposed()

    assert caplog.messages == []
