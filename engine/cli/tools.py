"""Commands weights, doctor and app."""

import json
import os
import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from engine import weights
from engine.cli import completion, doctor, fetching, output
from engine.cli.inputs import JsonFlag, load_settings
from engine.errors import MissingWeightsError
from engine.system.child_environment import build_child_environment
from engine.weights import download_state

ALL = "all"  # in place of names of weights

app = typer.Typer()
weights_app = typer.Typer(help="Lists, downloads and verifies feature weights.")


@weights_app.command("list")
def list_weights(as_json: JsonFlag = False) -> int:
    """Lists feature weights with path, purpose, and the command that installs missing weights."""
    settings = load_settings()
    descriptions = [download_state.describe(name, settings) for name in weights.CATALOG]
    if as_json:
        print(json.dumps(descriptions, indent=2))
    else:
        output.print_weights(Console(), descriptions)
    return 0


@weights_app.command("fetch")
def fetch_weights(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME",
            help=f"Weights to download: {', '.join(weights.CATALOG)}, or {ALL}.",
            autocompletion=lambda: [*completion.complete_weights(), (ALL, "all of them")],
        ),
    ],
) -> int:
    """Downloads feature weights; an interrupted download continues."""
    settings = load_settings()
    names = list(dict.fromkeys(names))
    for name in names:
        if name != ALL:
            weights.get_weights(name)
    if ALL in names:
        names = [name for name, entry in weights.CATALOG.items() if entry.url is not None]
    for name in names:
        (path,) = fetching.download_files([name], settings)
        print(path, flush=True)
    return 0


@weights_app.command("check")
def check_weights() -> int:
    """Verifies the hash of every file of feature weights on this machine."""
    settings = load_settings()
    n_faults = 0
    for name in weights.CATALOG:
        if weights.find(name, settings) is None:
            print(weights.missing_message(name))
            continue
        try:
            path, digest = weights.require(name, settings)
            print(f"{name} is intact: {path} (sha256 {digest[:8]})")
        except MissingWeightsError as error:
            n_faults += 1
            print(error)
    return 1 if n_faults else 0


@app.command("doctor")
def run_doctor(as_json: JsonFlag = False) -> int:
    """Checks the machine and the installation."""
    checks = doctor.run_checks(load_settings())
    if as_json:
        print(json.dumps([check.as_json() for check in checks], indent=2))
    else:
        output.print_checks(Console(), checks)
    return 0 if all(check.state != "broken" for check in checks) else 1


@app.command("app")
def open_app(
    port: Annotated[str, typer.Option(metavar="PORT", help="Port number.")] = "8501",
    address: Annotated[
        str,
        typer.Option(
            metavar="IP",
            help="IP address to listen on; others than the default admit other machines.",
        ),
    ] = "127.0.0.1",
    headless: Annotated[bool, typer.Option("--headless", help="Do not open a browser.")] = False,
) -> NoReturn:
    """Opens the dashboard in the browser."""
    settings = load_settings()
    command = [sys.executable, "-m", "dashboard", "--port", port, "--address", address]
    command += ["--headless"] if headless else []
    sys.stdout.flush()
    # The dashboard replaces this process, because the engine does not import the dashboard.
    os.execve(sys.executable, command, build_child_environment(settings))
