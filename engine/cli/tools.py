"""Commands weights, doctor and app."""

import argparse
import json
import os
import sys
from typing import NoReturn

from rich.console import Console

from engine import weights
from engine.cli import doctor, fetching, output
from engine.errors import MissingWeightsError
from engine.settings import Settings
from engine.system.child_environment import build_child_environment
from engine.weights import download_state

ALL = "all"  # in place of names of weights


def list_weights(args: argparse.Namespace, settings: Settings) -> int:
    """Lists feature weights with path, purpose, and the command that installs missing weights."""
    descriptions = [download_state.describe(name, settings) for name in weights.CATALOG]
    if args.json:
        print(json.dumps(descriptions, indent=2))
    else:
        output.print_weights(Console(), descriptions)
    return 0


def fetch_weights(args: argparse.Namespace, settings: Settings) -> int:
    """Downloads files of feature weights, or all of them."""
    names = list(dict.fromkeys(args.names))
    for name in names:
        if name != ALL:
            weights.get_weights(name)
    if ALL in names:
        names = [name for name, entry in weights.CATALOG.items() if entry.url is not None]
    for name in names:
        (path,) = fetching.download_files([name], settings)
        print(path, flush=True)
    return 0


def check_weights(args: argparse.Namespace, settings: Settings) -> int:
    """Verifies the hash of every file of feature weights on this machine."""
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


def run_doctor(args: argparse.Namespace, settings: Settings) -> int:
    """Checks the machine and the installation."""
    checks = doctor.run_checks(settings)
    if args.json:
        print(json.dumps([check.as_json() for check in checks], indent=2))
    else:
        output.print_checks(Console(), checks)
    return 0 if all(check.state != "broken" for check in checks) else 1


def open_app(args: argparse.Namespace, settings: Settings) -> NoReturn:
    """Replaces this process by the dashboard, which the engine does not import."""
    command = [sys.executable, "-m", "dashboard", "--port", args.port, "--address", args.address]
    command += ["--headless"] if args.headless else []
    sys.stdout.flush()
    os.execve(sys.executable, command, build_child_environment(settings))
