"""Questions and answers, asked of the application in this process."""

import asyncio
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import unquote

import numpy as np
import pytest
from starlette.testclient import TestClient

from engine.errors import BadInputError, EngineError
from engine.serve import batching, compositing, pipeline
from engine.serve.app import build_app
from engine.serve.limits import Limits
from engine.serve.service import Choice, Serving
from engine.store import Store
from tests.conftest import NOW
from tests.engine.images.test_decoding import malformed
from tests.engine.serve.conftest import HERE, as_file, as_picture, drawing, photograph, post


def expected(model, picture):
    """What a model makes of a picture, asked alone."""
    question = pipeline.read(as_file(picture), model.expects, model.px, "auto", 10**7)
    return pipeline.finish(question, model.colour(question.framed.square[None])[0])


@pytest.mark.parametrize("size", [(32, 32), (300, 200), (7, 90), (1, 1), (640, 20)])
def test_the_answer_is_a_coloured_picture_of_the_inputs_size(client, serving, size):
    answer = post(client, as_file(drawing(size=size) if min(size) > 1 else photograph(size)))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert as_picture(answer.content).shape == (size[1], size[0], 3)
    assert answer.headers["x-chromabench-run"] == str(serving.default.run.id)
    assert answer.headers["x-chromabench-checkpoint"] == serving.default.saved.sha256


def test_lines_stay_and_colours_come(client, serving):
    lines = drawing(size=(400, 300))
    made = as_picture(post(client, as_file(lines)).content)

    assert (made == expected(serving.default, lines)).all()
    assert made[lines.max(axis=-1) < 10].max() < 40  # the ink is as black as it was
    # Colours come: pale ones, of a model of three epochs.
    assert (np.ptp(made.astype(int), axis=-1) > 0).mean() > 0.5


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_the_answer_has_the_format_that_was_asked_for(client, kind):
    answer = post(client, as_file(drawing()), format=kind)

    assert answer.headers["content-type"] == f"image/{kind}"
    assert as_picture(answer.content).shape == (200, 300, 3)


def test_a_run_can_be_asked_by_its_number(client):
    of_each = [post(client, as_file(drawing()), run=run) for run in (1, 2)]

    assert [it.headers["x-chromabench-run"] for it in of_each] == ["1", "2"]
    assert [it.headers["x-chromabench-configuration"] for it in of_each] == ["standard", "gan"]
    refused = post(client, as_file(drawing()), run=99)
    assert (refused.status_code, refused.json()["detail"][:15]) == (404, "There is no run")


def test_a_photograph_gets_its_lines_extracted_and_that_is_said(client):
    answer = post(client, as_file(photograph()))

    assert "its lines were extracted first" in unquote(answer.headers["x-chromabench-notes"])
    as_it_is = post(client, as_file(photograph()), given="as_is")
    assert unquote(as_it_is.headers["x-chromabench-notes"]) == ""
    assert as_it_is.content != answer.content


def test_what_was_changed_on_the_way_in_is_said(client):
    answer = post(client, as_file(drawing()[..., 0]))

    assert "grey brought to RGB" in unquote(answer.headers["x-chromabench-notes"])


