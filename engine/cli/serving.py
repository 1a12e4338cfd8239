"""The commands that put models to use: the server, and files for elsewhere."""

import argparse
import os
from contextlib import nullcontext

from engine.cli.inputs import open_existing, read_path, stderr
from engine.errors import BadInputError
from engine.serve import discovery
from engine.settings import Settings
from engine.store import Store
from engine.system import child_environment
from engine.system.disk import say_bytes

MOST_IDLE_S = 30 * 86400


def serve(chosen: argparse.Namespace, settings: Settings) -> int:
    """Serves models over HTTP until it is told to end."""
    named = [it for it in (chosen.run_id, chosen.study, chosen.follow) if it is not None]
    if len(named) > 1:
        raise BadInputError("One of --run, --study and --follow at a time.")
    if not 0 <= chosen.port <= 65535:
        raise BadInputError(f"--port must be from 0 to 65535, not {chosen.port}.")
    if chosen.idle is not None and not 0 < chosen.idle <= MOST_IDLE_S:
        raise BadInputError(f"--idle must be seconds, at most {MOST_IDLE_S}, not {chosen.idle:g}.")
    settings.require_writable_artifacts()
    # Before torch is loaded, which takes a while: a page looks whether one is starting.
    with nullcontext() if chosen.idle is None else discovery.alone(settings):
        return _serve(chosen, settings)


def _serve(chosen: argparse.Namespace, settings: Settings) -> int:
    # Before torch is loaded: idle threads that spin for long take what training needs.
    os.environ.setdefault("GOMP_SPINCOUNT", child_environment.SPIN_COUNT)
    from engine.serve.server import Listening
    from engine.serve.server import serve as serve_models
    from engine.serve.service import Choice, Serving

    study = chosen.study if chosen.follow is None else chosen.follow
    choice = Choice(chosen.run_id, study, follow=chosen.run_id is None and chosen.study is None)
    listening = Listening(chosen.host, chosen.port, chosen.idle)
    store = Store(settings.database_url)
    try:
        serving = Serving(store, settings, choice, device=chosen.device)
        serve_models(serving, settings, listening)
    finally:
        store.close()
    return 0


def export_model(chosen: argparse.Namespace, settings: Settings) -> int:
    """Writes a model to a file for elsewhere, its pictures compared with the checkpoint's."""
    store = open_existing(settings)
    run = store.read_run(chosen.run_id)
    from engine.serve import model_export

    suffix = model_export.SUFFIXES[chosen.format]
    path = read_path(chosen.out or f"run-{run.id}-{run.configuration}{suffix}", "--out")
    if path.is_dir():
        raise BadInputError(f"--out must name a file; {path} is a folder.")
    with stderr.status("exporting"):
        made = model_export.export(store, settings, run.id, chosen.format, path)
    stderr.print(
        f"{say_bytes(made.n_bytes)}; on {made.n_pictures} test pictures it differs from the "
        f"checkpoint by at most {made.apart:.1g} (values from -1 to 1).",
        markup=False,
        soft_wrap=True,
    )
    print(made.path)
    return 0
