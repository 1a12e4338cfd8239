"""A webhook receives one message at the end of a study; its failures affect nothing else.

The message of a real supervisor is tested in `test_supervisor.py`.
"""

import pytest

from engine.jobs import webhook
from engine.records.runs import RunState
from tests.support.runs import NOW, tiny_config
from tests.support.webhook_listener import webhook_listener

AT_ONCE = webhook.RETRIES.new(backoff_factor=0)


@pytest.fixture
def listener():
    """A server that keeps its requests: (address, received messages, statuses to respond with)."""
    with webhook_listener() as listening:
        yield listening


@pytest.fixture
def ended(store):
    study, _ = store.studies.add("key", "reds", [tiny_config(), tiny_config("gan")], NOW)
    for state in (RunState.DONE, RunState.FAILED):
        store.jobs.finish(
            store.jobs.claim(NOW), state, "why" if state == RunState.FAILED else None, NOW
        )
    return study, store.runs.read_all()


def test_the_message_tells_how_every_run_ended(ended, listener):
    address, messages, _ = listener

    assert webhook.post(address, webhook.build_message(*ended))

    (message,) = messages
    assert message["text"] == "Study 1, reds, has ended: 1 done, 1 failed."
    assert [(run["configuration"], run["state"], run["reason"]) for run in message["runs"]] == [
        ("standard", "done", None),
        ("gan", "failed", "why"),
    ]


def test_a_failed_post_is_repeated(ended, listener):
    address, messages, statuses = listener
    statuses += [500, 503]

    assert webhook.post(address, webhook.build_message(*ended), AT_ONCE)

    assert len(messages) == 3


def test_a_refusal_that_another_attempt_cannot_change_is_logged_at_once(ended, listener, caplog):
    address, messages, statuses = listener
    statuses += [404]

    assert not webhook.post(address, webhook.build_message(*ended), AT_ONCE)

    assert len(messages) == 1
    assert "could not post the end of study 1: 404 Not Found" in caplog.text


def test_a_webhook_that_never_answers_is_logged(ended, caplog):
    is_posted = webhook.post("http://127.0.0.1:1/a-secret", webhook.build_message(*ended), AT_ONCE)

    output = caplog.text
    assert not is_posted
    assert "could not post the end of study 1" in output
    assert "Connection refused" in output
    assert "secret" not in output


def test_a_webhook_that_answers_each_attempt_with_an_error_is_logged(ended, listener, caplog):
    address, messages, statuses = listener
    statuses += [503] * 4

    assert not webhook.post(address, webhook.build_message(*ended), AT_ONCE)

    assert len(messages) == 4
    assert "could not post the end of study 1: 503" in caplog.text


@pytest.mark.parametrize("address", ["http://127.0.0.1:notaport/", "http://["])
def test_an_invalid_address_is_logged(ended, caplog, address):
    assert not webhook.post(address, webhook.build_message(*ended), AT_ONCE)
    assert "could not post the end of study 1" in caplog.text