def test_a_model_of_photographs_keeps_their_lightness(serving):
    picture = photograph((200, 120))
    question = pipeline.read(as_file(picture), "grey", 32, "auto", 10**7)
    made = pipeline.finish(question, photograph((32, 32), 5))

    assert (question.framed.square[..., 0] == question.framed.square[..., 2]).all()
    apart = compositing.grey_of(made).astype(int) - compositing.grey_of(picture)
    assert np.abs(apart).max() <= 2
    assert "own colours were left" in question.notes[0]
    drawn = pipeline.read(as_file(drawing()), "grey", 32, "auto", 10**7)
    assert "looks like line art" in drawn.notes[0]


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "0 bytes"),
        (b"hello", 415, "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "no picture"),
        (as_file(drawing())[:200], 422, "truncated"),
        (as_file(np.zeros((6000, 6000), np.uint8)), 413, "36 megapixels; at most 25"),
        (np.random.default_rng(0).bytes(2**20 + 1), 413, "at most 1 MB"),
        (np.random.default_rng(0).bytes(2**21), 413, "at most 1 MB"),
    ],
    ids=["empty", "text", "svg", "truncated", "pixels", "file", "body"],
)
def test_what_cannot_be_coloured_is_refused_with_the_reason(client, content, status, said):
    answer = post(client, content)

    assert answer.status_code == status
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("request_of", "status"),
    [
        ({"content": b"x", "headers": {"Content-Type": "image/png"}}, 415),
        ({"content": b"x"}, 415),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        (
            {"content": b"junk", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
            400,
        ),
        ({"data": {"file": "a text"}, "files": {"other": b"x"}}, 400),
        ({"files": {"other": as_file(drawing())}}, 400),
        ({"files": [("file", b"a"), ("file", b"b")]}, 400),
        ({"files": {"file": as_file(drawing())}, "params": {"run": "first"}}, 422),
        ({"files": {"file": as_file(drawing())}, "params": {"run": "-1"}}, 422),
        ({"files": {"file": as_file(drawing())}, "params": {"run": str(10**30)}}, 422),
        ({"files": {"file": as_file(drawing())}, "params": {"format": "gif"}}, 422),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(client, request_of, status):
    assert client.post("/api/v1/colorize", **request_of).status_code == status


def test_200_malformed_uploads_are_refused_or_answered_and_break_nothing(client):
    statuses = []
    for name, content, _ in itertools.islice(malformed(np.random.default_rng(3)), 200):
        answer = client.post("/api/v1/colorize", files={"file": (name, content)})
        statuses.append(answer.status_code)
        if answer.status_code != 200:
            assert answer.json()["detail"]

    assert set(statuses) <= {200, 400, 413, 415, 422}
    assert sum(it >= 400 for it in statuses) >= 50
    assert post(client, as_file(drawing())).status_code == 200


@pytest.mark.parametrize("kind", pipeline.FORMATS)
def test_a_picture_may_be_very_long_but_not_endless(client, kind):
    longest = as_file(np.full((1, pipeline.LONGEST), 255, np.uint8))
    endless = as_file(np.full((1, pipeline.LONGEST + 1), 255, np.uint8))

    made = as_picture(post(client, longest, format=kind).content)
    assert made.shape == (1, pipeline.LONGEST, 3)
    assert post(client, endless, format=kind).status_code == 413


def test_one_that_cannot_be_answered_costs_the_others_nothing(serving):
    model = serving.default
    colour = model.colour

    def picky(squares):
        if (squares == 7).all(axis=(1, 2, 3)).any():
            raise EngineError("this one not")
        return colour(squares)

    async def ask():
        async with batching.Batcher() as batcher:
            good = compositing.frame(drawing(), model.px, True).square
            squares = [good, np.full_like(good, 7), good]
            picked = replace(model)
            object.__setattr__(picked, "colour", picky)
            return await asyncio.gather(
                *(batcher.ask(picked, it) for it in squares), return_exceptions=True
            )

    answers = asyncio.run(ask())

    assert [isinstance(it, np.ndarray) for it in answers] == [True, False, True]
    assert isinstance(answers[1], EngineError)


def test_who_finds_no_place_is_told_to_come_again(trained):
    serving = Serving(trained.store, trained.settings, Choice(), Limits(queue=2), device="cpu")
    serving.look()
    may_go_on = threading.Event()
    colour = serving.default.colour

    def slow(squares):
        may_go_on.wait(60)
        return colour(squares)

    object.__setattr__(serving.default, "colour", slow)
    with (
        TestClient(build_app(serving), base_url=HERE) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        waiting = [threads.submit(post, client, as_file(drawing(it))) for it in range(2)]
        while serving.queue.taken < 2:
            time.sleep(0.01)
        refused = post(client, as_file(drawing()))
        may_go_on.set()
        answers = [it.result().status_code for it in waiting]
        assert post(client, as_file(drawing())).status_code == 200

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert answers == [200, 200]


def test_an_upload_that_takes_too_long_is_given_up(trained):
    serving = Serving(trained.store, trained.settings, Choice(), Limits(upload_s=0.2), "cpu")
    serving.look()

    def drops():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        time.sleep(1)
        yield b"late\r\n--b--\r\n"

    async def ask():
        sent, parts = [], drops()

        async def receive():
            body = await asyncio.to_thread(next, parts, b"")
            return {"type": "http.request", "body": body, "more_body": bool(body)}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/v1/colorize",
            "query_string": b"",
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"content-type", b"multipart/form-data; boundary=b"),
            ],
        }
        await build_app(serving)(scope, receive, send)
        return sent[0]["status"]

    assert asyncio.run(ask()) == 408


