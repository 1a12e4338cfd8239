"""Commands serve and export-model."""

import os
from contextlib import nullcontext
from typing import Annotated, Literal

import typer

from engine.cli.inputs import (
    RUN_NUMBER,
    STUDY_NUMBER,
    DeviceName,
    RunId,
    load_settings,
    open_existing,
    open_store,
    parse_number,
    parse_path,
    parse_whole_number,
    stderr,
)
from engine.errors import BadInputError
from engine.serve import discovery
from engine.system import child_environment
from engine.system.disk import format_bytes

MAX_IDLE_S = 30 * 86400
MAX_PORT = 65535

app = typer.Typer()


@app.command(
    epilog="""
Serve the best model of study 1, and each better model of it from then on:
  PROGRAM serve --follow 1
Serve the model of run 3 until nobody has used it for an hour:
  PROGRAM serve --run 3 --idle 3600
"""
)
def serve(
    run_id: Annotated[
        int | None,
        typer.Option("--run", help="Serve the model of this run.", **RUN_NUMBER),
    ] = None,
    study: Annotated[
        int | None,
        typer.Option(help="Serve the model that is the best of this study now.", **STUDY_NUMBER),
    ] = None,
    follow: Annotated[
        int | None,
        typer.Option(
            help="Serve the best model of this study and switch when a better run ends.  "
            "[default: the newest study with a model]",
            **STUDY_NUMBER,
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="IP", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            metavar="PORT",
            help=f"Port, at most {MAX_PORT}; 0 takes a free one.",
            parser=parse_whole_number,
        ),
    ] = 5050,
    device: DeviceName = "auto",
    idle_s: Annotated[
        float | None,
        typer.Option(
            "--idle",
            metavar="SECONDS",
            help="Exit after this many seconds without a request.",
            parser=parse_number,
        ),
    ] = None,
) -> int:
    """Starts an HTTP server that colorizes images, and serves until interrupted or idle."""
    if sum(value is not None for value in (run_id, study, follow)) > 1:
        raise BadInputError("Give only one of --run, --study and --follow.")
    if not 0 <= port <= MAX_PORT:
        raise BadInputError(f"--port must be from 0 to {MAX_PORT}, not {port}.")
    if idle_s is not None and not 0 < idle_s <= MAX_IDLE_S:
        raise BadInputError(f"--idle must be seconds, at most {MAX_IDLE_S}, not {idle_s:g}.")
    settings = load_settings()
    settings.require_writable_artifacts()
    # The lock is taken before the slow import of torch, so that pages detect a starting server.
    with nullcontext() if idle_s is None else discovery.exclusive_server(settings):
        # This variable must be set before torch is imported. Otherwise idle threads of the server
        # spin and take cores away from training.
        os.environ.setdefault("GOMP_SPINCOUNT", child_environment.SPIN_COUNT)
        from engine.serve.server import ServerOptions
        from engine.serve.server import serve as serve_models
        from engine.serve.service import ModelSelection, ModelService

        study_id = study if follow is None else follow
        follows = run_id is None and study is None
        selection = ModelSelection(run_id, study_id, follow=follows)
        with open_store(settings) as store:
            service = ModelService(store, settings, selection, device=device)
            serve_models(service, settings, ServerOptions(host, port, idle_s))
    return 0


@app.command()
def export_model(
    run_id: RunId,
    file_format: Annotated[
        Literal["safetensors", "torchscript", "onnx"],
        typer.Option("--format", help="File format."),
    ] = "safetensors",
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Target file.  [default: run-N-CONFIGURATION with the suffix of the format]",
        ),
    ] = None,
) -> int:
    """Exports a generator to a file and verifies its outputs on test pictures."""
    settings = load_settings()
    with open_existing(settings) as store:
        run = store.runs.read(run_id)
        from engine.serve import model_export

        suffix = model_export.SUFFIXES[file_format]
        path = parse_path(out or f"run-{run.id}-{run.configuration}{suffix}", "--out")
        if path.is_dir():
            raise BadInputError(f"--out must name a file; {path} is a folder.")
        with stderr.status("exporting"):
            exported = model_export.export_model(store, settings, run.id, file_format, path)
    n_compared, difference = exported.n_compared, exported.max_difference
    stderr.print(
        f"{format_bytes(exported.n_bytes)}; on {n_compared} test pictures, its outputs differ from "
        f"the checkpoint's by at most {difference:.1g} (values from -1 to 1).",
        markup=False,
        soft_wrap=True,
    )
    print(exported.path)
    return 0
