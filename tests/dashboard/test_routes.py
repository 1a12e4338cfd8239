"""What components fetch by themselves: only what is new, and only with the key."""

import io
import json

import pytest
import streamlit as st
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from dashboard import routes
from dashboard.queries import curves
from engine.records.curves import MetricPoint
from tests.conftest import NOW


@pytest.fixture
def client():
    with TestClient(Starlette(routes=list(routes.ROUTES))) as opened:
        yield opened


@pytest.fixture
def trained_app(trained, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))
    st.cache_resource.clear()
    return trained


def ask(client, what, **query):
    return client.get(f"/{routes.address(what)}", params=query)


def test_without_the_key_nothing_is_told(client, running):
    for what in ("curve?metric=l1&runs=1:0", "sample/1/source.png", "strip", "animation"):
        assert client.get(f"/chromabench/guess/{what}").status_code == 403


def test_a_chart_that_has_nothing_gets_the_whole_line(client, running):
    found = ask(client, "curve", metric="l1", runs="1:0,2:0").json()

    (line,) = found["lines"].values()
    assert line["stride"] == 1
    assert [it[2] for it in line["stretches"]] == list(range(1, 17))
    assert line["stretches"][3][4] == 1 / 4
    assert found["points"] == []


def test_then_only_what_is_new_and_nothing_where_nothing_is(client, running):
    found = ask(client, "curve", metric="l1", runs="1:0").json()
    cursor = found["lines"]["1"]["stretches"][-1][-1]
    assert ask(client, "curve", metric="l1", runs=f"1:{cursor}").status_code == 204
    job = running.read_job(1)
    points = [MetricPoint(1, 17, 3, name, 0.5, at=9.0) for name in ("l1", "d_loss")]
    running.add_metrics(job, 2, 17, points, NOW)

    answer = ask(client, "curve", metric="l1", runs=f"1:{cursor},2:0")

    assert answer.json()["lines"] == {}
    ((run_id, new, step, at, value),) = answer.json()["points"]
    assert (run_id, step, at, value) == (1, 17, 9.0, 0.5)
    assert new > cursor
    assert len(answer.content) < 100


@pytest.mark.parametrize(
    "query",
    [
        {"metric": "secrets", "runs": "1:0"},
        {"metric": "l1", "runs": "x"},
        {"metric": "l1", "runs": "1:0; DROP TABLE runs"},
        {"metric": "l1", "runs": "9" * 30 + ":0"},
        {"metric": "l1"},
        {},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(client, running, query):
    answer = ask(client, "curve", **query)

    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_value_that_is_missing_travels_as_null(client, running):
    job = running.read_job(1)
    running.add_metrics(job, 2, 17, [MetricPoint(1, 17, 3, "perceptual", None)], NOW)

    (line,) = ask(client, "curve", metric="perceptual", runs="1:0").json()["lines"].values()

    assert line["stretches"][0][4:7] == [None, None, None]


@pytest.mark.parametrize(
    ("steps", "stride"), [(0, 1), (1000, 1), (1001, 2), (20_000, 32), (10**9, 2**20)]
)
def test_a_line_has_at_most_a_thousand_stretches(steps, stride):
    assert curves.stride_of(steps) == stride
    assert steps / stride <= curves.MOST_STRETCHES


def test_a_sample_is_sent_and_kept_by_the_browser(client, running):
    answer = ask(client, "sample/1/epoch-00002-fake.png")

    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert Image.open(io.BytesIO(answer.content)).width == 128


@pytest.mark.parametrize(
    "name", ["epoch-00009.png", "..%2F..%2F..%2Fruns.db", "..%2Frun.log", "x.pt", "."]
)
def test_no_other_file_is_sent(client, running, app_settings, name):
    (app_settings.run_dir(1) / "run.log").write_text("secret")

    assert ask(client, f"sample/1/{name}").status_code == 404


def test_no_file_but_scripts_and_styles_is_static(client):
    assert client.get("/chromabench/static/gallery/gallery.js").status_code == 200
    for name in ("gallery/gallery.py", "..%2Fescape.py", "..%2F..%2Fapp.py", "gallery/none.js"):
        assert client.get(f"/chromabench/static/{name}").status_code == 404


def test_strips_hold_the_pictures_that_are_named(client, trained_app):
    names = [it.picture for it in trained_app.store.read_scores([1], "test", ["psnr"])[:3]]

    for of in ("source", "target", "1", "2"):
        answer = ask(client, "strip", study=1, of=of, v="1", names=json.dumps(names))
        with Image.open(io.BytesIO(answer.content)) as strip:
            assert strip.size == (128, 3 * 132 - 4)


@pytest.mark.parametrize(
    ("of", "names", "status"),
    [
        ("9", ["1F600"], 404),
        ("target", ["nothing"], 404),
        ("1", "no list", 400),
        ("1", 5, 400),
        ("1", [], 400),
        ("1", ["1F600"] * 49, 400),
        ("1", [["1F600"]], 400),
    ],
)
def test_a_strip_of_what_is_not_there_is_refused(client, trained_app, of, names, status):
    answer = ask(client, "strip", study=1, of=of, v="1", names=json.dumps(names))

    assert answer.status_code == status


def test_a_key_of_foreign_letters_is_only_a_wrong_key(client, running):
    assert client.get("/chromabench/%C3%BC/curve").status_code == 403


def test_an_animation_is_a_file_to_keep(client, trained_app):
    answer = ask(client, "animation", study=1, runs="1,2", row=0, format="webp")

    assert answer.headers["content-type"] == "image/webp"
    assert 'filename="study-1-picture-1.webp"' in answer.headers["content-disposition"]
    assert Image.open(io.BytesIO(answer.content)).n_frames == 3
    assert ask(client, "animation", study=1, runs="1", row=0, format="exe").status_code == 404