def test_requests_that_wait_are_one_batch_and_each_gets_its_own(trained, serving):
    model = serving.default
    sizes, calls = [], threading.Event()
    colour = model.colour

    async def ask():
        async with batching.Batcher(sizes.append) as batcher:
            squares = [compositing.frame(drawing(it), model.px, True).square for it in range(9)]
            first = asyncio.create_task(batcher.ask(model, squares[0]))
            await asyncio.sleep(0)
            rest = [asyncio.create_task(batcher.ask(model, it)) for it in squares[1:]]
            calls.set()
            return squares, await asyncio.gather(first, *rest)

    squares, answers = asyncio.run(ask())

    assert sum(sizes) == 9
    assert len(sizes) <= 3
    for square, answer in zip(squares, answers, strict=True):
        alone = colour(square[None])[0]
        assert np.abs(answer.astype(int) - alone).max() <= 1


def test_one_that_left_does_not_hold_up_the_others(serving):
    model = serving.default

    async def ask():
        async with batching.Batcher() as batcher:
            square = compositing.frame(drawing(), model.px, True).square
            tasks = [asyncio.create_task(batcher.ask(model, square)) for _ in range(5)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(ask())

    assert [isinstance(it, np.ndarray) for it in answers] == [True, False, True, True, True]


def test_a_fault_of_the_model_is_told_to_its_askers_alone(serving):
    broken = replace(serving.default, generator=None)

    async def ask():
        async with batching.Batcher() as batcher:
            square = compositing.frame(drawing(), broken.px, True).square
            return await asyncio.gather(
                batcher.ask(broken, square),
                batcher.ask(serving.default, square),
                return_exceptions=True,
            )

    failed, answered = asyncio.run(ask())

    assert isinstance(failed, TypeError)
    assert isinstance(answered, np.ndarray)


def test_models_are_listed_best_first_with_what_they_expect(client, serving):
    listed = client.get("/api/v1/models").json()

    assert listed["default"] == listed["models"][0]["run"] == serving.default.run.id
    assert {it["configuration"] for it in listed["models"]} == {"standard", "gan"}
    assert {(it["expects"], it["px"]) for it in listed["models"]} == {("sketch", 32)}
    assert client.get("/api/v1/models", params={"study": 9}).status_code == 404


def test_health_readiness_measures_and_documentation(client, serving):
    post(client, as_file(drawing()))
    post(client, b"", run=10**9)

    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["run"] == serving.default.run.id
    told = client.get("/metrics").text
    assert 'chromabench_requests_total{run="' in told
    assert 'run="1000000000"' not in told
    assert "chromabench_batch_pictures_count" in told
    described = client.get("/openapi.json").json()["paths"]["/api/v1/colorize"]["post"]
    assert "multipart/form-data" in described["requestBody"]["content"]


def test_a_page_of_another_origin_cannot_use_a_name_of_its_own(client):
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400


def test_with_a_token_only_who_has_it_is_answered(trained):
    serving = Serving(trained.store, trained.settings, Choice(), device="cpu")
    serving.look()
    with TestClient(build_app(serving, "a long random text"), base_url="http://any") as client:
        assert post(client, as_file(drawing())).status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer no"}).status_code == 401
        assert client.get("/healthz").status_code == 200
        client.headers["Authorization"] = "Bearer a long random text"
        assert post(client, as_file(drawing())).status_code == 200


def test_before_the_first_model_it_is_alive_but_not_ready(settings, store):
    serving = Serving(store, settings, Choice(), device="cpu")
    serving.look()
    with TestClient(build_app(serving), base_url=HERE) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        refused = post(client, as_file(drawing()))
        assert refused.status_code == 503
        assert "no run has ended" in refused.json()["detail"]


def test_what_was_named_and_is_not_there_is_refused_at_the_start(settings, store):
    for choice in (Choice(run_id=5), Choice(study_id=5)):
        with pytest.raises(BadInputError):
            Serving(store, settings, choice, device="cpu").look()


def test_a_better_run_takes_over_when_it_ends(trained, tmp_path):
    store = Store(trained.settings.database_url)
    serving = Serving(store, trained.settings, Choice(study_id=1), device="cpu")
    serving.look()
    before = serving.default
    try:
        store.archive_run(before.run.id, NOW)  # as if the other had always been the best
        serving.look()
        assert serving.default.run.id != before.run.id
    finally:
        store.archive_run(before.run.id, None)
    serving.look()
    assert serving.default is before
    assert serving.measures.registry.get_sample_value("chromabench_model_swaps_total") == 2
    store.close()
