"""A webhook hears of the end of a study, once, and stops nothing when it does not answer."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from engine.jobs import webhook
from engine.records.runs import RunState
from engine.system import child_environment
from tests.conftest import NOW, tiny_config, wait_for


@pytest.fixture
def listener():
    """A server that keeps what it is told: -> (address, what it heard, answers to give)."""
    heard, answers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            heard.append(json.loads(body))
            self.send_response(answers.pop(0) if answers else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", heard, answers
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def ended(store):
    study, _ = store.add_study("key", "reds", [tiny_config(), tiny_config("gan")], NOW)
    for state in (RunState.DONE, RunState.FAILED):
        store.finish_job(
            store.claim_job(NOW), state, "why" if state == RunState.FAILED else None, NOW
        )
    return study, store.read_runs()


def test_what_is_posted_says_how_every_run_ended(ended, listener):
    address, heard, _ = listener

    assert webhook.post(address, webhook.describe(*ended))

    (said,) = heard
    assert said["text"] == "Study 1, reds, has ended: 1 done, 1 failed."
    assert [(it["configuration"], it["state"], it["reason"]) for it in said["runs"]] == [
        ("standard", "done", None),
        ("gan", "failed", "why"),
    ]


def test_a_webhook_that_fails_is_tried_again(ended, listener):
    address, heard, answers = listener
    answers += [500, 503]

    assert webhook.post(address, webhook.describe(*ended), pauses_s=(0, 0, 0))

    assert len(heard) == 3


def test_a_webhook_that_never_answers_is_a_line_in_the_log(ended, capsys):
    told = webhook.post("http://127.0.0.1:1/", webhook.describe(*ended), pauses_s=(0, 0))

    assert not told
    assert "the webhook was not told of study 1" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["http://127.0.0.1:notaport/", "http://["])
def test_an_address_that_is_none_is_a_line_in_the_log_too(ended, capsys, address):
    assert not webhook.post(address, webhook.describe(*ended), pauses_s=(0,))
    assert "the webhook was not told" in capsys.readouterr().out


@pytest.mark.slow
def test_the_supervisor_tells_the_webhook_when_the_last_run_has_ended(
    tiny_settings, store, listener
):
    address, heard, _ = listener
    store.add_study("key", "reds", [tiny_config()], NOW)
    environment = child_environment.worker_environment(tiny_settings) | {
        "CHROMABENCH_WEBHOOK": address
    }

    command = [sys.executable, "-m", "engine", "supervise", "--drain"]
    subprocess.run(command, env=environment, check=True, capture_output=True)

    wait_for(lambda: heard)
    assert [it["text"] for it in heard] == ["Study 1, reds, has ended: 1 done."]
