"""The server decodes the pictures of a model with a palette as each request says."""

import asyncio

import numpy as np
import pytest
from starlette.testclient import TestClient

from engine.data import packing
from engine.data.pairs import split_channels
from engine.data.sources.registry import parse_source
from engine.options.decodings import parse_decoding
from engine.serve import batching, compositing
from engine.serve.app import build_app
from engine.serve.service import ModelSelection, ModelService
from engine.workers import reevaluate
from tests.support.uploads import BASE_URL, as_file, as_picture, drawing, post

DECODINGS = ("mean", "sharp:0.1", "median:4+flat", "medoid:1+flat", "sample:1+flat")


@pytest.fixture
def service(palettes, tiny_settings):
    service = ModelService(palettes, tiny_settings, ModelSelection(run_id=1), device="cpu")
    service.reload_default()
    return service


@pytest.fixture
def client(service):
    with TestClient(build_app(service), base_url=BASE_URL) as client:
        yield client


def test_requests_with_different_decodings_at_the_same_time_get_what_each_gets_alone(service):
    model, batch_sizes = service.default_model, []
    square = compositing.letterbox(drawing(), model.px, True).square
    decodings = [*map(parse_decoding, DECODINGS), parse_decoding("sample:1+flat", 1)] * 3

    async def colorize_all():
        async with batching.Batcher(batch_sizes.append) as batcher:
            return await asyncio.gather(
                *(batcher.colorize(model, square, decoding) for decoding in decodings)
            )

    answers = asyncio.run(colorize_all())

    assert sum(batch_sizes) == len(decodings)
    assert len(batch_sizes) <= 6, "requests with the same decoding share a batch"
    for answer, decoding in zip(answers, decodings, strict=True):
        (alone,) = model.colorize(square[None], decoding)
        assert np.abs(answer.picture.astype(int) - alone.picture).max() <= 1
        assert answer.is_flat == decoding.is_flat
    assert model.generator.decoding == parse_decoding("median:1+flat"), "the model is not changed"


def test_the_answer_to_a_test_picture_is_the_picture_that_was_evaluated(
    client, service, palettes, tiny_settings
):
    run = palettes.runs.read(1)
    predictions = palettes.evaluations.read_predictions([1], "test")
    (record,) = (each for each in predictions if each.epoch == run.best_epoch)
    fakes = np.load(tiny_settings.artifacts / record.path)
    source = parse_source("openmoji", tiny_settings)
    packed = packing.load_packed(source, 32, tiny_settings)
    rows = {pair.name: row for row, pair in enumerate(packed.pairs)}

    for name, fake in zip(record.names[:6], fakes, strict=False):
        sketch, _ = split_channels(packed.pixels[rows[name]][None])
        picture = np.repeat(sketch[0].reshape(32, 32, -1)[..., :1], 3, axis=-1)
        answer = as_picture(post(client, as_file(picture), run=1, given="as_is").content)
        assert np.abs(answer.astype(int) - fake).max() <= 1


@pytest.mark.parametrize("decoding", DECODINGS)
def test_a_larger_answer_is_a_fill_times_the_lines_of_the_input(client, service, decoding):
    lines = drawing(size=(300, 260))

    answer = post(client, as_file(lines), decoding=decoding)

    assert answer.headers["x-chromabench-decoding"] == decoding
    picture = as_picture(answer.content).astype(int)
    assert (picture <= lines).all(), "nothing is lighter than the line art"
    assert (picture[lines.max(axis=-1) == 0] == 0).all(), "lines are black"
    if decoding == "sample:1+flat":
        palette = (255 * service.default_model.generator.palette.numpy()).round().astype(int)
        paper = picture[lines.min(axis=-1) == 255]
        assert {tuple(colour) for colour in paper} <= {tuple(colour) for colour in palette}


def test_each_seed_gives_another_answer_and_the_same_seed_the_same(client):
    contents = [
        post(client, as_file(drawing()), decoding="sample:5+flat", seed=seed).content
        for seed in (0, 1, 2, 1)
    ]

    assert contents[1] == contents[3]
    assert len(set(contents)) == 3


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"decoding": "vivid"}, "decoding must be one of mean, sharp, median, medoid, sample"),
        ({"decoding": "median:1+steer"}, "needs source_features=efficientnet_lite0"),
        ({"decoding": "mean", "seed": 1}, "A seed needs a decoding with the rule sample"),
        ({"seed": 1}, "A seed needs a decoding with the rule sample"),
    ],
)
def test_a_decoding_that_the_model_cannot_compute_is_refused(client, query, message):
    answer = post(client, as_file(drawing()), **query)

    assert answer.status_code == 422
    assert message in answer.json()["detail"]


def test_a_model_without_a_palette_refuses_a_decoding(trained):
    service = ModelService(trained.store, trained.settings, ModelSelection(run_id=1), device="cpu")
    service.reload_default()
    with TestClient(build_app(service), base_url=BASE_URL) as client:
        refused = post(client, as_file(drawing()), decoding="mean")
        answered = post(client, as_file(drawing()))

    assert refused.status_code == 422
    assert "has no palette" in refused.json()["detail"]
    assert answered.headers["x-chromabench-decoding"] == ""


def test_a_changed_decoding_of_the_run_is_the_default_of_a_running_server(
    client, service, palettes, tiny_settings
):
    before = post(client, as_file(drawing()), run=1)
    reevaluate.evaluate_again(
        *(palettes, tiny_settings, palettes.runs.read(1), "best", "test", "none"),
        lambda done, total: None,
        "mean",
    )

    after = post(client, as_file(drawing()), run=1)

    assert before.headers["x-chromabench-decoding"] == "median:1+flat"
    assert after.headers["x-chromabench-decoding"] == "mean"
    assert after.content == post(client, as_file(drawing()), decoding="mean").content
    service.reload_default()
    assert str(service.default_model.config.decoding) == "mean"
    described = {each["run"]: each for each in client.get("/api/v1/models").json()["models"]}
    assert described[1]["decoding"] == "mean"
