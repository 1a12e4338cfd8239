"""Every usual way to start the dashboard shows curves and pictures; failures are shown in place."""

import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import expect

from engine.records.runs import RunState
from engine.settings import PROJECT_ROOT, Settings
from engine.store import Store
from engine.system import child_environment
from tests.dashboard.browser.driver import drawn_points, end, free_port
from tests.support.pages import NAMES, add_study, train
from tests.support.runs import TIMEOUT_S, kill_processes_of, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]

APP = str(PROJECT_ROOT / "dashboard" / "app.py")
STREAMLIT = str(Path(sys.executable).with_name("streamlit"))
PYTHON = sys.executable
N_POINTS = 3 * 24  # of the recorded curves
N_PICTURES = 8 * 5  # 8 pictures of source, target and three runs
GREY = 60  # of every pixel of the recorded pictures
OWN_SERVER = f"import streamlit as st\n\napp = st.App({APP!r})\n"
HOW_TO_START = "Start the dashboard with streamlit run dashboard/app.py or python -m dashboard."


@dataclass(frozen=True)
class Server:
    """A running server: its address with the base path, and the file of its output."""

    address: str
    log: Path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The settings of a store with a finished study of three runs."""
    folder = tmp_path_factory.mktemp("recorded")
    settings = Settings(f"sqlite:///{folder}/runs.db", folder / "artifacts", slots=1)
    settings.artifacts.mkdir()
    store = Store(settings.database_url)
    add_study(store)
    for _ in NAMES:
        train(store, settings, 3, RunState.DONE)
    store.close()
    return settings


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder outside the project, whose Streamlit options would open the dashboard to all."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / ".streamlit").mkdir()
    (folder / ".streamlit" / "config.toml").write_text('[server]\naddress = "0.0.0.0"\n')
    (folder / "own_server.py").write_text(OWN_SERVER)
    return folder


@pytest.fixture(scope="module")
def serve(recorded, tmp_path_factory):
    """A function that runs a command with a free port and returns its server."""
    processes = []

    def start(*command, folder, base_path=""):
        port = free_port()
        log = tmp_path_factory.mktemp("server") / "server.log"
        port_option = "--server.port" if "run" in command else "--port"
        environment = child_environment.build_child_environment(recorded)
        # The module path is the one of a user's shell.
        for name in ("PYTHONPATH", "PYTHONSAFEPATH"):
            environment.pop(name)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, f"{port_option}={port}"],
                env={**environment, "CHROMABENCH_SUPERVISOR": "elsewhere"},
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        processes.append(process)
        server = Server(f"http://127.0.0.1:{port}{base_path}", log)
        wait_until_healthy(process, server)
        return server

    yield start
    for process in processes:
        if process.poll() is None:
            end(process)
    kill_processes_of(recorded)


def wait_until_healthy(process, server):
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{server.address}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(server.log.read_text())


@pytest.fixture(scope="module")
def from_project(serve):
    return serve(STREAMLIT, "run", "dashboard/app.py", folder=PROJECT_ROOT)


def drawn_pictures(page):
    """The number of pictures of the gallery whose middle pixel has the recorded grey."""
    return page.evaluate(
        """grey => [...document.querySelectorAll(".gallery .tile canvas")].filter((canvas) => {
          const middle = canvas.width / 2
          return canvas.getContext("2d").getImageData(middle, middle, 1, 1).data[0] === grey
        }).length""",
        GREY,
    )


def assert_everything_is_shown(page, server):
    page.goto(f"{server.address}/live?study=1")
    wait_for(lambda: page.locator(".live-chart").count() and drawn_points(page) == N_POINTS)
    expect(page.locator(".live-chart .scatterlayer .trace").first).to_be_visible()
    page.goto(f"{server.address}/gallery?study=1")
    wait_for(lambda: drawn_pictures(page) == N_PICTURES)
    assert "Traceback" not in server.log.read_text()


def test_streamlit_run_in_the_project_folder_shows_everything(from_project, page):
    assert_everything_is_shown(page, from_project)


def test_streamlit_run_in_another_folder_shows_everything(serve, elsewhere, page):
    server = serve(STREAMLIT, "run", APP, folder=elsewhere)

    assert_everything_is_shown(page, server)
    # The options in this folder do not apply: the dashboard still listens on loopback.
    assert "URL: http://127.0.0.1" in server.log.read_text()
    assert "listens on" not in server.log.read_text()


def test_python_m_streamlit_run_shows_everything(serve, page):
    server = serve(PYTHON, "-m", "streamlit", "run", "dashboard/app.py", folder=PROJECT_ROOT)

    assert_everything_is_shown(page, server)


def test_python_m_dashboard_shows_everything(serve, page):
    server = serve(PYTHON, "-m", "dashboard", "--headless", folder=PROJECT_ROOT)

    assert_everything_is_shown(page, server)


def test_another_asgi_server_shows_everything(serve, elsewhere, page):
    server = serve(PYTHON, "-m", "uvicorn", "dashboard.app:app", folder=elsewhere)

    assert_everything_is_shown(page, server)


def test_a_server_with_a_base_path_beyond_loopback_shows_everything_but_folders(
    serve, elsewhere, recorded, page
):
    options = ("--server.baseUrlPath=team/chroma", "--server.address=0.0.0.0")
    server = serve(STREAMLIT, "run", APP, *options, folder=elsewhere, base_path="/team/chroma")

    assert_everything_is_shown(page, server)
    page.goto(f"{server.address}/data?source=photos:{recorded.run_dir(1) / 'samples'}")
    expect(
        page.get_by_text("lies outside the folders that this dashboard may read")
    ).to_be_visible()
    assert "Anyone who can reach it can start and delete runs" in server.log.read_text()


def test_a_server_without_the_routes_says_how_to_start_the_dashboard(serve, elsewhere, page):
    server = serve(STREAMLIT, "run", "own_server.py", folder=elsewhere)

    page.goto(f"{server.address}/live?study=1")
    chart_error = page.get_by_role("alert").filter(has_text="The chart cannot be shown")
    expect(chart_error).to_contain_text(HOW_TO_START)
    page.goto(f"{server.address}/gallery?study=1")
    gallery_error = page.get_by_role("alert").filter(has_text="The gallery cannot be shown")
    expect(gallery_error).to_contain_text(HOW_TO_START)


def test_a_component_whose_script_cannot_be_requested_says_so(from_project, page):
    page.route("**/live_chart.js", lambda route: route.abort())

    page.goto(f"{from_project.address}/live?study=1")

    error = page.get_by_role("alert").filter(has_text="The chart cannot be shown")
    expect(error).to_contain_text("the server cannot be reached")


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ({"status": 403, "json": {"error": "The server was restarted; reload the page"}}, None),
        ({"status": 502, "body": "Bad Gateway"}, "The server responded with status 502"),
        ({"body": "<html>", "content_type": "text/html"}, "a page instead of data"),
    ],
    ids=["restarted server", "failed proxy", "sign-in page of a proxy"],
)
def test_a_failed_request_of_data_is_shown_in_its_place(from_project, page, response, message):
    message = message or response["json"]["error"]
    for data in ("**/curve?**", "**/sample/**"):
        page.route(data, lambda route: route.fulfill(**response))

    page.goto(f"{from_project.address}/live?study=1")

    expect(page.locator(".live-state")).to_contain_text(message)
    expect(page.locator(".gallery .failure")).to_contain_text(message)
