"""What the components on a page fetch by themselves: new points of curves, and pictures.

Streamlit would send all of it again with every run of a page. Here a browser asks for what it does
not have, and keeps it. Every address holds a key that only pages give away, and those are shown
behind the sign-in where there is one.
"""

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plotly
import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from dashboard.queries import curves, gallery_images, studies
from engine.errors import EngineError
from engine.metrics.catalog import CURVES

PREFIX = "/chromabench"
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
PLOTLY_ADDRESS = f"{PREFIX.removeprefix('/')}/plotly-{plotly.__version__}.js"
COMPONENTS = Path(__file__).parent / "components"
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
MOST_RUNS = 200  # in one question

Answer = Callable[[Request], Response]


@st.cache_resource
def key() -> str:
    """What an address must hold; another one at each start of the server."""
    return secrets.token_urlsafe(12)


def address(what: str) -> str:
    """Where a component finds something, relative to the page."""
    return f"{PREFIX.removeprefix('/')}/{key()}/{what}"


def _answer(answer: Answer) -> Callable[[Request], Any]:
    """Answers in a thread, to those who have the key; what is wrong is one sentence."""

    async def respond(request: Request) -> Response:
        if not secrets.compare_digest(request.path_params["key"].encode(), key().encode()):
            return JSONResponse({"error": "The server was started anew."}, 403)
        try:
            return await run_in_threadpool(answer, request)
        except EngineError as error:
            return JSONResponse({"error": str(error)[:300]}, 404)
        except (ValueError, KeyError, OverflowError) as error:
            return JSONResponse({"error": f"This question makes no sense: {error}"[:300]}, 400)

    return respond


def _curve(request: Request) -> Response:
    """New points of one curve; all of it, in stretches, for runs whose cursor is 0.

    `runs=3:0,4:812` are runs and their cursors. Nothing new: 204, without a word.
    """
    name = request.query_params["metric"]
    if name not in CURVES:
        raise KeyError(name)
    pairs = [it.split(":") for it in request.query_params["runs"].split(",")][:MOST_RUNS]
    cursors = {int(run_id): int(after) for run_id, after in pairs}
    found = curves.curve(name, cursors)
    if found is None:
        return Response(status_code=204)
    return Response(json.dumps(found, allow_nan=False), media_type="application/json")


def _sample(request: Request) -> Response:
    """A file of an epoch's samples. Its address holds the record's id, so it never changes."""
    path = gallery_images.sample_file(request.path_params["run"], request.path_params["name"])
    return FileResponse(path, headers=FOREVER)


def _strip(request: Request) -> Response:
    """Some pictures of an evaluated split below each other: sources, targets or a run's fakes."""
    asked = request.query_params
    names = json.loads(asked["names"])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("names is a list of names")
    png = gallery_images.strip(int(asked["study"]), asked["of"], names, asked["v"])
    return Response(png, media_type="image/png", headers=FOREVER)


def _animation(request: Request) -> Response:
    """One sample picture through the epochs, its runs side by side."""
    asked = request.query_params
    run_ids = tuple(int(it) for it in asked["runs"].split(","))[:MOST_RUNS]
    study = studies.store().read_study(int(asked["study"]))
    made = gallery_images.animation(study, run_ids, int(asked["row"]), asked["format"])
    name = f"study-{asked['study']}-picture-{int(asked['row']) + 1}.{asked['format']}"
    return Response(
        made,
        media_type=f"image/{asked['format']}",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _plotly(_request: Request) -> Response:
    return FileResponse(PLOTLY, headers=FOREVER)


def _script(request: Request) -> Response:
    """A component's script or styles; they import each other, so each page asks anew."""
    folder, name = request.path_params["folder"], request.path_params["name"]
    path = (COMPONENTS / folder / name).resolve()
    if path.parent.parent != COMPONENTS or path.suffix not in (".js", ".css") or not path.is_file():
        return Response(status_code=404)
    return FileResponse(path, headers={"Cache-Control": "no-cache"})


ROUTES = (
    Route(f"/{PLOTLY_ADDRESS}", _plotly),
    Route(f"{PREFIX}/static/{{folder}}/{{name}}", _script),
    Route(f"{PREFIX}/{{key}}/curve", _answer(_curve)),
    Route(f"{PREFIX}/{{key}}/sample/{{run:int}}/{{name}}", _answer(_sample)),
    Route(f"{PREFIX}/{{key}}/strip", _answer(_strip)),
    Route(f"{PREFIX}/{{key}}/animation", _answer(_animation)),
)
