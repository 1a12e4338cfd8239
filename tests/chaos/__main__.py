"""`make chaos`: all of it, with figures."""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from engine.presets import CONFIGURATIONS
from tests.chaos import concurrency, kills, stops
from tests.chaos.concurrency import percentile
from tests.chaos.installation import Lab, lab, prepare_shared

EPOCHS = "40"  # of the runs under fire: most kills land inside training
STEP_S = 1.0  # no step at this size takes longer

Row = tuple[str, str, bool]


def main() -> int:
    """Runs the parts that are named, or all; 1 when a figure misses its mark."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parts: dict[str, Callable[[Path, Path, argparse.Namespace, Callable[[str], None]], list[Row]]]
    parts = {"crowds": _crowds, "deaths": _deaths, "stops": _stops, "kills": _kills}
    parser.add_argument("parts", nargs="*", choices=[[], *parts], default=[])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    console, rows = Console(), []
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        shared = prepare_shared(folder / "shared")
        for name in chosen.parts or parts:
            with console.status(name) as status:
                found = parts[name](folder / name, shared, chosen, status.update)
            for what, figures, is_met in found:
                verdict = "[green]as it must be[/]" if is_met else "[red]NOT AS IT MUST BE[/]"
                console.print(f"[bold]{what}[/]: {figures}; {verdict}", highlight=False)
            rows += found
    finally:
        shutil.rmtree(folder)
    return 0 if all(is_met for *_, is_met in rows) else 1


def _crowds(
    folder: Path, shared: Path, chosen: argparse.Namespace, say: Callable[[str], None]
) -> list[Row]:
    with lab(folder, shared) as place:
        settings = place.settings
        say("500 submits with 50 keys from 8 processes")
        studies = concurrency.submit_much(concurrency.elsewhere(settings, folder / "a"), 500, 50)
        say("2,000 queued jobs, 8 claimers, 4 slots")
        claims = concurrency.claim_much(concurrency.elsewhere(settings, folder / "b"), 2000, 4)
        say("8 runs write and 5 pages poll for a minute")
        crowd = concurrency.write_and_poll(
            concurrency.elsewhere(settings, folder / "c"), 8, 5, 60.0
        )
    within = claims.most_at_once <= claims.slots
    whole = claims.claimed == 2000 and not claims.doubled
    calm = not crowd.faults and crowd.read_p99_s < 0.2 and crowd.wal_bytes < 64 * 2**20
    return [
        ("500 submits with 50 keys from 8 processes", f"{studies} studies", studies == 50),
        (
            "2,000 queued jobs, 8 claimers",
            f"{claims.claimed:,} claimed in {claims.seconds:.0f} s, {claims.doubled} doubled",
            whole,
        ),
        ("4 slots", f"at most {claims.most_at_once} jobs at once", within),
        (
            "8 writing runs, 5 polling pages, 60 s",
            f"{crowd.writes:,} writes (p99 {crowd.write_p99_s * 1e3:.0f} ms), {crowd.reads:,} "
            f"reads (p99 {crowd.read_p99_s * 1e3:.0f} ms), {len(crowd.faults)} faults, "
            f"log {crowd.wal_bytes / 2**20:.1f} MB",
            calm,
        ),
    ]


def _deaths(
    folder: Path, shared: Path, chosen: argparse.Namespace, say: Callable[[str], None]
) -> list[Row]:
    found = stops.die_and_be_silent(folder, shared, 10, 30.0, say)
    worst = max(found.seen_after_s)
    silence = "taken for nothing else" if found.survived_silence else "taken for a death"
    return [
        ("10 killed workers", f"seen after {worst:.1f} s at most", worst < 5),
        (f"{found.silence_s:.0f} s of SIGSTOP", silence, found.survived_silence),
    ]


def _stops(
    folder: Path, shared: Path, chosen: argparse.Namespace, say: Callable[[str], None]
) -> list[Row]:
    found = stops.stop_often(folder, shared, chosen.stops, chosen.seed, say)
    p95 = percentile(found.seconds, 0.95)
    clean = not found.unloadable and not found.left
    return [
        (
            f"{len(found.seconds)} stops at random moments",
            f"median {percentile(found.seconds, 0.5):.1f} s, p95 {p95:.1f} s, at most "
            f"{max(found.seconds):.1f} s",
            p95 < STEP_S + 5,
        ),
        ("after them", f"{found.unloadable} unloadable, {found.left} processes left", clean),
    ]


def _kills(
    folder: Path, shared: Path, chosen: argparse.Namespace, say: Callable[[str], None]
) -> list[Row]:
    def study(place: Lab) -> object:
        return place.submit(list(CONFIGURATIONS), 2, epochs=EPOCHS, evaluations="2")

    began = time.monotonic()
    found = kills.compare_with_peace(folder, shared, study, chosen.kills, chosen.seed, say)
    hit = ", ".join(f"{count} {what}" for what, count in found.kills.most_common())
    enough = found.kills.total() >= chosen.kills
    figures = f"{found.missing} missing, {found.extra} extra, {found.different} different"
    return [
        (
            f"{found.kills.total()} kills, {min(found.attempts)} to {max(found.attempts)} attempts "
            "at each of 12 runs",
            f"{hit}; {time.monotonic() - began:.0f} s with the runs in peace",
            enough,
        ),
        ("all runs done", str(found.all_done).lower(), found.all_done),
        ("the database is sound", str(found.is_sound).lower(), found.is_sound),
        (
            "figures as in peace",
            figures,
            not found.missing + found.extra + found.different,
        ),
        (
            "final weights, optimisers and averages as in peace, bit for bit",
            f"{found.other_weights} of 12 differ",
            not found.other_weights,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
