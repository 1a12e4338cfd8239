"""Requests to the application in this process."""

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
from engine.serve.compositing import Answer
from engine.serve.limits import RequestLimits
from engine.serve.service import ModelSelection, ModelService
from engine.store import Store
from tests.support.malformed_files import malformed
from tests.support.runs import NOW
from tests.support.uploads import BASE_URL, as_file, as_picture, drawing, photograph, post


def expected(model, picture):
    """Colorizes a picture with a model, without the server."""
    prepared = pipeline.prepare(as_file(picture), model.expects, model.px, "auto", 10**7)
    return pipeline.compose(prepared, model.colorize(prepared.letterboxed.square[None])[0])


@pytest.mark.parametrize("size", [(32, 32), (300, 200), (7, 90), (1, 1), (640, 20)])
def test_the_answer_is_a_coloured_picture_of_the_inputs_size(client, service, size):
    answer = post(client, as_file(drawing(size=size) if min(size) > 1 else photograph(size)))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert as_picture(answer.content).shape == (size[1], size[0], 3)
    assert answer.headers["x-chromabench-run"] == str(service.default_model.run.id)
    assert answer.headers["x-chromabench-checkpoint"] == service.default_model.checkpoint.sha256


def test_the_answer_has_the_lines_of_the_drawing_and_colours(client, service):
    lines = drawing(size=(400, 300))
    picture = as_picture(post(client, as_file(lines)).content)

    assert (picture == expected(service.default_model, lines)).all()
    assert picture[lines.max(axis=-1) < 10].max() < 40  # the ink is still black
    # The colours are pale, because the model was trained for three epochs only.
    assert (np.ptp(picture.astype(int), axis=-1) > 0).mean() > 0.5


@pytest.mark.parametrize("file_format", ["png", "jpeg", "webp"])
def test_the_answer_has_the_requested_format(client, file_format):
    answer = post(client, as_file(drawing()), format=file_format)

    assert answer.headers["content-type"] == f"image/{file_format}"
    assert as_picture(answer.content).shape == (200, 300, 3)


def test_a_run_can_be_requested_by_its_number(client):
    answers = [post(client, as_file(drawing()), run=run) for run in (1, 2)]

    assert [answer.headers["x-chromabench-run"] for answer in answers] == ["1", "2"]
    configurations = [answer.headers["x-chromabench-configuration"] for answer in answers]
    assert configurations == ["standard", "gan"]
    refused = post(client, as_file(drawing()), run=99)
    assert (refused.status_code, refused.json()["detail"][:15]) == (404, "There is no run")


def test_the_lines_of_a_photograph_are_extracted_with_a_note(client):
    answer = post(client, as_file(photograph()))

    assert "its lines were extracted first" in unquote(answer.headers["x-chromabench-notes"])
    unchanged = post(client, as_file(photograph()), given="as_is")
    assert unquote(unchanged.headers["x-chromabench-notes"]) == ""
    assert unchanged.content != answer.content


def test_a_conversion_of_the_picture_is_noted(client):
    answer = post(client, as_file(drawing()[..., 0]))

    assert "grey converted to RGB" in unquote(answer.headers["x-chromabench-notes"])


def test_a_model_of_photographs_keeps_their_lightness(service):
    picture = photograph((200, 120))
    prepared = pipeline.prepare(as_file(picture), "grey", 32, "auto", 10**7)
    composed = pipeline.compose(prepared, Answer(photograph((32, 32), 5)))

    square = prepared.letterboxed.square
    assert (square[..., 0] == square[..., 2]).all()
    difference = compositing.to_grey(composed).astype(int) - compositing.to_grey(picture)
    assert np.abs(difference).max() <= 2
    assert "own colours were ignored" in prepared.notes[0]
    prepared_drawing = pipeline.prepare(as_file(drawing()), "grey", 32, "auto", 10**7)
    assert "looks like line art" in prepared_drawing.notes[0]


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 400, "0 bytes"),
        (b"hello", 415, "no picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "no picture"),
        (as_file(drawing())[:200], 422, "truncated"),
        (as_file(np.zeros((6000, 6000), np.uint8)), 413, "36 megapixels; at most 25"),
        (np.random.default_rng(0).bytes(2**20 + 1), 413, "the limit is 1 MB"),
        (np.random.default_rng(0).bytes(2**21), 413, "the limit is 1 MB"),
    ],
    ids=["empty", "text", "svg", "truncated", "pixels", "file", "body"],
)
def test_a_file_that_cannot_be_colorized_is_refused_with_the_reason(
    client, content, status, message
):
    answer = post(client, content)

    assert answer.status_code == status
    assert message in answer.json()["detail"]


