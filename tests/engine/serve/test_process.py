"""The server as a process: it starts, is found, answers many at once, keeps its memory, ends."""

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

from engine.cli import parser
from engine.data.pairs import split_pixels
from engine.data.sources.openmoji import OpenMoji
from engine.errors import EngineError
from engine.serve import client, discovery, model_cache, pipeline
from engine.settings import PROJECT_ROOT
from engine.system.child_environment import worker_environment
from tests.conftest import wait_for
from tests.engine.serve.conftest import as_file, as_picture, drawing

GIB, MIB = 2**30, 2**20


@contextmanager
def server(settings, *options, **more):
    """A server on a free port; its address and process."""
    environment = {**worker_environment(settings), **more}
    child = subprocess.Popen(
        [sys.executable, "-m", "engine", "serve", "--port", "0", "--device", "cpu", *options],
        cwd=PROJECT_ROOT,
        env=environment,
        stderr=subprocess.PIPE,
    )
    try:
        found = wait_for(lambda: child.poll() is not None or discovery.read(settings))
        assert child.poll() is None, child.stderr.read().decode()
        yield found.url, child
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=60)
        child.stderr.close()


@pytest.fixture(scope="module")
def running(trained):
    with server(trained.settings) as found:
        yield found


def ask(url, picture, **query):
    return requests.post(
        f"{url}/api/v1/colorize",
        files={"file": as_file(picture)},
        params=query,
        timeout=60,
    )


@pytest.mark.slow
def test_200_pictures_of_8_clients_each_get_their_own_answer(trained, running):
    url, _ = running
    model = model_cache.load(
        trained.store,
        trained.settings,
        requests.get(f"{url}/readyz", timeout=10).json()["run"],
        "cpu",
    )
    source = OpenMoji()
    sketches = [
        np.ascontiguousarray(split_pixels(source.open(name, 100).draw(40 + at % 50))[0])
        for at, name in enumerate(source.names()[:200])
    ]

    def client_of(first):
        return [as_picture(ask(url, it).content) for it in sketches[first : first + 25]]

    with ThreadPoolExecutor(8) as threads:
        answers = [it for each in threads.map(client_of, range(0, 200, 25)) for it in each]

    for sketch, answer in zip(sketches, answers, strict=True):
        question = pipeline.read(as_file(sketch), model.expects, model.px, "auto", 10**7)
        alone = pipeline.finish(question, model.colour(question.framed.square[None])[0])
        assert answer.shape == sketch.shape
        assert np.abs(answer.astype(int) - alone).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("is_announced", [True, False])
def test_a_body_of_a_gigabyte_is_refused_and_memory_stays_flat(running, is_announced):
    url, child = running
    host, port = url.removeprefix("http://").split(":")
    process = psutil.Process(child.pid)
    ask(url, drawing())
    before = process.memory_info().rss
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    chunk = bytes(MIB)
    most = sent = 0
    with socket.create_connection((host, int(port)), timeout=60) as wire:
        length = f"Content-Length: {GIB}\r\n" if is_announced else "Transfer-Encoding: chunked\r\n"
        wire.sendall(
            f"POST /api/v1/colorize HTTP/1.1\r\nHost: {host}\r\n{length}"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
        )
        try:
            for part in [head, *[chunk] * 1024]:
                framed = b"%x\r\n%s\r\n" % (len(part), part)
                wire.sendall(part if is_announced else framed)
                sent += len(part)
                most = max(most, process.memory_info().rss)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has hung up, as it may
        try:
            answer = wire.recv(100)
        except ConnectionResetError:  # what it said is lost where much was still on its way
            answer = b""

    assert answer[9:12] in (b"413", b"")
    assert sent < 300 * MIB
    assert most - before < 64 * MIB
    assert ask(url, drawing()).status_code == 200


@pytest.mark.slow
def test_a_page_finds_it_asks_it_and_is_told_what_was_wrong(trained, running):
    url, _ = running
    standing = client.look(trained.settings)
    made = client.colorize(trained.settings, url, as_file(drawing()), 2)

    assert (standing.state, standing.url) == ("ready", url)
    assert made.run_id == 2
    assert made.configuration == "gan"
    assert as_picture(made.picture).shape == (200, 300, 3)
    with pytest.raises(EngineError, match="no picture"):
        client.colorize(trained.settings, url, b"hello", 2)


@pytest.mark.slow
def test_one_that_a_page_starts_is_the_only_one_and_ends_when_nobody_asks(
    trained, settings, monkeypatch
):
    own = replace(trained.settings, artifacts=settings.artifacts)
    own.artifacts.mkdir()
    (own.artifacts / "runs").symlink_to(trained.settings.artifacts / "runs")
    monkeypatch.setattr(client, "IDLE_S", 3)

    assert client.look(own).state == "none"
    client.start(own)
    wait_for(lambda: discovery.is_held(own))
    client.start(own)  # pressed twice: nothing more happens
    standing = wait_for(lambda: (it := client.look(own)).state == "ready" and it)
    found = discovery.read(own)
    assert as_picture(client.colorize(own, standing.url, as_file(drawing()), 1).picture).any()
    assert client.log_tail(own).count("Serving run") == 1
    wait_for(lambda: client.look(own).state == "none" and not discovery.is_held(own))
    assert discovery.read(own) is None
    assert found.url == standing.url


@pytest.fixture
def command(trained, monkeypatch, capsys):
    """`serve` in this process, for what it refuses before it listens."""
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))
    monkeypatch.delenv("CHROMABENCH_SERVER_TOKEN", raising=False)

    def run(*options):
        return parser.main(["serve", *options]), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--host", "0.0.0.0"], 2, "CHROMABENCH_SERVER_TOKEN"),
        (["--run", "99"], 2, "There is no run 99"),
        (["--run", "1", "--follow", "1"], 2, "at a time"),
        (["--port", "70000"], 2, "from 0 to 65535"),
        (["--host", "example.org"], 2, "takes a number"),
        (["--device", "cuda:7"], 1, "not on this machine"),
        (["--idle", "0"], 2, "--idle must be"),
    ],
)
def test_bad_use_is_told_in_a_sentence(command, options, status, said):
    refused, error = command(*options)

    assert (refused, error.count("\n")) == (status, 1)
    assert said in error


def test_a_port_that_is_taken_is_told(command):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        status, error = command("--port", str(other.getsockname()[1]))

    assert status == 1
    assert "cannot be used" in error
