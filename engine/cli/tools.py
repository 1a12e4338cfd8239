"""Commands weights and doctor."""

import argparse
import json

from rich.console import Console

from engine import weights
from engine.cli import doctor, output
from engine.cli.inputs import stderr
from engine.errors import MissingWeightsError
from engine.settings import Settings


def list_weights(args: argparse.Namespace, settings: Settings) -> int:
    """Lists feature weights with path, purpose, and the command that installs missing weights."""
    descriptions = [weights.describe(name, settings) for name in weights.CATALOG]
    if args.json:
        print(json.dumps(descriptions, indent=2))
    else:
        output.print_weights(Console(), descriptions)
    return 0


def fetch_weights(args: argparse.Namespace, settings: Settings) -> int:
    """Downloads feature weights."""
    from engine.networks import backbones

    weights.get_weights(args.name)
    with output.download_bar(stderr, args.name) as on_progress:
        path = backbones.download(args.name, settings, on_progress)
    print(path)
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
