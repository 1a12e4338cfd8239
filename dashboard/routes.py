"""HTTP routes from which components fetch curve points, pictures and their scripts.

Streamlit would send this data again with every rerun of a page. Through routes, a browser requests
only data that it does not have. The URL of a data route contains a key. Only pages contain the key,
and a page requires the sign-in if one is set up.
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

from dashboard.queries import curves, gallery_images
from engine.errors import EngineError
from engine.metrics.catalog import CURVE_METRICS

PREFIX = "/chromabench"
PLOTLY_FILE = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
PLOTLY_URL = f"{PREFIX.removeprefix('/')}/plotly-{plotly.__version__}.js"
COMPONENTS = Path(__file__).parent / "components"
CACHE_FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
MAX_RUNS = 200  # per request

Handler = Callable[[Request], Response]


@st.cache_resource
def access_key() -> str:
    """Returns the key in the URLs of data routes; the key changes when the server restarts."""
    return secrets.token_urlsafe(12)


def route_url(path: str) -> str:
    """Returns the URL of a data route, relative to the page."""
    return f"{PREFIX.removeprefix('/')}/{access_key()}/{path}"


def _with_key(handler: Handler) -> Callable[[Request], Any]:
    """Wraps a handler: checks the key, runs the handler in a thread and sends errors as JSON."""

    async def respond(request: Request) -> Response:
        if not secrets.compare_digest(request.path_params["key"].encode(), access_key().encode()):
            return JSONResponse({"error": "The server was restarted; reload the page"}, 403)
        try:
            return await run_in_threadpool(handler, request)
        except EngineError as error:
            return JSONResponse({"error": str(error)[:300]}, 404)
        except (ValueError, KeyError, OverflowError) as error:
            return JSONResponse({"error": f"The request is not valid: {error}"[:300]}, 400)

    return respond


def _curve(request: Request) -> Response:
    """Sends new points of one curve, or the whole curve for runs whose cursor is 0.

    The query `runs=3:0,4:812` names runs and their cursors. The status is 204 if there are no new
    points.
    """
    name = request.query_params["metric"]
    if name not in CURVE_METRICS:
        raise KeyError(name)
    pairs = [pair.split(":") for pair in request.query_params["runs"].split(",")][:MAX_RUNS]
    cursors = {int(run_id): int(cursor) for run_id, cursor in pairs}
    points = curves.curve(name, cursors)
    if points is None:
        return Response(status_code=204)
    return Response(json.dumps(points, allow_nan=False), media_type="application/json")


def _sample(request: Request) -> Response:
    """Sends a sample file; browsers cache the file, because its URL has a version."""
    path = gallery_images.sample_file(request.path_params["run"], request.path_params["name"])
    return FileResponse(path, headers=CACHE_FOREVER)


def _strip(request: Request) -> Response:
    """Sends evaluated pictures of one column below each other: sources, targets or fakes."""
    query = request.query_params
    names = json.loads(query["names"])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("names must be a list of strings")
    png = gallery_images.strip(int(query["study"]), query["of"], names, query["v"])
    return Response(png, media_type="image/png", headers=CACHE_FOREVER)


def _animation(request: Request) -> Response:
    """Sends an animation of one sample picture over the epochs, with the runs side by side."""
    query = request.query_params
    study_id, row, file_format = int(query["study"]), int(query["row"]), query["format"]
    run_ids = tuple(int(run_id) for run_id in query["runs"].split(","))[:MAX_RUNS]
    content = gallery_images.animation(study_id, run_ids, row, file_format)
    file_name = f"study-{study_id}-picture-{row + 1}.{file_format}"
    return Response(
        content,
        media_type=f"image/{file_format}",
        headers={"Content-Disposition": f'attachment; filename="{file_name}"'},
    )


def _plotly(_request: Request) -> Response:
    return FileResponse(PLOTLY_FILE, headers=CACHE_FOREVER)


def _script(request: Request) -> Response:
    """Sends a script or a style sheet of a component.

    Scripts import each other by file name without a version, so the browser checks each file for
    changes on every page.
    """
    folder, name = request.path_params["folder"], request.path_params["name"]
    path = (COMPONENTS / folder / name).resolve()
    if path.parent.parent != COMPONENTS or path.suffix not in (".js", ".css") or not path.is_file():
        return Response(status_code=404)
    return FileResponse(path, headers={"Cache-Control": "no-cache"})


_HANDLERS = {
    f"/{PLOTLY_URL}": _plotly,
    f"{PREFIX}/static/{{folder}}/{{name}}": _script,
    f"{PREFIX}/{{key}}/curve": _with_key(_curve),
    f"{PREFIX}/{{key}}/sample/{{run:int}}/{{name}}": _with_key(_sample),
    f"{PREFIX}/{{key}}/strip": _with_key(_strip),
    f"{PREFIX}/{{key}}/animation": _with_key(_animation),
}
# Browsers request URLs relative to the page, so that they start with the base path of the server if
# it has one (option `server.baseUrlPath`).
ROUTES = [
    Route(f"{base}{path}", handler)
    for path, handler in _HANDLERS.items()
    for base in ("", "/{base_path:path}")
]
