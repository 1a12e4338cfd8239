"""The commands about the machine: feature weights, the doctor."""

import argparse
import json

from rich.console import Console

from engine import weights
from engine.cli import doctor, output
from engine.cli.inputs import stderr
from engine.errors import MissingWeightsError
from engine.settings import Settings


def weights_list(chosen: argparse.Namespace, settings: Settings) -> int:
    """Lists feature weights: which are here, what they are for, how to get the others."""
    found = [weights.describe(name, settings) for name in weights.CATALOG]
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        output.print_weights(Console(), found)
    return 0


def weights_fetch(chosen: argparse.Namespace, settings: Settings) -> int:
    """Downloads weights."""
    from engine.networks import backbones

    weights.read_weights(chosen.name)
    with output.download_bar(stderr, chosen.name) as advance:
        path = backbones.fetch(chosen.name, settings, advance)
    print(path)
    return 0


def weights_check(chosen: argparse.Namespace, settings: Settings) -> int:
    """Verifies the hash of every file of weights that is here."""
    faults = 0
    for name in weights.CATALOG:
        if weights.find(name, settings) is None:
            print(weights.absence(name))
            continue
        try:
            path, digest = weights.require(name, settings)
            print(f"{name} is whole: {path} (sha256 {digest[:8]})")
        except MissingWeightsError as error:
            faults += 1
            print(error)
    return 1 if faults else 0


def examine(chosen: argparse.Namespace, settings: Settings) -> int:
    """What the machine has, what is missing, how to mend it."""
    findings = doctor.examine(settings)
    if chosen.json:
        print(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        output.print_findings(Console(), findings)
    return 0 if all(finding.state != "broken" for finding in findings) else 1
