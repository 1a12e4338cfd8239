"""The routes send only new points and existing files, and only with the access key."""

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
from tests.support.runs import NOW


@pytest.fixture
def client():
    with TestClient(Starlette(routes=routes.ROUTES)) as opened:
        yield opened


@pytest.fixture
def trained_app(trained, monkeypatch):
    monkeypatch.setenv("CHROMABENCH_DATABASE_URL", trained.settings.database_url)
    monkeypatch.setenv("CHROMABENCH_ARTIFACTS", str(trained.settings.artifacts))
    st.cache_resource.clear()
    return trained


def get(client, path, **query):
    return client.get(f"/{routes.route_url(path)}", params=query)


def test_every_data_route_needs_the_key(client, running):
    for path in ("curve?metric=l1&runs=1:0", "sample/1/source.png", "strip", "animation"):
        assert client.get(f"/chromabench/guess/{path}").status_code == 403


def test_every_route_also_exists_below_a_base_path(client, running):
    for path in (
        "static/swipe/swipe.js",
        "guess/curve",
        f"{routes.access_key()}/sample/1/none.png",
    ):
        root = client.get(f"/chromabench/{path}")
        below = client.get(f"/team/chroma/chromabench/{path}")
        assert (below.status_code, below.content) == (root.status_code, root.content)
    assert client.get(f"/team/{routes.PLOTLY_URL}").status_code == 200


def test_a_chart_without_points_gets_the_whole_line(client, running):
    content = get(client, "curve", metric="l1", runs="1:0,2:0").json()

    (line,) = content["lines"].values()
    assert line["stride"] == 1
    assert [step for _, _, step, *_ in line["buckets"]] == list(range(1, 17))
    assert line["buckets"][3][4] == 1 / 4
    assert content["points"] == []


def test_a_chart_with_points_gets_only_new_points(client, running):
    content = get(client, "curve", metric="l1", runs="1:0").json()
    cursor = content["lines"]["1"]["buckets"][-1][-1]
    assert get(client, "curve", metric="l1", runs=f"1:{cursor}").status_code == 204
    job = running.jobs.read(1)
    points = [MetricPoint(1, 17, 3, name, 0.5, at=9.0) for name in ("l1", "d_loss")]
    running.curves.add_points(job, 2, 17, points, NOW)

    response = get(client, "curve", metric="l1", runs=f"1:{cursor},2:0")

    assert response.json()["lines"] == {}
    ((run_id, new, step, at, value),) = response.json()["points"]
    assert (run_id, step, at, value) == (1, 17, 9.0, 0.5)
    assert new > cursor
    assert len(response.content) < 100


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
def test_an_invalid_request_is_refused(client, running, query):
    response = get(client, "curve", **query)

    assert response.status_code == 400
    assert response.json()["error"]


def test_a_missing_value_is_sent_as_null(client, running):
    job = running.jobs.read(1)
    running.curves.add_points(job, 2, 17, [MetricPoint(1, 17, 3, "perceptual", None)], NOW)

    (line,) = get(client, "curve", metric="perceptual", runs="1:0").json()["lines"].values()

    assert line["buckets"][0][4:7] == [None, None, None]


@pytest.mark.parametrize(
    ("steps", "stride"), [(0, 1), (1000, 1), (1001, 2), (20_000, 32), (10**9, 2**20)]
)
def test_a_line_has_at_most_a_thousand_buckets(steps, stride):
    assert curves.bucket_stride(steps) == stride
    assert steps / stride <= curves.MAX_BUCKETS


def test_a_sample_is_sent_and_cached_by_the_browser(client, running):
    response = get(client, "sample/1/epoch-00002-fake.png")

    assert response.status_code == 200
    assert "immutable" in response.headers["cache-control"]
    assert Image.open(io.BytesIO(response.content)).width == 128


@pytest.mark.parametrize(
    "name", ["epoch-00009.png", "..%2F..%2F..%2Fruns.db", "..%2Frun.log", "x.pt", "."]
)
def test_no_file_but_samples_is_sent(client, running, app_settings, name):
    (app_settings.run_dir(1) / "run.log").write_text("secret")

    assert get(client, f"sample/1/{name}").status_code == 404


def test_the_static_route_sends_only_scripts_and_styles(client):
    assert client.get("/chromabench/static/gallery/gallery.js").status_code == 200
    for name in ("gallery/gallery.py", "..%2Fescape.py", "..%2F..%2Fapp.py", "gallery/none.js"):
        assert client.get(f"/chromabench/static/{name}").status_code == 404


def test_a_strip_contains_the_named_pictures(client, trained_app):
    scores = trained_app.store.evaluations.read_scores([1], "test", ["psnr"])
    names = [score.picture for score in scores[:3]]

    for of in ("source", "target", "1", "2"):
        response = get(client, "strip", study=1, of=of, v="1", names=json.dumps(names))
        with Image.open(io.BytesIO(response.content)) as strip:
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
def test_a_strip_of_missing_pictures_is_refused(client, trained_app, of, names, status):
    response = get(client, "strip", study=1, of=of, v="1", names=json.dumps(names))

    assert response.status_code == status


def test_a_key_with_non_ascii_characters_is_refused_as_wrong(client, running):
    assert client.get("/chromabench/%C3%BC/curve").status_code == 403


def test_an_animation_is_sent_as_a_download(client, trained_app):
    response = get(client, "animation", study=1, runs="1,2", row=0, format="webp")

    assert response.headers["content-type"] == "image/webp"
    assert 'filename="study-1-picture-1.webp"' in response.headers["content-disposition"]
    assert Image.open(io.BytesIO(response.content)).n_frames == 3
    assert get(client, "animation", study=1, runs="1", row=0, format="exe").status_code == 404