@pytest.mark.parametrize(
    ("request_arguments", "status"),
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
def test_an_invalid_request_is_refused(client, request_arguments, status):
    assert client.post("/api/v1/colorize", **request_arguments).status_code == status


def test_after_60_malformed_uploads_the_server_still_answers(client):
    statuses = []
    # Files with every kind of damage in every format, and of every mode and size.
    for name, content, _ in itertools.islice(malformed(np.random.default_rng(3)), 60):
        answer = client.post("/api/v1/colorize", files={"file": (name, content)})
        statuses.append(answer.status_code)
        if answer.status_code != 200:
            assert answer.json()["detail"]

    assert set(statuses) <= {200, 400, 413, 415, 422}
    assert sum(status >= 400 for status in statuses) >= 15
    assert post(client, as_file(drawing())).status_code == 200


@pytest.mark.parametrize("file_format", pipeline.OUTPUT_FORMATS)
def test_a_picture_with_a_side_above_the_limit_is_refused(client, file_format):
    longest = as_file(np.full((1, pipeline.MAX_SIDE_PX), 255, np.uint8))
    too_long = as_file(np.full((1, pipeline.MAX_SIDE_PX + 1), 255, np.uint8))

    picture = as_picture(post(client, longest, format=file_format).content)
    assert picture.shape == (1, pipeline.MAX_SIDE_PX, 3)
    assert post(client, too_long, format=file_format).status_code == 413


def test_a_square_that_cannot_be_colorized_does_not_affect_the_rest_of_its_batch(service):
    model = service.default_model
    colorize = model.colorize

    def refuse_sevens(squares, decoding):
        if (squares == 7).all(axis=(1, 2, 3)).any():
            raise EngineError("refused")
        return colorize(squares, decoding)

    async def colorize_all():
        async with batching.Batcher() as batcher:
            good = compositing.letterbox(drawing(), model.px, True).square
            squares = [good, np.full_like(good, 7), good]
            refusing_model = replace(model)
            object.__setattr__(refusing_model, "colorize", refuse_sevens)
            return await asyncio.gather(
                *(batcher.colorize(refusing_model, square) for square in squares),
                return_exceptions=True,
            )

    answers = asyncio.run(colorize_all())

    assert [isinstance(answer, Answer) for answer in answers] == [True, False, True]
    assert isinstance(answers[1], EngineError)


def test_a_request_without_a_free_slot_is_refused_with_a_retry_time(trained):
    limits = RequestLimits(max_requests=2)
    service = ModelService(trained.store, trained.settings, ModelSelection(), limits, "cpu")
    service.reload_default()
    may_continue = threading.Event()
    colorize = service.default_model.colorize

    def wait_and_colorize(squares, decoding):
        may_continue.wait(60)
        return colorize(squares, decoding)

    object.__setattr__(service.default_model, "colorize", wait_and_colorize)
    with (
        TestClient(build_app(service), base_url=BASE_URL) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        waiting = [threads.submit(post, client, as_file(drawing(seed))) for seed in range(2)]
        while service.request_slots.used < 2:
            time.sleep(0.01)
        refused = post(client, as_file(drawing()))
        may_continue.set()
        statuses = [future.result().status_code for future in waiting]
        assert post(client, as_file(drawing())).status_code == 200

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert statuses == [200, 200]


def test_an_upload_that_takes_too_long_is_refused(trained):
    limits = RequestLimits(upload_timeout_s=0.2)
    service = ModelService(trained.store, trained.settings, ModelSelection(), limits, "cpu")
    service.reload_default()
    is_answered = threading.Event()

    def slow_body():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        is_answered.wait(60)
        yield b"late\r\n--b--\r\n"

    async def status_of_request():
        messages, parts = [], slow_body()

        async def receive():
            body = await asyncio.to_thread(next, parts, b"")
            return {"type": "http.request", "body": body, "more_body": bool(body)}

        async def send(message):
            messages.append(message)

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
        await build_app(service)(scope, receive, send)
        is_answered.set()
        return messages[0]["status"]

    assert asyncio.run(status_of_request()) == 408


def test_waiting_requests_form_one_batch_and_each_gets_its_own_answer(service):
    model = service.default_model
    batch_sizes = []

    async def colorize_all():
        async with batching.Batcher(batch_sizes.append) as batcher:
            squares = [
                compositing.letterbox(drawing(seed), model.px, True).square for seed in range(9)
            ]
            first = asyncio.create_task(batcher.colorize(model, squares[0]))
            await asyncio.sleep(0)
            others = [
                asyncio.create_task(batcher.colorize(model, square)) for square in squares[1:]
            ]
            return squares, await asyncio.gather(first, *others)

    squares, answers = asyncio.run(colorize_all())

    assert sum(batch_sizes) == 9
    assert len(batch_sizes) <= 3
    for square, answer in zip(squares, answers, strict=True):
        single = model.colorize(square[None])[0]
        assert np.abs(answer.picture.astype(int) - single.picture).max() <= 1


def test_a_cancelled_request_does_not_affect_the_rest_of_its_batch(service):
    model = service.default_model

    async def colorize_all():
        async with batching.Batcher() as batcher:
            square = compositing.letterbox(drawing(), model.px, True).square
            tasks = [asyncio.create_task(batcher.colorize(model, square)) for _ in range(5)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    answers = asyncio.run(colorize_all())

    assert [isinstance(answer, Answer) for answer in answers] == [True, False, True, True, True]


def test_a_failure_of_one_model_does_not_affect_requests_to_another(service):
    broken = replace(service.default_model, generator=None)

    async def colorize_both():
        async with batching.Batcher() as batcher:
            square = compositing.letterbox(drawing(), broken.px, True).square
            return await asyncio.gather(
                batcher.colorize(broken, square),
                batcher.colorize(service.default_model, square),
                return_exceptions=True,
            )

    failed, answered = asyncio.run(colorize_both())

    assert isinstance(failed, TypeError)
    assert isinstance(answered, Answer)


def test_models_are_listed_best_first_with_what_they_expect(client, service):
    listed = client.get("/api/v1/models").json()
    models = listed["models"]

    assert listed["default"] == models[0]["run"] == service.default_model.run.id
    assert {model["configuration"] for model in models} == {"standard", "gan"}
    assert {(model["expects"], model["px"]) for model in models} == {("sketch", 32)}
    assert client.get("/api/v1/models", params={"study": 9}).status_code == 404


def test_health_readiness_metrics_and_documentation(client, service):
    post(client, as_file(drawing()))
    post(client, b"", run=10**9)

    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["run"] == service.default_model.run.id
    metrics = client.get("/metrics").text
    assert 'chromabench_requests_total{run="' in metrics
    assert 'run="1000000000"' not in metrics
    assert "chromabench_batch_pictures_count" in metrics
    described = client.get("/openapi.json").json()["paths"]["/api/v1/colorize"]["post"]
    assert "multipart/form-data" in described["requestBody"]["content"]


def test_a_request_to_another_host_name_is_refused(client):
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400


def test_with_a_token_only_requests_with_the_token_are_answered(trained):
    service = ModelService(trained.store, trained.settings, ModelSelection(), device="cpu")
    service.reload_default()
    with TestClient(build_app(service, "a long random text"), base_url="http://any") as client:
        assert post(client, as_file(drawing())).status_code == 401
        assert client.get("/metrics", headers={"Authorization": "Bearer no"}).status_code == 401
        assert client.get("/healthz").status_code == 200
        client.headers["Authorization"] = "Bearer a long random text"
        assert post(client, as_file(drawing())).status_code == 200


def test_before_the_first_model_the_server_is_alive_but_not_ready(settings, store):
    service = ModelService(store, settings, ModelSelection(), device="cpu")
    service.reload_default()
    with TestClient(build_app(service), base_url=BASE_URL) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 503
        refused = post(client, as_file(drawing()))
        assert refused.status_code == 503
        assert "no run is done" in refused.json()["detail"]


def test_a_selected_run_or_study_that_does_not_exist_is_refused_at_the_start(settings, store):
    for selection in (ModelSelection(run_id=5), ModelSelection(study_id=5)):
        with pytest.raises(BadInputError):
            ModelService(store, settings, selection, device="cpu").reload_default()


def test_a_better_run_becomes_the_default(trained):
    store = Store(trained.settings.database_url)
    selection = ModelSelection(study_id=1)
    service = ModelService(store, trained.settings, selection, device="cpu")
    service.reload_default()
    first = service.default_model
    try:
        store.runs.archive(first.run.id, NOW)  # now the other run is the best
        service.reload_default()
        assert service.default_model.run.id != first.run.id
    finally:
        store.runs.archive(first.run.id, None)
    service.reload_default()
    assert service.default_model is first
    assert service.metrics.registry.get_sample_value("chromabench_model_swaps_total") == 2
    store.close()
