"""Commands serve and export-model."""

import argparse
import os
from contextlib import nullcontext

from engine.cli.inputs import open_existing, parse_path, stderr
from engine.errors import BadInputError
from engine.serve import discovery
from engine.settings import Settings
from engine.store import Store
from engine.system import child_environment
from engine.system.disk import format_bytes

MAX_IDLE_S = 30 * 86400


def serve(args: argparse.Namespace, settings: Settings) -> int:
    """Serves models over HTTP until interrupted or idle."""
    selections = [value for value in (args.run_id, args.study, args.follow) if value is not None]
    if len(selections) > 1:
        raise BadInputError("Give only one of --run, --study and --follow.")
    if not 0 <= args.port <= 65535:
        raise BadInputError(f"--port must be from 0 to 65535, not {args.port}.")
    if args.idle is not None and not 0 < args.idle <= MAX_IDLE_S:
        raise BadInputError(f"--idle must be seconds, at most {MAX_IDLE_S}, not {args.idle:g}.")
    settings.require_writable_artifacts()
    # The lock is taken before the slow import of torch, so that pages detect a starting server.
    with nullcontext() if args.idle is None else discovery.exclusive_server(settings):
        return _serve(args, settings)


def _serve(args: argparse.Namespace, settings: Settings) -> int:
    # This variable must be set before torch is imported. Otherwise idle threads of the server spin
    # and take cores away from training.
    os.environ.setdefault("GOMP_SPINCOUNT", child_environment.SPIN_COUNT)
    from engine.serve.server import ServerOptions
    from engine.serve.server import serve as serve_models
    from engine.serve.service import ModelSelection, ModelService

    study_id = args.study if args.follow is None else args.follow
    follow = args.run_id is None and args.study is None
    selection = ModelSelection(args.run_id, study_id, follow=follow)
    store = Store(settings.database_url)
    try:
        service = ModelService(store, settings, selection, device=args.device)
        serve_models(service, settings, ServerOptions(args.host, args.port, args.idle))
    finally:
        store.close()
    return 0


def export_model(args: argparse.Namespace, settings: Settings) -> int:
    """Exports a generator to a file and verifies its outputs on test pictures."""
    store = open_existing(settings)
    run = store.runs.read(args.run_id)
    from engine.serve import model_export

    suffix = model_export.SUFFIXES[args.format]
    path = parse_path(args.out or f"run-{run.id}-{run.configuration}{suffix}", "--out")
    if path.is_dir():
        raise BadInputError(f"--out must name a file; {path} is a folder.")
    with stderr.status("exporting"):
        exported = model_export.export_model(store, settings, run.id, args.format, path)
    n_compared, difference = exported.n_compared, exported.max_difference
    stderr.print(
        f"{format_bytes(exported.n_bytes)}; on {n_compared} test pictures, its outputs differ from "
        f"the checkpoint's by at most {difference:.1g} (values from -1 to 1).",
        markup=False,
        soft_wrap=True,
    )
    print(exported.path)
    return 0
