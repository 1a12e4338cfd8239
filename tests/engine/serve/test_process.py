"""The server process: start, address file, concurrent requests, memory, exit."""

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import psutil
import pytest
import requests

from engine.cli.main import main
from engine.data.pairs import split_channels
from engine.data.sources.openmoji import OpenMoji
from engine.errors import EngineError
from engine.serve import client, discovery, model_cache, pipeline
from engine.settings import PROJECT_ROOT
from engine.system.child_environment import build_child_environment
from engine.system.files import load_tail
from engine.system.logs import HEAD
from tests.support.runs import wait_for
from tests.support.uploads import as_file, as_picture, drawing

GIB, MIB = 2**30, 2**20


def log_path(settings):
    return settings.artifacts / "test-server.log"


@contextmanager
def server(settings, *options, **variables):
    """Runs a server on a free port; yields its address and process."""
    with log_path(settings).open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "engine", "serve", "--port", "0", "--device", "cpu", *options],
            cwd=PROJECT_ROOT,
            env={**build_child_environment(settings), **variables},
            stderr=log,
        )
    try:
        address = wait_for(lambda: child.poll() is not None or discovery.load_address(settings))
        assert child.poll() is None, log_path(settings).read_text()
        yield address.url, child
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=60)


@pytest.fixture(scope="module")
def running(trained):
    with server(trained.settings) as url_and_process:
        yield url_and_process


def post(url, picture, **query):
    return requests.post(
        f"{url}/api/v1/colorize",
        files={"file": as_file(picture)},
        params=query,
        timeout=60,
    )


@pytest.mark.slow
def test_requests_are_logged_and_health_checks_are_not(trained, running):
    url, _ = running

    for path in ("healthz", "readyz", "metrics", "api/v1/models"):
        requests.get(f"{url}/{path}", timeout=10)

    log = log_path(trained.settings)
    wait_for(lambda: "GET /api/v1/models HTTP/1.1" in log.read_text())
    lines = log.read_text().splitlines()
    assert all(HEAD.sub("", line).startswith("model server: ") for line in lines)
    assert sum("Serving run" in line for line in lines) == 1
    assert not any(path in line for line in lines for path in ("healthz", "readyz", "/metrics"))


@pytest.mark.slow
def test_48_pictures_of_8_clients_each_get_their_own_answer(trained, running):
    url, _ = running
    run_id = requests.get(f"{url}/readyz", timeout=10).json()["run"]
    model = model_cache.load_model(trained.store, trained.settings, run_id, "cpu")
    source = OpenMoji()
    sketches = [
        np.ascontiguousarray(split_channels(source.load_pair(name, 100).render(40 + index % 50))[0])
        for index, name in enumerate(source.names()[:48])
    ]

    def colorize_6(first):
        return [as_picture(post(url, sketch).content) for sketch in sketches[first : first + 6]]

    with ThreadPoolExecutor(8) as threads:
        answers = [answer for part in threads.map(colorize_6, range(0, 48, 6)) for answer in part]

    for sketch, answer in zip(sketches, answers, strict=True):
        prepared = pipeline.prepare(as_file(sketch), model.expects, model.px, "auto", 10**7)
        output = model.colorize(prepared.letterboxed.square[None])[0]
        expected = pipeline.compose(prepared, output)
        assert answer.shape == sketch.shape
        assert np.abs(answer.astype(int) - expected).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("has_length", [True, False])
def test_a_body_of_a_gigabyte_is_refused_without_storing_it_in_memory(running, has_length):
    url, child = running
    host, port = url.removeprefix("http://").split(":")
    process = psutil.Process(child.pid)
    post(url, drawing())
    before = process.memory_info().rss
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    chunk = bytes(MIB)
    peak = n_sent = 0
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        length = f"Content-Length: {GIB}\r\n" if has_length else "Transfer-Encoding: chunked\r\n"
        connection.sendall(
            f"POST /api/v1/colorize HTTP/1.1\r\nHost: {host}\r\n{length}"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
        )
        try:
            for part in [head, *[chunk] * 1024]:
                encoded = b"%x\r\n%s\r\n" % (len(part), part)
                connection.sendall(part if has_length else encoded)
                n_sent += len(part)
                peak = max(peak, process.memory_info().rss)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server may close the connection
        try:
            answer = connection.recv(100)
        except ConnectionResetError:  # the answer is lost if sent data was not received
            answer = b""

    assert answer[9:12] in (b"413", b"")
    assert n_sent < 300 * MIB
    assert peak - before < 64 * MIB
    assert post(url, drawing()).status_code == 200


@pytest.mark.slow
def test_the_client_finds_the_server_and_gets_answers_and_errors(trained, running):
    url, _ = running
    status = client.server_status(trained.settings)
    image = client.colorize(trained.settings, url, as_file(drawing()), 2)

    assert (status.state, status.url) == ("ready", url)
    assert image.run_id == 2
    assert image.configuration == "gan"
    assert as_picture(image.picture).shape == (200, 300, 3)
    with pytest.raises(EngineError, match="no picture"):
        client.colorize(trained.settings, url, b"hello", 2)


@pytest.mark.slow
def test_a_page_starts_only_one_server_which_exits_when_it_is_idle(trained, settings, monkeypatch):
    own = replace(trained.settings, artifacts=settings.artifacts)
    own.artifacts.mkdir()
    (own.artifacts / "runs").symlink_to(trained.settings.artifacts / "runs")
    monkeypatch.setattr(client, "IDLE_TIMEOUT_S", 3)

    assert client.server_status(own).state == "none"
    client.start_server(own)
    wait_for(lambda: discovery.is_running(own))
    client.start_server(own)  # does nothing, because a server runs
    status = wait_for(lambda: (status := client.server_status(own)).state == "ready" and status)
    address = discovery.load_address(own)
    assert as_picture(client.colorize(own, status.url, as_file(drawing()), 1).picture).any()
    assert load_tail(discovery.log_path(own)).count("Serving run") == 1
    wait_for(lambda: client.server_status(own).state == "none" and not discovery.is_running(own))
    assert discovery.load_address(own) is None
    assert address.url == status.url


@pytest.fixture
def command(trained, monkeypatch, capsys):
    """Runs the command `serve` in this process; for options that are refused before it listens."""
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))
    monkeypatch.delenv("CHROMABENCH_SERVER_TOKEN", raising=False)

    def run(*options):
        return main(["serve", *options]), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--host", "0.0.0.0"], 2, "CHROMABENCH_SERVER_TOKEN"),
        (["--run", "99"], 2, "There is no run 99"),
        (["--run", "1", "--follow", "1"], 2, "only one of"),
        (["--port", "70000"], 2, "from 0 to 65535"),
        (["--host", "example.org"], 2, "must be an IP address"),
        (["--device", "cuda:7"], 1, "not on this machine"),
        (["--idle", "0"], 2, "--idle must be"),
    ],
)
def test_invalid_options_are_refused_with_one_sentence(command, options, status, message):
    exit_status, error = command(*options)

    assert (exit_status, error.count("\n")) == (status, 1)
    assert message in error


def test_a_port_that_is_in_use_is_refused(command):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        status, error = command("--port", str(listener.getsockname()[1]))

    assert status == 1
    assert "cannot be used" in error
